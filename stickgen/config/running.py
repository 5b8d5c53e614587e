"""The loop and what runs beside it."""

from dataclasses import dataclass, field

from stickgen.config.checks import check
from stickgen.metrics import MONITORED

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "auto")
"""What training can compute in, auto: the faster of the first two; evaluation is always in float32."""

CACHED = ("auto", "float32", "bfloat16")
"""How the output of frozen layers may be stored."""

LOGGERS = ("tensorboard", "csv", "wandb", "mlflow")
"""Kinds of loggers (stickgen/training/loggers.py)."""

MAX_THREADS = 1024
"""More crash PyTorch's thread pool."""


@dataclass
class TrainerConfig:
    """How long, on what and how precisely; passed on to lightning.Trainer."""

    max_epochs: int = 20
    """Epochs to train, unless max_steps ends the run earlier."""
    max_steps: int = -1
    """Optimizer steps; -1: as many as the epochs have."""
    accumulate_grad_batches: int = 32
    """Forward passes of data.batch_size clips in an optimizer step."""
    micro_batch: int | str | None = None
    """Clips of a forward pass where they are to be others than data.batch_size; a step's clips stay batch_size ×
    accumulate_grad_batches, and so does its gradient. "auto" measures which size is the fastest, in a few seconds, and
    keeps the number in the run's config.yaml; null takes data.batch_size. Dropout masks do depend on it."""
    gradient_clip_val: float = 1.0
    """Largest norm of the gradient; 0: no limit."""
    precision: str = "32-true"
    """What training computes in: 32-true, bf16-mixed, 16-mixed, or auto, which measures the faster of the first two."""
    accelerator: str = "auto"
    """cpu, gpu (a kind that PyTorch finds), cuda, mps or tpu; auto: the best that this machine has."""
    devices: int = 1
    """Processes, each on a GPU of its own, or all on the CPU. They divide the micro-batches of a step and sum their
    gradients (DDP; Li et al. 2020, arXiv:2006.15704), so the step stays the same, apart from dropout masks."""
    threads: int | None = None
    """CPU threads of each process; null: PyTorch's choice, divided by the processes."""
    cache_frozen: str | None = "auto"
    """Whether to compute the frozen layers below the first adapter once for every clip and variant, and train from
    the stored output: float32 or bfloat16, the width to store; null: no; auto: in float32 where it saves time and takes
    at most a quarter of the free disk. The run's config.yaml keeps the choice (docs/adapters.md)."""
    val_every_n_epochs: int = 1
    """Validate every so many epochs."""

    def __post_init__(self) -> None:
        check("trainer.precision", self.precision, self.precision in PRECISIONS, " or ".join(PRECISIONS))
        accelerators = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
        check("trainer.accelerator", self.accelerator, self.accelerator in accelerators, " or ".join(accelerators))
        check("trainer.max_epochs", self.max_epochs, self.max_epochs >= 1, "a whole number of at least 1")
        check("trainer.max_steps", self.max_steps, self.max_steps == -1 or self.max_steps >= 1, "-1, or at least 1")
        for name in ("accumulate_grad_batches", "devices", "val_every_n_epochs"):
            value = getattr(self, name)
            check(f"trainer.{name}", value, value >= 1, "a whole number of at least 1")
        check("trainer.gradient_clip_val", self.gradient_clip_val, self.gradient_clip_val >= 0, "0 (off) or more")
        size = self.micro_batch
        good = size is None or size == "auto" or (isinstance(size, int) and size >= 1)
        check("trainer.micro_batch", size, good, "a whole number of at least 1, auto or null")
        stored = self.cache_frozen
        kinds = "auto, float32, bfloat16 or null"
        check("trainer.cache_frozen", stored, stored is None or stored in CACHED, kinds)
        threads = self.threads
        check(
            "trainer.threads", threads, threads is None or 1 <= threads <= MAX_THREADS, f"1 to {MAX_THREADS}, or null"
        )


@dataclass
class ShowMotionConfig:
    """Animations of validation clips and prompts in TensorBoard: real clip, frozen base, model in training."""

    every_n_epochs: int | None = 5
    """Show them after so many epochs, and at the end of the training; null: never."""
    max_share: float = 0.02
    """Leave out those that would bring their share of the training's time above this, also at its end; 1: none."""
    clips: int = 2
    """Validation clips, always the same, whose first ten frames the models continue."""
    prompts: list[str] = field(default_factory=list)
    """Texts that the models move to from rest, embedded by the base's text encoder as the run starts."""
    captions: int = 2
    """Where no prompts are named: so many captions of training clips, which need no encoder."""
    encoder: str | None = None
    """The encoder of the prompts, hub id or folder; null: the one that the base, or the data, names."""
    frames: int = 50
    """Most frames that are made of each, at 25 a second."""

    def __post_init__(self) -> None:
        key, every = "callbacks.show_motion", self.every_n_epochs
        check(f"{key}.every_n_epochs", every, every is None or every >= 1, "at least 1, or null")
        check(f"{key}.max_share", self.max_share, 0 <= self.max_share <= 1, "a share from 0 to 1")
        for name in ("clips", "captions"):
            check(f"{key}.{name}", getattr(self, name), 0 <= getattr(self, name) <= 16, "0 to 16")
        texts = len(self.prompts) <= 16 and all(prompt.strip() for prompt in self.prompts)
        check(f"{key}.prompts", self.prompts, texts, "at most 16 texts, none of them empty,")
        check(f"{key}.frames", self.frames, self.frames >= 2, "at least 2")


@dataclass
class CallbacksConfig:
    """What runs beside the training."""

    checkpoint_every_n_steps: int | None = None
    """Save ``last`` also every so many optimizer steps; null: at the end of each epoch only."""
    early_stopping_patience: int | None = None
    """Stop after so many validations without improvement of the monitored metric; null: never."""
    keep_best: bool = True
    """Whether the run's result is the best validated weights or the last ones. The monitored metrics score next frames,
    and the best of these often have worse rollouts."""
    monitor: str = "val/pose_mse"
    """What ``best`` is chosen by: the highest accuracy, the lowest of anything else. A sweep gets its value back."""
    progress_bar: bool = True
    """Show a progress bar."""
    show_motion: ShowMotionConfig = field(default_factory=ShowMotionConfig)
    trial: str | None = None
    """The trial of an Optuna study that this run is, whose pruner may stop it: journal:number. Set by sweep=optuna."""

    def __post_init__(self) -> None:
        check(
            "callbacks.monitor",
            self.monitor,
            self.monitor in MONITORED,
            ", ".join(MONITORED[:-1]) + f" or {MONITORED[-1]}",
        )
        named = self.trial is None or self.trial.rpartition(":")[2].isdigit()
        check("callbacks.trial", self.trial, named, "journal:number, or null,")
        for name in ("checkpoint_every_n_steps", "early_stopping_patience"):
            value = getattr(self, name)
            check(f"callbacks.{name}", value, value is None or value >= 1, "at least 1, or null")


@dataclass
class LoggerConfig:
    """Where losses, metrics and animations are logged."""

    kinds: list[str] = field(default_factory=lambda: ["tensorboard"])
    """Any of tensorboard, csv, wandb and mlflow. Animations go to TensorBoard alone. The first two write to the run's
    folder; wandb and mlflow need their packages, and read their own environment variables."""

    def __post_init__(self) -> None:
        known = all(kind in LOGGERS for kind in self.kinds) and len(set(self.kinds)) == len(self.kinds)
        check("logger.kinds", self.kinds, known, f"a list of {', '.join(LOGGERS)}, each at most once,")
