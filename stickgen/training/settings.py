"""The settings of a run: those that were composed, or of a run that continues its own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from stickgen.artifacts.run import RunFolder
from stickgen.config import TrainConfig, run_to_resume, typed
from stickgen.errors import ConfigError


def job_settings(composed: DictConfig, folder: str, overrides: Sequence[str]) -> TrainConfig:
    """Return the checked settings of a job.

    Args:
        composed: of ``conf/train.yaml``.
        folder: where a new run goes that names no ``run_dir`` itself.
        overrides: what was composed, as ``key=value``; a resumed run takes its own settings and these.

    Raises:
        ConfigError: a value is impossible, or would make a resumed run another one.
        CheckpointError: ``resume`` names no run's folder.
    """
    if composed.resume is not None:
        return resume_config(run_to_resume(composed.resume), overrides)
    if OmegaConf.is_missing(composed, "run_dir"):
        composed.run_dir = folder
    return typed(composed, TrainConfig)


def resume_config(folder: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Return the settings to continue a run with, in its own folder.

    Args:
        folder: the run's.
        overrides: ``key=value`` changes; only how long and on what devices to train may change.

    Raises:
        ConfigError: a change would make it another run.
        CheckpointError: the folder is no run's.
    """
    config = OmegaConf.structured(RunFolder(Path(folder)).read_config())
    for override in (override.lstrip("+") for override in overrides):
        key = override.partition("=")[0]
        if key == "resume":
            continue
        # Checkpoints count micro-batches.
        fixed = ("trainer.micro_batch", "trainer.accumulate_grad_batches")
        if key.partition(".")[0] not in ("trainer", "callbacks", "logger") or "." not in key or key in fixed:
            raise ConfigError(
                f"{key}: a resumed run keeps its settings; only single values may change, trainer.…=, callbacks.…= "
                "or logger.…="
            )
        config = OmegaConf.merge(config, OmegaConf.from_dotlist([override]))
    config.resume = config.run_dir = folder
    return typed(config, TrainConfig)


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Resolve paths, so that the run can be resumed and merged from any working directory."""
    base, data = config.base, config.data
    if base.checkpoint is not None:
        base = replace(base, checkpoint=str(Path(base.checkpoint).resolve()))
    if data.path is not None:
        data = replace(data, path=str(Path(data.path).resolve()))
    return replace(config, base=base, data=data, run_dir=str(Path(config.run_dir).resolve()))
