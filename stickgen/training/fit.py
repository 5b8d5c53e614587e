"""One training run, from settings to a run folder."""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from lightning import Trainer, seed_everything
from rich.console import Console

from stickgen.artifacts.adapter import FILES, Adapter, save_adapter
from stickgen.artifacts.base import MODEL_FILE, save_base
from stickgen.artifacts.run import PRUNED_AFTER, RunFolder, environment, read_checkpoint, write_json
from stickgen.config import TrainConfig
from stickgen.data.datamodule import ClipDataModule
from stickgen.errors import CheckpointError, ConfigError, OutputExistsError
from stickgen.evaluation.baselines import baseline_metrics, majority_action
from stickgen.files import atomic_write, check_folder, remove_leftovers
from stickgen.locks import folder_lock
from stickgen.lora import get_lora_state_dict, lora_settings
from stickgen.metrics import FROZEN_BASE
from stickgen.text.prompts import embed_prompts
from stickgen.training.callbacks import RunCheckpoint
from stickgen.training.frozen import with_frozen_stored
from stickgen.training.loggers import log_end, log_start, make_loggers, told_of_logs
from stickgen.training.micro_batch import fastest, seconds_by_micro_batch
from stickgen.training.module import MotionModule
from stickgen.training.precision import with_precision
from stickgen.training.preemption import Preemption
from stickgen.training.processes import Processes, check_devices
from stickgen.training.pruning import Pruning
from stickgen.training.report import Scores, print_next, print_results, print_summary
from stickgen.training.settings import with_absolute_paths
from stickgen.training.setup import BuiltModel, build_model
from stickgen.training.trainer import bare_trainer, evaluate, quieten_lightning, run_training, training_trainer

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


def fit(config: TrainConfig, console: Console | None = None, *, varied: Sequence[str] = ()) -> FitResult:
    """Train, evaluate beside the baselines, and write the run's folder.

    Args:
        config: the settings; where ``resume`` is set, those of the run to go on with.
        console: where the summary and the results are printed; None prints nothing.
        varied: keys of the settings that a sweep varies, which TensorBoard compares its jobs by.

    Raises:
        StickgenError: settings, data or base are wrong, or another process uses the folder; the message says how to go
            on.
        PreemptedRunError: a signal asked the run to stop, and it has saved what it can go on from.
    """
    config = with_absolute_paths(config)
    run = RunFolder(Path(config.run_dir))
    preemption = Preemption(run)
    with preemption.listening(), folder_lock(run.path), told_of_logs(run):
        return _run(config, run, preemption, console or Console(quiet=True), varied)


def _run(
    config: TrainConfig, run: RunFolder, preemption: Preemption, console: Console, varied: Sequence[str]
) -> FitResult:
    started = time.monotonic()
    _begin(config)
    resumed = _ready_folder(config, run)
    check_devices(config)
    parts = _build(with_precision(config))
    config, data, built, module = parts.config, parts.data, parts.built, parts.module
    before = time.monotonic() - started
    trained = "adapter" if config.lora.enabled else "trained model"
    with Processes(config) as processes:
        loggers = make_loggers(config, run, resumed)
        # Before anything is written: it may not suit the machine.
        trainer = training_trainer(config, run, module, loggers, preemption, _prompts(config, built))
        run.write_start(config, first=resumed is None)
        print_summary(console, config, data, built)
        processes.start(config)
        scores = _scores_before(parts)
        if resumed is None:
            log_start(loggers, config, scores, trained, varied)
        with data.shared(0, processes.count):
            run_training(trainer, module, data, resumed, preemption)
    with built.in_float32():
        scores[trained] = _scores_of_the_kept(trainer, module, data, config)
    log_end(loggers, scores[trained], trainer.global_step)
    _save_weights(module, built, config, run)
    split, _, metric = config.callbacks.monitor.partition("/")
    result = FitResult(run, scores, monitored=scores[trained][split][metric])
    _write_metrics(result, parts, trainer, trained, seconds=module.seconds + before)
    run.forget_previous()
    for split in ("val", "test"):
        print_results(console, scores, split, trained)
    print_next(console, config, data, run.path)
    return result


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
        parts = _build(replace(config, callbacks=replace(config.callbacks, progress_bar=False)))
        trainer = training_trainer(parts.config, run, parts.module, [], preemption)
        with parts.data.shared(rank, config.trainer.devices):
            run_training(trainer, parts.module, parts.data, resumed, preemption)


@dataclass(frozen=True)
class _Parts:
    """What a process of a run trains, and on what."""

    config: TrainConfig
    data: ClipDataModule
    built: BuiltModel
    module: MotionModule


def _build(config: TrainConfig) -> _Parts:
    """Open the data and build the model; the settings returned have the fastest micro-batch in the place of "auto"."""
    data = ClipDataModule(
        config.data,
        accumulate=config.trainer.accumulate_grad_batches,
        seed=config.seed,
        objective=config.objective,
    )
    built = build_model(config, data)
    config = with_frozen_stored(config, data, built)
    if config.trainer.micro_batch == "auto":
        config = _measured(config, data, built)
    data.divide(config.micro_batch, config.step_size // config.micro_batch)
    return _Parts(config, data, built, MotionModule(built.model, config, built.fingerprint))


def _scores_of_the_kept(
    trainer: Trainer, module: MotionModule, data: ClipDataModule, config: TrainConfig
) -> dict[str, dict[str, float]]:
    """Score the last weights; with ``keep_best`` they give way to the best of those validated before, if better.

    The last ones may have had no validation: ``max_steps`` ends a run in the middle of an epoch.
    """
    scores = evaluate(module, data, config)
    if not config.callbacks.keep_best:
        return scores
    split, _, metric = config.callbacks.monitor.partition("/")
    best = next(c for c in trainer.callbacks if isinstance(c, RunCheckpoint) and c.monitor)  # type: ignore[attr-defined]
    if best.best_model_score is None:
        return scores
    gain = float(best.best_model_score) - scores[split][metric]
    if (gain if best.mode == "max" else -gain) <= 0:
        return scores
    state = read_checkpoint(Path(best.best_model_path)).state
    module.load_trained_state({f"model.{name}": value for name, value in state.items()}, best.best_model_path)
    return evaluate(module, data, config)


def _begin(config: TrainConfig) -> None:
    """Set what a process of a run has one of: its threads, its random numbers, its warnings."""
    quieten_lightning()
    torch.set_num_threads(config.trainer.threads or max(1, _THREADS // config.trainer.devices))
    seed_everything(config.seed, workers=True, verbose=False)


def _ready_folder(config: TrainConfig, run: RunFolder) -> Path | None:
    """Return the checkpoint to continue from, None for a new run; refuse a folder that the run could not use."""
    remove_leftovers(run.checkpoints)  # a run that only has to be finished writes none
    resumed = _resumed(config, run)
    if resumed is not None:
        _check_goes_on(config, resumed)
    elif run.holds_results():
        raise OutputExistsError(
            f"{run.path}: holds a run already, which was kept; resume={run.path} continues it, or name another folder"
        )
    # Now, and not when the training is over.
    check_folder(run.adapter, FILES, overwrite=True)
    return resumed


def _resumed(config: TrainConfig, run: RunFolder) -> Path | None:
    """Return the checkpoint to continue from: a last one that is missing or damaged is replaced by the latest other."""
    if not config.resume:
        return None
    path, checkpoint = run.latest()
    last = run.checkpoints / "last.ckpt"
    if path != last:
        reason = f"{last}: missing"
        if last.is_file():
            try:
                read_checkpoint(last)
            except CheckpointError as error:
                reason = str(error)
        log.warning("%s; continuing from %s, step %d", reason, path.name, checkpoint.steps)
        with atomic_write(last, overwrite=True) as scratch:
            shutil.copyfile(path, scratch)
    return last


def _check_goes_on(config: TrainConfig, resumed: Path) -> None:
    """Refuse to end a run before where it stands, for its settings would then say what it was not."""
    reached = read_checkpoint(resumed)
    limits = config.trainer
    for key, limit, count, unit in (
        ("max_epochs", limits.max_epochs, reached.epochs, "epoch"),
        ("max_steps", limits.max_steps if limits.max_steps > 0 else reached.steps, reached.steps, "step"),
    ):
        if limit < count:
            raise ConfigError(
                f"trainer.{key}={limit}: {config.resume} stands at {unit} {count} already; name at least that"
            )


def _prompts(config: TrainConfig, built: BuiltModel) -> torch.Tensor | None:
    """Return the prompts of the animations ``[P, E]``, where the settings name any."""
    show = config.callbacks.show_motion
    if not show.prompts or show.every_n_epochs is None or "tensorboard" not in config.logger.kinds:
        return None
    base = (str(built.base_path or "the data"), built.record.text_encoder)
    return embed_prompts([base], show.prompts, show.encoder, option="callbacks.show_motion.encoder")[0]


def _measured(config: TrainConfig, data: ClipDataModule, built: BuiltModel) -> TrainConfig:
    """Return the settings with the fastest micro-batch in the place of "auto"."""
    module = MotionModule(built.model, config, built.fingerprint).train()
    trainer = bare_trainer(config)
    seconds = seconds_by_micro_batch(module, data, config, trainer)
    size = fastest(seconds)
    shown = ", ".join(f"{n}: {1000 * taken:.0f}" for n, taken in seconds.items())
    log.info("trainer.micro_batch=auto: milliseconds a clip by size %s; taking %d", shown, size)
    return replace(config, trainer=replace(config.trainer, micro_batch=size))


def _scores_before(parts: _Parts) -> dict[str, dict[str, dict[str, float]]]:
    """Score the baselines, and the base as it is before training."""
    data = parts.data
    majority = majority_action(data.split.train.infos)
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        for name, metrics in baseline_metrics(loader, majority).items():
            scores.setdefault(name, {})[split] = metrics
    if not parts.config.base.from_scratch:
        with parts.built.in_float32():
            scores[FROZEN_BASE] = evaluate(parts.module, data, parts.config)
    return scores


def _write_metrics(result: FitResult, parts: _Parts, trainer: Trainer, trained: str, seconds: float) -> None:
    data, built = parts.data, parts.built
    write_json(
        result.run.metrics,
        {
            "scores": result.scores,
            "trained": trained,
            "monitor": parts.config.callbacks.monitor,
            "monitored": result.monitored,
            "data": data.report.record(data.split),
            "parameters": {"trainable": built.trainable, "total": built.total},
            "optimizer_steps": trainer.global_step,
            PRUNED_AFTER: next((c.after for c in trainer.callbacks if isinstance(c, Pruning)), None),  # type: ignore[attr-defined]
            "seconds": round(seconds, 1),
        },
    )


def _save_weights(module: MotionModule, built: BuiltModel, config: TrainConfig, run: RunFolder) -> None:
    origin = {**environment(), "seed": config.seed, "data": config.data.path or "sample"}
    if config.lora.enabled:
        adapter = Adapter(
            state=get_lora_state_dict(module.model),
            settings=lora_settings(module.model),
            base_fingerprint=built.fingerprint,
            base_path=str(built.base_path),
            base_record=built.record,
            origin=origin,
            codes=built.codes,
        )
        save_adapter(adapter, run.adapter, overwrite=True)
        return
    record = replace(built.record, origin={**origin, "from": str(built.base_path or "scratch")})
    dtype = getattr(torch, config.base.save_dtype)
    save_base(module.model, record, run.path / MODEL_FILE, dtype=dtype, overwrite=True)
