"""Where a run's numbers are logged: TensorBoard and CSV in the run's folder, Weights & Biases, MLflow."""

import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard.summary import hparams

from stickgen.artifacts.run import RunFolder
from stickgen.artifacts.tensors import read_torch
from stickgen.config import TrainConfig, as_plain
from stickgen.errors import ConfigError, OutputError
from stickgen.metrics import FROZEN_BASE, OF_TRAINING
from stickgen.training.report import Scores

_UNSHOWN = ("callbacks", "logger", "name", "resume", "run_dir")
"""Groups and settings that change no result."""


_FOLDER = "stickgen.folder"
"""MLflow's tag with a digest of the run's folder."""


def make_loggers(config: TrainConfig, run: RunFolder, resumed: Path | None) -> list[Logger]:
    """Return the loggers of a run.

    Args:
        config: the run's settings.
        run: its folder.
        resumed: the checkpoint it continues from; None at a first start.

    Raises:
        ConfigError: the package of a kind of logger is not installed.
    """
    step = None if resumed is None else int(read_torch(resumed)["global_step"])
    return [_MAKERS[kind](run, step) for kind in config.logger.kinds]


def _tensorboard(run: RunFolder, step: int | None) -> Logger:
    # Steps after the checkpoint, or those of a start that did not get to one, happen again: TensorBoard is told to
    # forget their first time.
    return TensorBoardLogger(
        run.path, name="tensorboard", version="", default_hp_metric=False, purge_step=step or 0, max_queue=100
    )


def _csv(run: RunFolder, step: int | None) -> Logger:
    # A file of its own for the continuation: the logger empties the folder it is given.
    return CSVLogger(run.path, name="csv", version="" if step is None else f"from_step_{step}")


def _wandb(run: RunFolder, step: int | None) -> Logger:
    # A continuation adds to the run that wandb's own folder names: [offline-]run-<time>-<id>.
    folders = run.path.glob("wandb/*run-*-*") if step is not None else ()
    begun = sorted(folders, key=lambda folder: folder.stat().st_mtime)
    with _reached("wandb"):
        logger = WandbLogger(
            run.path.name, run.path, id=begun[-1].name.rpartition("-")[2] if begun else None, project="stickgen"
        )
        _ = logger.experiment  # connects
    return logger


def _mlflow(run: RunFolder, step: int | None) -> Logger:
    folder = hashlib.sha256(str(run.path.resolve()).encode()).hexdigest()[:16]
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.path.resolve() / 'mlflow.db'}"
    with _reached("mlflow"):
        begun = None if step is None else _begun(uri, folder)
        logger = MLFlowLogger("stickgen", run.path.name, uri, {_FOLDER: folder}, run_id=begun)
        _ = logger.experiment  # connects
    return logger


def _begun(uri: str, folder: str) -> str | None:
    """Return MLflow's id of the run that a continuation adds to, by the tag of its folder."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("stickgen")
    if experiment is None:
        return None
    runs = client.search_runs([experiment.experiment_id], f"tags.`{_FOLDER}` = '{folder}'")
    return runs[0].info.run_id if runs else None


_MAKERS: Mapping[str, Callable[[RunFolder, int | None], Logger]] = {
    "tensorboard": _tensorboard,
    "csv": _csv,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
"""Kind → what makes its logger, of a run's folder and the step it continues from, None at a first start."""


@contextmanager
def _reached(package: str) -> Iterator[None]:
    """Let a logger that cannot be made or connect end the run in one line."""
    try:
        yield
    except Exception as error:
        if importlib.util.find_spec(package) is None:
            message = f"logger.kinds: {package} is not installed; pip install 'stickgen[{package}]'"
            raise ConfigError(message) from None
        lines = str(error).splitlines() or [type(error).__name__]
        raise ConfigError(f"logger.kinds: {package}: {lines[0]}") from None


@contextmanager
def told_of_logs(run: RunFolder) -> Iterator[None]:
    """Let the system's errors name the run and the step that is saved: the writers of logs name no file.

    Raises:
        OutputError: a log cannot be written.
    """
    former = threading.excepthook

    def quiet(happened: threading.ExceptHookArgs) -> None:
        # TensorBoard's thread; its error is raised again where the next value is logged.
        if not issubclass(happened.exc_type, OSError) or not type(happened.thread).__module__.startswith("tensorboard"):
            former(happened)

    threading.excepthook = quiet
    try:
        yield
    except (OSError, ValueError) as raised:
        # Lightning's TensorBoard logger raises its own error over the system's.
        error = raised if isinstance(raised, OSError) else raised.__cause__
        if not isinstance(error, OSError) or error.errno is None or (error is raised and error.filename is not None):
            raise
        raise OutputError(f"{run.path}: its logs: {error.strerror}; {run.saved()}") from None
    finally:
        threading.excepthook = former
        wandb = sys.modules.get("wandb")
        if wandb is not None and wandb.run is not None:  # the next job of a sweep would write into this one's
            wandb.finish(exit_code=int(sys.exc_info()[0] is not None))


def log_start(loggers: list[Logger], config: TrainConfig, scores: Scores, trained: str, varied: Sequence[str]) -> None:
    """Log the settings, with the names of the final metrics: the HParams tab shows none that it does not know yet.

    Args:
        loggers: the run's.
        config: its settings.
        scores: of the frozen base and the baselines.
        trained: what the trained model is called among them.
        varied: keys of the settings that the run's sweep varies.
    """
    frozen = scores.get(FROZEN_BASE, {})
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            names = [f"final/{split}_{name}" for split in ("val", "test") for name in OF_TRAINING]
            writer = logger.experiment._get_file_writer()
            # Not by the logger's own way, which writes a point at step 0 for each: a line to the final one follows.
            first, further = shown_settings(config, varied)
            experiment, *start_and_end = hparams({**first, **further}, dict.fromkeys(names, 0.0))
            _put_first(experiment, first)
            for summary in (experiment, *start_and_end):
                writer.add_summary(summary)
        else:
            logger.log_hyperparams(_flat(as_plain(config)))
        # Step 0 of the validation curves is the frozen base, and the baselines are there to compare them with.
        logger.log_metrics({f"val/{name}": value for name, value in frozen.get("val", {}).items()}, step=0)
        for baseline, by_split in scores.items():
            if baseline not in (trained, FROZEN_BASE):
                tag = baseline.replace(" ", "_")
                logger.log_metrics({f"baseline/{tag}_{n}": v for n, v in by_split.get("val", {}).items()}, step=0)


def _put_first(experiment: Summary, names: Iterable[str]) -> None:
    """Let the HParams tab begin with some settings: it ticks five, those marked as differing before all others."""
    (value,) = experiment.value
    data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
    for info in data.experiment.hparam_infos:
        info.differs = info.name in names
    value.metadata.plugin_data.content = data.SerializeToString()


def shown_settings(config: TrainConfig, varied: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the HParams tab: those that come first, and others that were changed.

    The first ones are those that the run's sweep varies, rank, alpha, learning rate and targets.
    """
    settings, defaults = (_flat(values) for values in (as_plain(config), _defaults()))
    if config.lora.enabled:
        settings["lora.targets"] = ", ".join(config.lora.targets)
    usual = ("lora.rank", "lora.alpha", "optimizer.lr", "lora.targets") if config.lora.enabled else ("optimizer.lr",)
    named = [key.replace("/", ".") for key in varied]  # a group of conf, as lora/targets
    first = {key: _scalar(settings[key]) for key in (*named, *usual) if key in settings}
    changed = {
        key: value
        for key, value in settings.items()
        if value != defaults.get(key) and key.partition(".")[0] not in _UNSHOWN and not key.startswith("lora.targets")
    }
    return first, {key: _scalar(value) for key, value in changed.items() if key not in first}


def _scalar(value: Any) -> bool | int | float | str:
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _defaults() -> dict[str, Any]:
    """Return the settings of groups that nobody has changed; all of them together would make no run."""
    groups = {part.name: part.default_factory for part in fields(TrainConfig) if callable(part.default_factory)}
    return {name: asdict(make()) for name, make in groups.items()}


def log_end(loggers: list[Logger], final: Mapping[str, Mapping[str, float]], step: int) -> None:
    """Log the final metrics, split → metric → value, under the names that :func:`log_start` announced."""
    for logger in loggers:
        metrics = {f"final/{split}_{name}": value for split, m in final.items() for name, value in m.items()}
        logger.log_metrics(metrics, step=step)
        logger.save()
        logger.finalize("success")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{name}."))
        else:
            flat[f"{prefix}{name}"] = str(value) if isinstance(value, list) else value
    return flat
