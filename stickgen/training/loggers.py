"""Where a run's numbers go while it trains: TensorBoard and CSV, in the run's folder."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

from stickgen.artifacts.run import RunFolder
from stickgen.artifacts.tensors import read_torch
from stickgen.config import TrainConfig, as_plain
from stickgen.errors import OutputError
from stickgen.metrics import FROZEN_BASE, OF_TRAINING
from stickgen.training.report import Scores

_UNSHOWN = ("callbacks", "logger", "name", "resume", "run_dir")
"""Groups and settings that change no result."""


def make_loggers(config: TrainConfig, run: RunFolder, resumed: Path | None) -> list[Logger]:
    """Return the loggers of a run.

    Args:
        config: the run's settings.
        run: its folder.
        resumed: the checkpoint it continues from; None at a first start.
    """
    loggers: list[Logger] = []
    # Steps after the checkpoint, or those of a start that did not get to one, happen again: TensorBoard is told to
    # forget their first time.
    step = 0 if resumed is None else int(read_torch(resumed)["global_step"])
    if config.logger.tensorboard:
        loggers.append(
            TensorBoardLogger(
                run.path, name="tensorboard", version="", default_hp_metric=False, purge_step=step, max_queue=100
            )
        )
    if config.logger.csv:
        # A file of its own for the continuation: the logger empties the folder it is given.
        version = "" if resumed is None else f"from_step_{step}"
        loggers.append(CSVLogger(run.path, name="csv", version=version))
    return loggers


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


def log_start(loggers: list[Logger], config: TrainConfig, scores: Scores, trained: str, resumed: bool) -> None:
    """Log the settings, with the names of the final metrics: the HParams tab shows none that it does not know yet."""
    frozen = scores.get(FROZEN_BASE, {})
    for logger in loggers:
        if resumed:
            continue
        if isinstance(logger, TensorBoardLogger):
            names = [f"final/{split}_{name}" for split in ("val", "test") for name in OF_TRAINING]
            writer = logger.experiment._get_file_writer()
            # Not by the logger's own way, which writes a point at step 0 for each: a line to the final one follows.
            for summary in hparams(shown_settings(config), dict.fromkeys(names, 0.0)):
                writer.add_summary(summary)
        else:
            logger.log_hyperparams(_flat(as_plain(config)))
        # Step 0 of the validation curves is the frozen base, and the baselines are there to compare them with.
        logger.log_metrics({f"val/{name}": value for name, value in frozen.get("val", {}).items()}, step=0)
        for baseline, by_split in scores.items():
            if baseline not in (trained, FROZEN_BASE):
                tag = baseline.replace(" ", "_")
                logger.log_metrics({f"baseline/{tag}_{n}": v for n, v in by_split.get("val", {}).items()}, step=0)


def shown_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the settings of the HParams tab: rank, alpha, learning rate and targets, then those that were changed."""
    settings, defaults = (_flat(values) for values in (as_plain(config), _defaults()))
    first: dict[str, Any] = {}
    if config.lora.enabled:
        first = {key: settings[key] for key in ("lora.rank", "lora.alpha")}
    first["optimizer.lr"] = settings["optimizer.lr"]
    if config.lora.enabled:
        first["lora.targets"] = ", ".join(config.lora.targets)
    changed = {
        key: value
        for key, value in settings.items()
        if value != defaults.get(key) and key.partition(".")[0] not in _UNSHOWN and not key.startswith("lora.targets")
    }
    return {**first, **{key: _scalar(value) for key, value in changed.items() if key not in first}}


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
