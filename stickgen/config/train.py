"""A training run's settings together."""

from dataclasses import dataclass, field

from stickgen.config.checks import check
from stickgen.config.data import DataConfig
from stickgen.config.model import BaseConfig, LoRAConfig
from stickgen.config.objective import ObjectiveConfig, OptimizerConfig
from stickgen.config.running import CallbacksConfig, LoggerConfig, TrainerConfig
from stickgen.errors import ConfigError


@dataclass
class TrainConfig:
    """Everything a training run depends on; the run folder keeps it as ``config.yaml``."""

    base: BaseConfig = field(default_factory=BaseConfig)
    lora: LoRAConfig = field(default_factory=LoRAConfig)
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    seed: int = 0
    """Seed of the adapters' start, the order of clips, augmentation and dropout."""
    name: str = "train"
    """Names the run's folder."""
    resume: str | None = None
    """A run folder to continue, in place and with its own settings; latest: the one started last below outputs/."""
    run_dir: str = "???"
    """Where the run's folder is; the command takes the one that Hydra makes."""

    @property
    def step_size(self) -> int:
        """Clips of an optimizer step."""
        return self.data.batch_size * self.trainer.accumulate_grad_batches

    @property
    def micro_batch(self) -> int:
        """Clips of a forward pass; where that is still to be measured, data.batch_size."""
        size = self.trainer.micro_batch
        return size if isinstance(size, int) else self.data.batch_size

    def __post_init__(self) -> None:
        check("seed", self.seed, 0 <= self.seed < 2**32, "a whole number from 0 to 4294967295")
        # Here and not in the groups: their defaults alone, which Hydra's schema is made of, make no run.
        base, lora = self.base, self.lora
        if self.step_size % self.micro_batch:
            raise ConfigError(
                f"trainer.micro_batch={self.micro_batch}: does not divide the {self.step_size} clips of a step "
                f"(data.batch_size={self.data.batch_size} × trainer.accumulate_grad_batches="
                f"{self.trainer.accumulate_grad_batches})"
            )
        devices = self.trainer.devices
        parts = self.step_size if self.trainer.micro_batch == "auto" else self.step_size // self.micro_batch
        if parts % devices:
            raise ConfigError(
                f"trainer.devices={devices}: does not divide the {parts} micro-batches of a step; change "
                "trainer.accumulate_grad_batches or trainer.micro_batch"
            )
        if base.from_scratch and base.checkpoint is not None:
            raise ConfigError(
                f"base.checkpoint={base.checkpoint}: base.from_scratch=true trains new weights; set it to null"
            )
        if not base.from_scratch and not base.checkpoint:
            raise ConfigError(
                "base.checkpoint: no base given; name its file, or train one with experiment=pretrain"
                " (random weights are never used in its place)"
            )
        if base.from_scratch and lora.enabled:
            raise ConfigError(
                "lora.enabled=true: adapters need a trained base; set base.checkpoint, or lora.enabled=false"
            )
        if base.dtype == "bfloat16" and not lora.enabled:
            raise ConfigError(
                f"base.dtype={base.dtype}: is for a frozen base; weights in training stay in float32, and "
                "trainer.precision=bf16-mixed computes in bfloat16"
            )
        if self.optimizer.lora_plus_ratio != 1 and not lora.enabled:
            raise ConfigError(
                f"optimizer.lora_plus_ratio={self.optimizer.lora_plus_ratio:g}: is for adapters; leave it at 1 where "
                "lora.enabled=false"
            )
        if lora.enabled and not lora.target_modules:
            raise ConfigError("lora.targets: empty; choose groups, as in 'lora/targets=[attention,pose_decoder]'")
