"""Lightning's Trainer as a run uses it: for training, in one process or several, and for scoring."""

import logging
import signal
import warnings
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from stickgen.artifacts.run import RunFolder
from stickgen.config import TrainConfig
from stickgen.data.datamodule import ClipDataModule
from stickgen.errors import ConfigError, InterruptedRunError, OutputError
from stickgen.training.callbacks import make_callbacks
from stickgen.training.checkpoint_io import SafeCheckpointIO
from stickgen.training.module import MotionModule
from stickgen.training.preemption import Preemption


def training_trainer(
    config: TrainConfig,
    run: RunFolder,
    module: MotionModule,
    loggers: list[Logger],
    preemption: Preemption,
    prompts: Tensor | None = None,
) -> Trainer:
    """Return the Trainer of a run's training, in this process or as one of several.

    Args:
        config: the settings.
        run: its folder.
        module: what is trained.
        loggers: where its numbers go.
        preemption: what makes it stop at a signal.
        prompts: see :func:`~stickgen.training.callbacks.make_callbacks`.

    Raises:
        ConfigError: the machine has no such accelerator or precision.
    """
    settings = config.trainer
    return checked_trainer(
        max_epochs=settings.max_epochs,
        max_steps=settings.max_steps,
        accumulate_grad_batches=config.step_size // (config.micro_batch * settings.devices),
        gradient_clip_val=settings.gradient_clip_val or None,
        precision=settings.precision,
        accelerator=settings.accelerator,
        devices=settings.devices,
        strategy=(
            # The buffers are constants, and processes need not score equally many batches.
            DDPStrategy(find_unused_parameters=module.some_may_rest, broadcast_buffers=False)
            if settings.devices > 1
            else "auto"
        ),
        log_every_n_steps=1,
        check_val_every_n_epoch=settings.val_every_n_epochs,
        callbacks=[*make_callbacks(config, run.checkpoints, prompts), preemption],
        logger=loggers or False,
        default_root_dir=run.path,
        enable_progress_bar=config.callbacks.progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def run_training(
    trainer: Trainer, module: MotionModule, data: ClipDataModule, resumed: Path | None, preemption: Preemption
) -> None:
    """Train, from the checkpoint that is resumed or from the start.

    Raises:
        InterruptedRunError: the user or a signal stopped it; the message names the step that is saved.
        OutputError: a checkpoint or a log cannot be written; the message does too.
    """
    try:
        with warnings.catch_warnings():
            for message in (
                # The order of batches is restored by ClipDataModule, which Lightning does not look for.
                ".*your dataloader is not resumable.*",
                ".*exists and is not empty.*",  # a resumed run's own checkpoints
                ".*sync_dist=True.*",  # metrics are synchronised by themselves, the terms of a step by _log_step
                ".*`broadcast_buffers` is deprecated.*",  # torch before 2.13 does not know its successor
            ):
                warnings.filterwarnings("ignore", message=message)
            trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    except OutputError as error:
        raise OutputError(f"{error}; {RunFolder(Path(module.config.run_dir)).saved()}") from None
    except (KeyboardInterrupt, SystemExit):
        if preemption.received not in (None, signal.SIGINT):  # who put the job back into its queue ends it himself
            raise
        # Lightning ends an interrupted process without a word.
        run = RunFolder(Path(module.config.run_dir))
        reached = f"interrupted at step {trainer.global_step}"
        if not run.holds_results():
            raise InterruptedRunError(f"{reached}, before the first checkpoint; the same command starts anew") from None
        raise InterruptedRunError(f"{reached}; {run.saved()}") from None


def evaluate(module: MotionModule, data: ClipDataModule, config: TrainConfig) -> dict[str, dict[str, float]]:
    """Return the module's metrics on the validation and the test clips, without a trace in logs or checkpoints."""
    trainer = checked_trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,  # metrics reset in inference mode could not be used in the training that follows
    )
    val = trainer.validate(module, data.val_dataloader(), verbose=False)[0]
    test = trainer.test(module, data.test_dataloader(), verbose=False)[0]
    return {
        split: {name.removeprefix(f"{split}/"): float(value) for name, value in values.items()}
        for split, values in (("val", val), ("test", test))
    }


def bare_trainer(config: TrainConfig) -> Trainer:
    """Return a Trainer of a run's accelerator and precision, for passes before the training.

    Raises:
        ConfigError: the machine has no such accelerator or precision.
    """
    return checked_trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=config.trainer.precision,
        logger=False,
        enable_checkpointing=False,
    )


def checked_trainer(**settings: Any) -> Trainer:
    """Return a Trainer.

    Raises:
        ConfigError: the machine has no such accelerator or precision.
    """
    try:
        # Always Lightning's own environment: it would otherwise take SLURM's, or a launcher's, for the run's processes.
        return Trainer(plugins=[LightningEnvironment(), SafeCheckpointIO()], **settings)
    except (MisconfigurationException, ValueError, ImportError) as error:
        # An accelerator or a precision that this machine does not have.
        raise ConfigError(f"trainer: {error}") from None


def quieten_lightning() -> None:
    """Keep the log to what the user can act on."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # the data lie in memory; workers would only copy them
        ".*number of training batches.*logging interval.*",
        ".*isinstance.*LeafSpec.*",
        ".*`accumulate_grad_batches`.*",
    ):
        warnings.filterwarnings("ignore", message=message)
