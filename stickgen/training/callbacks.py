"""What runs beside the training."""

import logging
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from torch import Tensor

from stickgen.config import TrainConfig
from stickgen.metrics import higher_is_better
from stickgen.training.pruning import Pruning

log = logging.getLogger(__name__)


def make_callbacks(run: TrainConfig, checkpoints: Path, prompts: Tensor | None = None) -> list[Callback]:
    """Return the callbacks of a run.

    ``best.ckpt`` follows the monitored metric; ``last.ckpt`` is written at the end of each epoch, and during it
    where ``checkpoint_every_n_steps`` says so.

    Args:
        run: the settings.
        checkpoints: the folder of the checkpoints.
        prompts: the embedded prompts of the animations ``[P, E]``, where the settings name any.
    """
    config = run.callbacks
    best = RunCheckpoint(
        dirpath=checkpoints,
        filename="best",
        monitor=config.monitor,
        mode="max" if higher_is_better(config.monitor) else "min",
        save_top_k=1,
        save_on_train_epoch_end=False,  # but after a validation: an epoch that max_steps cuts short has none
        enable_version_counter=False,
    )
    last = [_last(checkpoints, every_epoch=True)]
    if config.checkpoint_every_n_steps is not None:
        last.append(_last(checkpoints, every_n_steps=config.checkpoint_every_n_steps))
    callbacks: list[Callback] = [EpochLine(), best, *last]
    if config.early_stopping_patience is not None:
        stopping = EarlyStopping(
            config.monitor,
            patience=config.early_stopping_patience,
            mode=best.mode,
            check_on_train_epoch_end=False,
        )
        callbacks.append(stopping)
    if config.show_motion.every_n_epochs is not None and "tensorboard" in run.logger.kinds:
        # Here, since runs without pictures need no painter.
        from stickgen.training.show_motion import ShowMotion

        callbacks.append(ShowMotion(run, prompts))
    if config.trial is not None:
        callbacks.append(Pruning(config.trial, config.monitor))
    if config.progress_bar:
        callbacks.append(EpochBar())
    return callbacks


class RunCheckpoint(ModelCheckpoint):
    """A checkpoint that keeps what it knows of the best where the run's folder was moved."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state over, its paths as they are now."""
        folder = str(self.dirpath)

        def here(path: str) -> str:
            return str(Path(folder) / Path(path).name) if path else path

        paths = ("best_model_path", "last_model_path", "kth_best_model_path")
        moved = {name: here(state_dict[name]) for name in paths if name in state_dict}
        best = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": folder})


class EpochBar(RichProgressBar):
    """Lightning's bar, counting epochs from 1 as the log does, with the loss of the last steps in the mean."""

    def __init__(self) -> None:
        super().__init__()
        self._loss = 0.0
        self._weight = 0.0
        self._step = -1

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return what the bar shows; the loss is an exponential mean over about ten steps."""
        shown = super().get_metrics(trainer, pl_module)
        if "loss" in shown:
            if trainer.global_step != self._step:  # the bar is drawn several times a step
                self._step = trainer.global_step
                self._loss += (float(shown["loss"]) - self._loss) * 0.1  # type: ignore[arg-type]
                self._weight += (1 - self._weight) * 0.1
            shown["loss"] = self._loss / self._weight
        return dict(shown)

    def _get_train_description(self, current_epoch: int) -> str:
        # Where a number of steps ends the run, the number of epochs says nothing.
        limit = self.trainer.max_epochs if self.trainer.max_steps == -1 else None
        return f"Epoch {current_epoch + 1}" + (f"/{limit}" if limit else "")


class EpochLine(Callback):
    """Logs a line for each validation: what a run without a progress bar shows, and what train.log keeps."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log epoch, step and the validation metrics."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in sorted(values.items()))
        log.info("epoch %d  step %d  %s", trainer.current_epoch + 1, trainer.global_step, shown)


def _last(folder: Path, *, every_epoch: bool = False, every_n_steps: int | None = None) -> ModelCheckpoint:
    return RunCheckpoint(
        dirpath=folder,
        filename="last",
        save_top_k=1,
        every_n_epochs=1 if every_epoch else None,
        every_n_train_steps=every_n_steps,
        save_on_train_epoch_end=every_epoch,
        enable_version_counter=False,
    )
