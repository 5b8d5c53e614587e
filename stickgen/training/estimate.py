"""How long a run is going to take: a measured step, times the steps."""

from dataclasses import dataclass, replace

from stickgen.config import TrainConfig
from stickgen.data.datamodule import ClipDataModule
from stickgen.training.micro_batch import seconds_a_clip
from stickgen.training.module import MotionModule
from stickgen.training.settings import with_absolute_paths
from stickgen.training.setup import build_model
from stickgen.training.trainer import bare_trainer, quieten_lightning

_FORWARD = 1 / 3
"""Share of a training pass that its forward part takes: the backward part has two products for each of its."""


@dataclass(frozen=True)
class Estimate:
    """An estimate of a run's time.

    Attributes:
        steps: optimizer steps.
        clips: of a step.
        step_seconds: of a step, measured now.
        scoring_seconds: of all validations and the scores before and after, by the measured passes.
    """

    steps: int
    clips: int
    step_seconds: float
    scoring_seconds: float

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.steps * self.step_seconds + self.scoring_seconds

    def __str__(self) -> str:
        minutes = max(round(self.seconds / 60), 1)
        whole = f"{self.seconds:.0f} s" if self.seconds < 100 else f"{minutes} min"
        return (
            f"about {whole}, estimated from one step: {self.steps} steps of {self.clips} clips at "
            f"{self.step_seconds:.2g} s, and {self.scoring_seconds:.0f} s of scoring"
        )


def estimate(config: TrainConfig) -> Estimate:
    """Measure a few training passes of a run, and return what the whole run takes on a machine that is as busy.

    Nothing is written. Frozen layers are computed in every pass, so a run that stores their output takes less.

    Raises:
        StickgenError: a setting, the data or the base is wrong.
    """
    quieten_lightning()
    trainer = replace(config.trainer, cache_frozen=None)
    if trainer.micro_batch == "auto":
        trainer = replace(trainer, micro_batch=None)
    # The clips of the base's own making take their time once, and no more of a step than others.
    config = with_absolute_paths(replace(config, trainer=trainer, objective=replace(config.objective, prior_clips=0)))
    data = ClipDataModule(
        config.data, accumulate=trainer.accumulate_grad_batches, seed=config.seed, objective=config.objective
    )
    built = build_model(config, data)
    data.divide(config.micro_batch, config.step_size // config.micro_batch)
    an_epoch = data.train_plan().steps
    steps = trainer.max_epochs * an_epoch
    if trainer.max_steps > 0:
        steps = min(steps, trainer.max_steps)
    module = MotionModule(built.model, config, built.fingerprint).train()
    seconds = seconds_a_clip(module, data, config, bare_trainer(config))
    val, test = len(data.split.val), len(data.split.test)
    validations = steps // (an_epoch * trainer.val_every_n_epochs)
    scored = validations * val + 2 * (val + test)
    return Estimate(steps, config.step_size, config.step_size * seconds, scored * seconds * _FORWARD)
