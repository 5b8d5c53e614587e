"""``stickgen card``: a run's model card, README.md beside its weights, in the Hugging Face hub's format."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stickgen.artifacts.adapter import CARD_FILE, Adapter, load_adapter, short_card
from stickgen.artifacts.base import MODEL_FILE, load_base
from stickgen.artifacts.model import trained_fingerprint
from stickgen.artifacts.record import BaseRecord
from stickgen.artifacts.run import RunFolder, read_json
from stickgen.config import TrainConfig
from stickgen.errors import CheckpointError, ConfigError, StickgenError
from stickgen.evaluation.scores import ScoresFile, Summary
from stickgen.export.card_text import OWN, Facts, Results, body, is_rollout, plain_title
from stickgen.files import atomic_write, check_absent
from stickgen.metrics import REST, SHOWN

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TAGS = ("text-to-motion", "motion-generation", "stick-figure")
ADAPTER_TAGS = ("lora", "peft")

_HUB_METRICS = {"pose_mse": "mse", "action_accuracy": "accuracy"}
"""The metrics that the hub knows, by its own ids; others go by ours."""


@dataclass(frozen=True)
class Published:
    """What a card says of a model that its run cannot know; what is None or empty is left out.

    Attributes:
        name: of the model; None: the run's.
        license: of the weights, by its id on the hub, as "apache-2.0".
        base_model: hub id of the base.
        datasets: hub ids of the data sets trained on.

    Raises:
        ConfigError: an id is none; huggingface_hub is then asked, and has to be installed.
    """

    name: str | None = None
    license: str | None = None
    base_model: str | None = None
    datasets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.license is not None and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", self.license):
            raise ConfigError(f"license={self.license}: an id of the hub's expected, as mit or apache-2.0")
        for key, ids in (("base_model", [self.base_model] if self.base_model else []), ("dataset", self.datasets)):
            for one in ids:
                if not _is_hub_id(one):
                    raise ConfigError(f"{key}={one}: a hub id expected, as owner/name")


def write_card(
    run_folder: Path, published: Published | None = None, *, scores: Path | None = None, overwrite: bool = False
) -> Path:
    """Write the card of a finished run.

    Args:
        run_folder: the run's.
        published: what its files do not tell.
        scores: figures of ``stickgen evaluate --json``, with the run's model among the models.
        overwrite: replace a card that is already there. The short one that training writes is replaced anyway.

    Returns:
        the file written: README.md in the folder of the adapter, or beside the whole weights.

    Raises:
        StickgenError: huggingface_hub is not installed.
        CheckpointError: the run is none, unfinished or damaged, or ``scores`` do not tell of its model.
        OutputExistsError: there is a card, and ``overwrite`` is false.
    """
    _hub()
    published = published or Published()
    run = RunFolder(run_folder)
    config = run.read_config()
    adapter, record = _trained(run, config)
    output = (run.path if adapter is None else run.adapter) / CARD_FILE
    replaceable = adapter is not None and _is_short_card(output, adapter)
    check_absent(output, overwrite=overwrite or replaceable, file=True)

    metrics = read_json(run.metrics) if run.metrics.is_file() else {}
    figures = None if scores is None else ScoresFile.read(scores)
    own_data = config.data.path or "built-in sample motion"
    names = _data_names([own_data, *(figures.report if figures else ())])
    results = _training_results(metrics, names[own_data], run.metrics)
    if figures is not None:
        evaluated = _evaluated_results(figures, trained_fingerprint(run.path), names, str(scores))
        # Training's own table where the evaluation does not say all of it again.
        results = [one for one in results if not any(one.said_by(other) for other in evaluated)] + evaluated
    base = adapter.base_path if adapter else config.base.checkpoint
    facts = Facts(
        name=published.name or config.name,
        config=config,
        record=record,
        adapter=adapter,
        base=published.base_model or (Path(base).name if base else None),
        on_hub=published.base_model is not None,
        environment=read_json(run.environment) if run.environment.is_file() else {},
        metrics=metrics,
        data=names[own_data],
        results=[table for table in results if table.metrics],
    )
    try:
        text = f"---\n{_head(facts, published)}\n---\n\n{body(facts)}"
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{run.metrics}: damaged: not what a run writes ({type(error).__name__})") from None
    with atomic_write(output, overwrite=overwrite or replaceable) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return output


def _trained(run: RunFolder, config: TrainConfig) -> tuple[Adapter | None, BaseRecord]:
    """Return the run's adapter, None where it trained whole weights, and the record of what it is used as."""
    if not config.lora.enabled:
        if not (run.path / MODEL_FILE).is_file():
            raise _unfinished(run, MODEL_FILE)
        return None, load_base(run.path).record
    if not run.adapter.is_dir():
        raise _unfinished(run, "adapter/")
    adapter = load_adapter(run.adapter)
    if adapter.base_record is None:
        raise CheckpointError(f"{run.adapter}: does not tell its base's settings; stickgen did not write it")
    return adapter, adapter.base_record


def _unfinished(run: RunFolder, missing: str) -> CheckpointError:
    return CheckpointError(
        f"{run.path}: has no {missing} yet; a card is written of a finished run, and resume={run.path} finishes it"
    )


def _is_short_card(path: Path, adapter: Adapter) -> bool:
    """Return whether a file is, word for word, the card that training wrote: nothing is lost with that."""
    return path.is_file() and path.read_bytes() == short_card(adapter).encode()


def _data_names(sources: Sequence[str]) -> dict[str, str]:
    """Return what to call data files: their names, and where two of them have one, their paths."""
    names = {source: Path(source).name for source in sources}
    files = {source: Path(source).resolve() for source in sources}
    return {
        source: name
        if all(files[other] == files[source] for other in sources if names[other] == name)
        else str(files[source])
        for source, name in names.items()
    }


def _training_results(metrics: Mapping[str, Any], data: str, path: Path) -> list[Results]:
    """Return the scores that training measured on its test clips."""
    if "scores" not in metrics:
        return []
    try:
        rows = {
            str(name): {
                metric: Summary(float(value), 0.0, 1)
                for metric, value in by_split.get("test", {}).items()
                if metric in SHOWN and value is not None
            }
            for name, by_split in metrics["scores"].items()
        }
        rows[OWN] = rows.pop(metrics["trained"])
        return [Results(data, "test", rows)]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CheckpointError(f"{path}: damaged: not the scores of a run") from None


def _evaluated_results(figures: ScoresFile, own: str, names: Mapping[str, str], path: str) -> list[Results]:
    """Return the scores that ``stickgen evaluate`` measured, of this model and of what is no model."""
    label = next((label for label, fingerprints in figures.models.items() if own in fingerprints), None)
    if label is None:
        raise CheckpointError(
            f"{path}: none of its models ({', '.join(figures.models)}) has this run's weights; evaluate the run anew"
        )
    tables = []
    for source, rows in figures.report.items():
        if label in rows:
            shown = {name: metrics for name, metrics in rows.items() if name not in figures.models}
            shown[OWN] = rows[label]
            tables.append(Results(names[source], figures.split, shown, figures.protocol.given))
    return tables


def _head(facts: Facts, published: Published) -> str:
    """Return the card's YAML, as the hub's own library writes it."""
    adapter = facts.adapter is not None
    results = _eval_results(facts.results)
    data = _hub().ModelCardData(
        license=published.license,
        library_name="stickgen",
        base_model=published.base_model,
        base_model_relation=("adapter" if adapter else "finetune") if published.base_model else None,
        datasets=list(published.datasets) or None,
        tags=[*(ADAPTER_TAGS if adapter else ()), *TAGS],
        model_name=facts.name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _eval_results(tables: Sequence[Results]) -> "list[EvalResult]":
    """Return the model's own scores, each once: what training measured is not said again."""
    found: dict[tuple[str, str, str], EvalResult] = {}
    for table in tables:
        for metric in table.metrics:
            summary = table.rows[OWN][metric]
            several = summary.models > 1
            title = plain_title(metric)
            result = _hub().EvalResult(
                task_type="text-to-motion",
                dataset_type=re.sub(r"[^\w.-]+", "-", table.data),
                dataset_name=table.data,
                dataset_split=table.split,
                metric_type=_HUB_METRICS.get(metric, metric),
                metric_name=f"{title}, {summary.models} models" if several else title,
                metric_value=f"{summary.mean:.6g} ± {summary.std:.3g}" if several else summary.mean,
                metric_args={"given_frames": 0 if metric.startswith(REST) else table.given_frames}
                if is_rollout(metric)
                else None,
            )
            found.setdefault((table.data, table.split, metric), result)
    return list(found.values())


def _is_hub_id(text: str) -> bool:
    utils = _hub().utils
    try:
        utils.validate_repo_id(text)
    except utils.HFValidationError:
        return False
    return True


def _hub() -> Any:
    """Return huggingface_hub, which only cards need."""
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise StickgenError("a card: huggingface_hub is not installed; pip install 'stickgen[card]'") from None
    return huggingface_hub
