"""``stickgen evaluate``: models on disk, scored on held-out clips, a table for every data file."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stickgen.artifacts.model import LoadedModel, label_and_path, load_model
from stickgen.config import DataConfig
from stickgen.data.clips import ClipSet
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.text import told_apart
from stickgen.errors import CheckpointError, ConfigError
from stickgen.evaluation.baselines import MOST_FREQUENT, baseline_metrics, majority_action
from stickgen.evaluation.frozen import FROZEN, frozen_bases, is_frozen
from stickgen.evaluation.next_frame import next_frame_scores
from stickgen.evaluation.rollouts import TRIVIAL, GoOn, RolloutProtocol, model_rollout, rollout_report
from stickgen.evaluation.scores import ScoresFile, Summary

log = logging.getLogger(__name__)

RESERVED = (*TRIVIAL, MOST_FREQUENT, FROZEN)
"""Columns of the table that no model of the user's may be mixed into; nor may it be into those of several bases."""

Models = Sequence[tuple[str, LoadedModel]]
"""Label and model."""


def evaluate(
    models: Sequence[str],
    data: Sequence[str] = (),
    *,
    base: Path | None = None,
    allow_other_base: bool = False,
    split: str = "test",
    protocol: RolloutProtocol | None = None,
) -> ScoresFile:
    """Score models, beside the frozen bases that they were trained from, and beside what needs no model.

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
        ConfigError: ``split`` is no such split, a label is one of :data:`RESERVED`, two models of one label are the
            same, models are of different figures, there is no data file to use, or a model's captions were embedded by
            another encoder.
        StickgenError: a model or data file cannot be read, or does not fit.
    """
    if split not in ("val", "test"):
        raise ConfigError(f"split={split}: val or test expected")
    for label, _ in map(label_and_path, models):
        if label in RESERVED or is_frozen(label):
            raise ConfigError(f"{label}: the table has a column of that name already; give the model another label")
    loaded = [_load(model, base, allow_other_base) for model in models]
    fingerprints = _fingerprints(loaded)
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
    rows = [*frozen_bases(loaded), *loaded]
    report = {file.path or "built-in sample motion": _on_file(rows, file, split, protocol) for file in files}
    return ScoresFile(split, protocol, fingerprints, report)


def _load(model: str, base: Path | None, allow_other_base: bool) -> tuple[str, LoadedModel]:
    label, path = label_and_path(model)
    try:
        return label, load_model(Path(path), base, allow_other_base=allow_other_base)
    except CheckpointError as error:
        # What was meant as a label may be the beginning of a mistyped path.
        raise CheckpointError(str(error) if label == path else f"{model}: {error}") from None


def _fingerprints(loaded: Models) -> dict[str, list[str]]:
    """Return the digests of the models of each label, by which a model is found again among the figures."""
    found: dict[str, list[str]] = {}
    for label, one in loaded:
        of_label = found.setdefault(label, [])
        if one.fingerprint in of_label:
            raise ConfigError(f"{label}: names the same weights twice; a mean and its deviation need different models")
        of_label.append(one.fingerprint)
    return found


def _on_file(
    loaded: Models, config: DataConfig, split: str, protocol: RolloutProtocol
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
