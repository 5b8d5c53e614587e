"""``stickgen evaluate``: models on disk, scored on held-out clips, a table for every data file."""

import logging
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from stickgen.artifacts.model import LoadedModel, label_and_path, load_model, trained_fingerprint
from stickgen.config import DataConfig
from stickgen.data.clips import ClipSet
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.text import told_apart
from stickgen.errors import CheckpointError, ConfigError
from stickgen.evaluation.baselines import MOST_FREQUENT, baseline_metrics, majority_action
from stickgen.evaluation.next_frame import next_frame_scores
from stickgen.evaluation.rollouts import TRIVIAL, GoOn, RolloutProtocol, model_rollout, rollout_report
from stickgen.lora import adapters_disabled

TITLES = {
    "pose_mse": "next-frame pose MSE ↓",
    "temporal_consistency_error": "next-frame temporal error ↓",
    "action_accuracy": "action accuracy ↑",
    "rollout_mse_400ms": "rollout MSE at 0.4 s ↓",
    "rollout_mse_1000ms": "rollout MSE at 1 s ↓",
    "rollout_mse_2000ms": "rollout MSE at 2 s ↓",
    "speed_ratio": "speed ÷ real → 1",
    "jerk_ratio": "jerk ÷ real → 1",
    "foot_skating": "foot skating (H/s) → real",
    "bone_length_error": "bone-length error ↓",
    "torso_length_error": "torso-length error → real",
    "exploded": "exploded clips ↓",
    "frechet_distance": "Fréchet distance ↓",
    "diversity": "diversity → real",
}
"""Metrics in the order of the table, with their titles."""

log = logging.getLogger(__name__)

_LONGEST_NAME = 24
_ANY_WIDTH = 10_000

SHARES = ("action_accuracy", "bone_length_error", "torso_length_error", "exploded")
"""Metrics shown in percent."""

FROZEN = "frozen base"
RESERVED = (*TRIVIAL, MOST_FREQUENT, FROZEN)
"""Columns of the table that no model of the user's may be mixed into."""


@dataclass(frozen=True)
class Summary:
    """A metric over the models of one label, such as the same run with three seeds.

    Attributes:
        mean: of the values; NaN where one is missing.
        std: sample standard deviation; 0 for a single model.
        models: how many.
    """

    mean: float
    std: float
    models: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Summarise values, at least one."""
        spread = statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else 0.0
        return cls(sum(values) / len(values), spread, len(values))


Report = dict[str, dict[str, dict[str, Summary]]]
"""Data file → predictor → metric → summary."""


def evaluate(
    models: Sequence[str],
    data: Sequence[str] = (),
    *,
    base: Path | None = None,
    allow_other_base: bool = False,
    split: str = "test",
    protocol: RolloutProtocol | None = None,
) -> Report:
    """Score models, beside the frozen base of the first that is an adapter, and beside what needs no model.

    Args:
        models: paths as of :func:`~stickgen.artifacts.model.load_model`, each bare or as ``label=path``; those of one
            label are runs of one thing, and summarised together.
        data: data files, such as the target style's and the base's own, each scored once; empty: that of the first
            model's run. Figures of 48 numbers are reduced for models of 20.
        base: the base of the adapters; None: the one they name.
        allow_other_base: put adapters on ``base`` even where they were trained on another, with a warning.
        split: "val" or "test", as the first model's run splits, else as the defaults do.
        protocol: of the rollouts. A file whose clips are too short for any has next-frame metrics alone.

    Raises:
        ConfigError: ``split`` is no such split, a label is one of :data:`RESERVED`, models are of different figures,
            there is no data file to use, or a model's captions were embedded by another encoder.
        StickgenError: a model or data file cannot be read, or does not fit.
    """
    if split not in ("val", "test"):
        raise ConfigError(f"split={split}: val or test expected")
    for label, _ in map(label_and_path, models):
        if label in RESERVED:
            raise ConfigError(f"{label}: the table has a column of that name already; give the model another label")
    loaded = [_load(model, base, allow_other_base) for model in models]
    if len({one.model.settings["input_dim"] for _, one in loaded}) > 1:
        raise ConfigError("models of 20 and of 48 numbers a frame have no scores in common; evaluate them apart")
    settings = next((model.run.data for _, model in loaded if model.run is not None), None)
    if settings is None and not data:
        raise ConfigError("data: no file given, and no model comes from a run that names one; use --data")
    # Fréchet distance and diversity stay comparable between runs that trained on few clips and on all.
    settings = replace(settings or DataConfig(), train_clips=None)
    paths: dict[Path, str] = {}
    for path in data:
        paths.setdefault(Path(path).resolve(), path)
    files = [replace(settings, path=path) for path in paths.values()] or [settings]
    protocol = protocol or RolloutProtocol()
    return {file.path or "built-in sample motion": _on_file(loaded, file, split, protocol) for file in files}


def _load(model: str, base: Path | None, allow_other_base: bool) -> tuple[str, LoadedModel]:
    label, path = label_and_path(model)
    try:
        return label, load_model(Path(path), base, allow_other_base=allow_other_base)
    except CheckpointError as error:
        # What was meant as a label may be the beginning of a mistyped path.
        raise CheckpointError(str(error) if label == path else f"{model}: {error}") from None


def _on_file(
    loaded: Sequence[tuple[str, LoadedModel]], config: DataConfig, split: str, protocol: RolloutProtocol
) -> dict[str, dict[str, Summary]]:
    rows: dict[str, list[dict[str, float]]] = {}
    for label, one in loaded:
        data = clips_for(label, one, config)
        clips = getattr(data.split, split)
        if not rows:
            if not _long_enough(data, clips, protocol):
                log.warning(
                    "%s: no rollouts: they need clips of %d frames in train and %s",
                    data.report.source, protocol.least, split,
                )  # fmt: skip
            rows = {name: [scores] for name, scores in _trivial(data, clips, protocol).items()}
        if one.adapted and FROZEN not in rows:
            with adapters_disabled(one.model):
                rows[FROZEN] = [_score(one, data, clips, protocol)]
        rows.setdefault(label, []).append(_score(one, data, clips, protocol))
    return {
        name: {metric: Summary.of([values[metric] for values in of_label]) for metric in of_label[0]}
        for name, of_label in rows.items()
    }


def clips_for(label: str, one: LoadedModel, config: DataConfig) -> ClipDataModule:
    """Return the data in the figure and under the conditions that a model takes, checked against it."""
    sizes = one.model.settings
    # A file is asked for no larger figure than it has: what is too small for the model, fit_to refuses.
    dim = sizes["input_dim"] if sizes["input_dim"] == 20 or config.path is None else None
    data = ClipDataModule(replace(config, dim=dim, conditions=list(one.record.conditions or ())))
    data.fit_to(sizes["input_dim"], sizes["embedding_dim"], sizes["num_actions"])
    if names := told_apart(data.report.text_encoder, one.record.text_encoder):
        raise ConfigError(
            f"{data.report.source}: captions were embedded by {names[0]}, those of {label} by {names[1]}; prepare the "
            f"data with --encoder {one.record.text_encoder.get('id')}"
        )
    if not one.model.causal:
        log.warning("%s: bidirectional, so next-frame errors are leaky, and rollouts are made in one pass", label)
    return data


def _score(one: LoadedModel, data: ClipDataModule, clips: ClipSet, protocol: RolloutProtocol) -> dict[str, float]:
    rolled = _rollouts({"model": model_rollout(one.model)}, data, clips, protocol)
    return {**rolled.get("model", {}), **next_frame_scores(one.model, data.eval_loader(clips))}


def _trivial(data: ClipDataModule, clips: ClipSet, protocol: RolloutProtocol) -> dict[str, dict[str, float]]:
    rolled = _rollouts({}, data, clips, protocol)
    teacher_forced = baseline_metrics(data.eval_loader(clips), majority_action(data.split.train))
    return {name: {**rolled.get(name, {}), **teacher_forced.get(name, {})} for name in {**rolled, **teacher_forced}}


def _rollouts(
    predictors: Mapping[str, GoOn], data: ClipDataModule, clips: ClipSet, protocol: RolloutProtocol
) -> dict[str, dict[str, float]]:
    """Return the scores of rollouts, {} where the clips are too short for any."""
    if not _long_enough(data, clips, protocol):
        return {}
    return rollout_report(
        predictors, clips, reference=data.split.train, protocol=protocol, conditions=data.config.conditions
    )


def _long_enough(data: ClipDataModule, clips: ClipSet, protocol: RolloutProtocol) -> bool:
    """Return whether there is a clip to roll out, and one of the training to fit the feature space to."""
    return all(any(info.length >= protocol.least for info in part.infos) for part in (clips, data.split.train))


def print_report(console: Console, report: Report) -> None:
    """Print a table for every data file, one metric a row; mean ± standard deviation where models share a label.

    Figures are never cut: a table that is wider than the console goes on in another below it.
    """
    for source, rows in report.items():
        columns = [
            [_short(name), *(summary_text(metric, metrics.get(metric)) for metric in TITLES)]
            for name, metrics in rows.items()
        ]
        for number, part in enumerate(_parts(columns, console.width)):
            table = Table(title=f"evaluation · {source}" + " (continued)" * (number > 0), title_justify="left")
            table.add_column("", no_wrap=True)
            for name, *_ in part:
                table.add_column(name, justify="right", no_wrap=True)
            for title, *cells in zip(TITLES.values(), *(cells for _, *cells in part), strict=True):
                table.add_row(title, *cells)
            needed = Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table).maximum
            # A console makes nothing wider than itself.
            wide = Console(file=console.file, width=needed) if needed > console.width else console
            wide.print(table)


def _short(name: str) -> str:
    """Return the end of a long name, which tells more of a path than its beginning."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _parts(columns: Sequence[list[str]], width: int) -> list[list[list[str]]]:
    """Divide columns into tables that are no wider than so many characters, at least a column each."""
    padding = 3
    first = max(map(len, TITLES.values())) + padding + 1
    parts: list[list[list[str]]] = [[]]
    used = first
    for column in columns:
        needed = max(map(len, column)) + padding
        if parts[-1] and used + needed > width:
            parts.append([])
            used = first
        parts[-1].append(column)
        used += needed
    return parts


def summary_text(metric: str, summary: Summary | None) -> str:
    """Return a figure as the tables show it: three digits, shares in percent, – where there was nothing to score."""
    if summary is None or math.isnan(summary.mean):
        return "–"
    shown = [f"{value:.1%}" if metric in SHARES else f"{value:.3g}" for value in (summary.mean, summary.std)]
    return " ± ".join(shown) if summary.models > 1 else shown[0]


def fingerprints(models: Sequence[str]) -> dict[str, list[str]]:
    """Return the digests of the models of each label, by which a model is found again in a file of figures.

    Args:
        models: as of :func:`evaluate`.

    Raises:
        CheckpointError: a model cannot be read.
    """
    found: dict[str, list[str]] = {}
    for label, path in map(label_and_path, models):
        found.setdefault(label, []).append(trained_fingerprint(Path(path)))
    return found
