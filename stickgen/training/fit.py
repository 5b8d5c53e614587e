"""One training run, from settings to a run folder."""

import logging
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer, seed_everything
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy
from omegaconf import OmegaConf
from rich.console import Console

from stickgen.artifacts.adapter import Adapter, save_adapter
from stickgen.artifacts.base import MODEL_FILE, save_base
from stickgen.artifacts.run import RunFolder, environment, read_checkpoint, write_json
from stickgen.config import TrainConfig, typed
from stickgen.data.datamodule import ClipDataModule
from stickgen.errors import ConfigError, InterruptedRunError, OutputExistsError
from stickgen.evaluation.baselines import baseline_metrics, majority_action
from stickgen.lora import get_lora_state_dict, lora_settings
from stickgen.training.callbacks import make_callbacks
from stickgen.training.loggers import log_end, log_start, make_loggers
from stickgen.training.micro_batch import fastest, seconds_by_micro_batch
from stickgen.training.module import MotionModule
from stickgen.training.preemption import Preemption
from stickgen.training.processes import Processes
from stickgen.training.pruning import Pruning
from stickgen.training.report import Scores, print_results, print_summary
from stickgen.training.setup import Subject, make_subject

log = logging.getLogger(__name__)

_THREADS = torch.get_num_threads()
"""PyTorch's own choice, to go back to in a sweep whose earlier job set another."""


@dataclass(frozen=True)
class FitResult:
    """What a run came to.

    Attributes:
        run: its folder.
        scores: every predictor's metrics on the validation and the test clips.
        monitored: the best value of the monitored metric, which a sweep compares.
    """

    run: RunFolder
    scores: Scores
    monitored: float


def fit(config: TrainConfig, console: Console | None = None) -> FitResult:
    """Train, evaluate beside the baselines, and write the run's folder.

    Args:
        config: the settings; where ``resume`` is set, those of the run to go on with.
        console: where the summary and the results are printed; None prints nothing.

    Raises:
        StickgenError: settings, data or base are wrong; the message says how to go on.
        PreemptedRunError: a signal asked the run to stop, and it has saved what it can go on from.
    """
    config = with_absolute_paths(config)
    run = RunFolder(Path(config.run_dir))
    preemption = Preemption(run)
    with preemption.listening():
        return _run(config, run, preemption, console or Console(quiet=True))


def _run(config: TrainConfig, run: RunFolder, preemption: Preemption, console: Console) -> FitResult:
    started = time.monotonic()
    _begin(config)
    resumed = _resumed(config, run)
    if resumed is None and run.holds_results():
        raise OutputExistsError(
            f"{run.path}: holds a run already, which was kept; resume={run.path} continues it, or name another folder"
        )

    data = _data(config)
    subject = make_subject(config, data)
    if config.trainer.micro_batch == "auto":
        config = _measured(config, data, subject)
    data.divide(config.micro_batch, config.step_size // config.micro_batch)
    module = MotionModule(subject.model, config, subject.fingerprint)
    trained = "adapter" if config.lora.enabled else "trained model"
    with Processes(config) as processes:
        loggers = make_loggers(config, run, resumed)
        trainer = _trainer(
            config, run, module, loggers, preemption
        )  # before anything is written: it may not suit the machine
        run.write_start(config, first=resumed is None)
        print_summary(console, config, data, subject)
        processes.start(config)
        scores = _baselines(data)
        if not config.base.from_scratch:
            with subject.in_float32():
                scores["frozen base"] = _evaluate(module, data, config)
        log_start(loggers, config, scores, trained, resumed is not None)
        with data.shared(0, processes.count):
            _fit(trainer, module, data, resumed, preemption)
    kept = run.kept()
    module.load_trained_state(
        {f"model.{name}": value for name, value in read_checkpoint(kept).state.items()}, str(kept)
    )
    with subject.in_float32():
        scores[trained] = _evaluate(module, data, config)
    log_end(loggers, scores[trained], trainer.global_step)

    _save_weights(module, subject, config, run)
    split, _, metric = config.callbacks.monitor.partition("/")
    monitored = scores[trained][split][metric]
    write_json(
        run.metrics,
        {
            "scores": scores,
            "trained": trained,
            "monitor": config.callbacks.monitor,
            "monitored": monitored,
            "data": data.report.record(data.split),
            "parameters": {"trainable": subject.trainable, "total": subject.total},
            "optimizer_steps": trainer.global_step,
            "pruned": next((c.after for c in trainer.callbacks if isinstance(c, Pruning)), None),  # type: ignore[attr-defined]
            "seconds": round(time.monotonic() - started, 1),
        },
    )
    for split in ("val", "test"):
        print_results(console, scores, split, trained)
    _print_next(console, config, run)
    return FitResult(run, scores, monitored)


def fit_beside(config: TrainConfig, rank: int) -> None:
    """Train as one of the further processes of a run, which leave all that is written to the first.

    Args:
        config: the settings that the first process has written into the run's folder.
        rank: which process this is, from 1.
    """
    run = RunFolder(Path(config.run_dir))
    preemption = Preemption(run)
    with preemption.listening():
        _begin(config)
        resumed = _resumed(config, run)
        data = _data(config)
        subject = make_subject(config, data)
        data.divide(config.micro_batch, config.step_size // config.micro_batch)
        config = replace(config, callbacks=replace(config.callbacks, progress_bar=False))
        module = MotionModule(subject.model, config, subject.fingerprint)
        trainer = _trainer(config, run, module, [], preemption)
        with data.shared(rank, config.trainer.devices):
            _fit(trainer, module, data, resumed, preemption)


def resume_config(folder: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Return the settings to continue a run with, in its own folder.

    Args:
        folder: the run's.
        overrides: ``key=value`` changes; only how long and on what to train may change.

    Raises:
        ConfigError: a change would make it another run.
        CheckpointError: the folder is no run's.
    """
    config = OmegaConf.structured(RunFolder(Path(folder)).read_config())
    for override in (override.lstrip("+") for override in overrides):
        key = override.partition("=")[0]
        if key == "resume":
            continue
        # Checkpoints count the micro-batches of a process.
        fixed = ("trainer.micro_batch", "trainer.accumulate_grad_batches", "trainer.devices", "trainer.strategy")
        if key.partition(".")[0] not in ("trainer", "callbacks", "logger") or "." not in key or key in fixed:
            raise ConfigError(
                f"{key}: a resumed run keeps its settings; only single values may change, trainer.…=, callbacks.…= "
                "or logger.…="
            )
        config = OmegaConf.merge(config, OmegaConf.from_dotlist([override]))
    config.resume = config.run_dir = folder
    return typed(config, TrainConfig)


def _begin(config: TrainConfig) -> None:
    """Set what a process of a run has one of: its threads, its random numbers, its warnings."""
    _quieten_lightning()
    torch.set_num_threads(config.trainer.threads or max(1, _THREADS // config.trainer.devices))
    seed_everything(config.seed, workers=True, verbose=False)


def _resumed(config: TrainConfig, run: RunFolder) -> Path | None:
    return run.checkpoint("last") if config.resume else None


def _data(config: TrainConfig) -> ClipDataModule:
    return ClipDataModule(
        config.data,
        accumulate=config.trainer.accumulate_grad_batches,
        seed=config.seed,
        objective=config.objective,
    )


def _print_next(console: Console, config: TrainConfig, run: RunFolder) -> None:
    """Say where everything is and what can be done with it."""
    folder = os.path.relpath(run.path)
    console.print(f"run folder: {folder}", soft_wrap=True)
    if config.logger.tensorboard:
        console.print(f"watch:  tensorboard --logdir {folder}", soft_wrap=True)
    if config.lora.enabled:
        console.print(f"export: python merge.py checkpoint={folder} output=merged_model.pth", soft_wrap=True)
    else:
        console.print(f"adapt:  python train.py base.checkpoint={folder}", soft_wrap=True)


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Resolve paths, so that the run can be resumed and merged from any working directory."""
    base, data = config.base, config.data
    if base.checkpoint is not None:
        base = replace(base, checkpoint=str(Path(base.checkpoint).resolve()))
    if data.path is not None:
        data = replace(data, path=str(Path(data.path).resolve()))
    return replace(config, base=base, data=data, run_dir=str(Path(config.run_dir).resolve()))


def _measured(config: TrainConfig, data: ClipDataModule, subject: Subject) -> TrainConfig:
    """Return the settings with the fastest micro-batch in the place of "auto"."""
    module = MotionModule(subject.model, config, subject.fingerprint).train()
    trainer = _checked_trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=config.trainer.precision,
        logger=False,
        enable_checkpointing=False,
    )
    seconds = seconds_by_micro_batch(module, data, config, trainer)
    size = fastest(seconds)
    shown = ", ".join(f"{n}: {1000 * taken:.0f}" for n, taken in seconds.items())
    log.info("trainer.micro_batch=auto: milliseconds a clip by size %s; taking %d", shown, size)
    return replace(config, trainer=replace(config.trainer, micro_batch=size))


def _trainer(
    config: TrainConfig, run: RunFolder, module: MotionModule, loggers: list[Logger], preemption: Preemption
) -> Trainer:
    settings = config.trainer
    return _checked_trainer(
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
            if settings.devices > 1 or settings.strategy == "ddp"
            else "auto"
        ),
        log_every_n_steps=settings.log_every_n_steps,
        check_val_every_n_epoch=settings.val_every_n_epochs,
        callbacks=[*make_callbacks(config, run.checkpoints), preemption],
        logger=loggers or False,
        default_root_dir=run.path,
        enable_progress_bar=config.callbacks.progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _evaluate(module: MotionModule, data: ClipDataModule, config: TrainConfig) -> dict[str, dict[str, float]]:
    """Return the module's metrics on the validation and the test clips, without a trace in logs or checkpoints."""
    trainer = _checked_trainer(
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


def _fit(
    trainer: Trainer, module: MotionModule, data: ClipDataModule, resumed: Path | None, preemption: Preemption
) -> None:
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
    except (KeyboardInterrupt, SystemExit):
        if preemption.received is not None:  # who put the job back into its queue ends the process himself
            raise
        # Lightning ends an interrupted process without a word.
        folder = os.path.relpath(module.config.run_dir)
        reached = f"interrupted at step {trainer.global_step}"
        if not RunFolder(Path(module.config.run_dir)).holds_results():
            raise InterruptedRunError(f"{reached}, before the first checkpoint; the same command starts anew") from None
        raise InterruptedRunError(f"{reached}; python train.py resume={folder} continues") from None


def _checked_trainer(**settings: Any) -> Trainer:
    try:
        # Always Lightning's own environment: it would otherwise take SLURM's, or a launcher's, for the run's processes.
        return Trainer(plugins=[LightningEnvironment()], **settings)
    except (MisconfigurationException, ValueError, ImportError) as error:
        # An accelerator or a precision that this machine does not have.
        raise ConfigError(f"trainer: {error}") from None


def _baselines(data: ClipDataModule) -> dict[str, dict[str, dict[str, float]]]:
    majority = majority_action(data.split.train.infos)
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        for name, metrics in baseline_metrics(loader, majority).items():
            scores.setdefault(name, {})[split] = metrics
    return scores


def _save_weights(module: MotionModule, subject: Subject, config: TrainConfig, run: RunFolder) -> None:
    origin = {**environment(), "seed": config.seed, "data": config.data.path or "sample"}
    if config.lora.enabled:
        adapter = Adapter(
            state=get_lora_state_dict(module.model),
            settings=lora_settings(module.model),
            base_fingerprint=subject.fingerprint,
            base_path=str(subject.base_path),
            base_record=subject.record,
            origin=origin,
        )
        save_adapter(adapter, run.adapter, overwrite=True)
        return
    record = replace(subject.record, origin={**origin, "from": str(subject.base_path or "scratch")})
    dtype = getattr(torch, config.base.save_dtype)
    save_base(module.model, record, run.path / MODEL_FILE, dtype=dtype, overwrite=True)


def _quieten_lightning() -> None:
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
