"""What runs beside the training."""

from pathlib import Path

from lightning import Callback
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import Logger

from stickgen.config import CallbacksConfig


def make_callbacks(config: CallbacksConfig, checkpoints: Path, loggers: list[Logger]) -> list[Callback]:
    """Return the callbacks of a run.

    ``best.ckpt`` follows the monitored metric; ``last.ckpt`` is written at the end of each epoch, and during it
    where ``checkpoint_every_n_steps`` says so.
    """
    best = ModelCheckpoint(
        dirpath=checkpoints,
        filename="best",
        monitor=config.monitor,
        mode="max" if config.monitor.endswith("accuracy") else "min",
        save_top_k=1,
        enable_version_counter=False,
    )
    last = [_last(checkpoints, every_epoch=True)]
    if config.checkpoint_every_n_steps is not None:
        last.append(_last(checkpoints, every_n_steps=config.checkpoint_every_n_steps))
    callbacks: list[Callback] = [best, *last]
    if config.early_stopping_patience is not None:
        stopping = EarlyStopping(config.monitor, patience=config.early_stopping_patience, mode=best.mode)
        callbacks.append(stopping)
    if loggers:
        callbacks.append(LearningRateMonitor(logging_interval="step"))
    if config.progress_bar:
        callbacks.append(RichProgressBar())
    return callbacks


def _last(folder: Path, *, every_epoch: bool = False, every_n_steps: int | None = None) -> ModelCheckpoint:
    return ModelCheckpoint(
        dirpath=folder,
        filename="last",
        save_top_k=1,
        every_n_epochs=1 if every_epoch else None,
        every_n_train_steps=every_n_steps,
        save_on_train_epoch_end=every_epoch,
        enable_version_counter=False,
    )
