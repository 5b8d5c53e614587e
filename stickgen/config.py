"""The typed settings behind ``conf/``.

Hydra composes ``conf/train.yaml`` and ``conf/merge.yaml`` against these dataclasses, so an unknown key or a wrong
type stops at composition; :func:`typed` then builds the objects, whose ``__post_init__`` refuses impossible values
and names the key. Nothing here imports torch: ``--help`` stays instant.
"""

import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from stickgen.errors import ConfigError


@dataclass
class BaseConfig:
    """The base model. Sizes left at null are read from the checkpoint; those given must agree with it."""

    checkpoint: str | None = None
    """A .safetensors/.pth/.pt file, or the folder of a run that trained a base."""
    from_scratch: bool = False
    """Start from random weights instead; needs the sizes, and no checkpoint."""
    d_model: int | None = None
    nhead: int | None = None
    num_layers: int | None = None
    input_dim: int | None = None
    """Numbers a frame, in and out: 20 or 48."""
    embedding_dim: int | None = None
    num_actions: int | None = None
    causal: bool | None = None
    pose_output: str | None = None
    pose_scale: float | None = None
    whiten_input: bool = False
    """From scratch: begin with a first layer that sees the training frames whitened (stickgen/training/whiten.py)."""
    dropout: float = 0.0
    """Dropout inside the base while training; the adapters have their own (lora.dropout)."""
    dtype: str = "float32"
    """Width in which a frozen base's encoder is stored and computes while adapters are trained: float32 or bfloat16.
    What is reported at the end, and merged, is measured on the base in float32."""
    save_dtype: str = "float32"
    """Width in which a run that trains whole weights stores them: float32, float16 or bfloat16."""

    def __post_init__(self) -> None:
        _check("base.dropout", self.dropout, 0 <= self.dropout < 1, "0 up to, not including, 1")
        for name in ("d_model", "nhead", "num_layers", "embedding_dim", "num_actions"):
            value = getattr(self, name)
            _check(f"base.{name}", value, value is None or value > 0, "a number above 0, or null")
        _check("base.input_dim", self.input_dim, self.input_dim in (None, 20, 48), "20, 48 or null")
        kinds = (None, "absolute", "residual", "velocity")
        _check("base.pose_output", self.pose_output, self.pose_output in kinds, "absolute, residual or velocity")
        _check("base.dtype", self.dtype, self.dtype in ("float32", "bfloat16"), "float32 or bfloat16")
        widths = ("float32", "float16", "bfloat16")
        _check("base.save_dtype", self.save_dtype, self.save_dtype in widths, "float32, float16 or bfloat16")
        positive = self.pose_scale is None or self.pose_scale > 0
        _check("base.pose_scale", self.pose_scale, positive, "a number above 0, or null")


@dataclass
class LoRAConfig:
    """The adapters; see :class:`stickgen.lora.LoRASettings`."""

    enabled: bool = True
    """false trains every weight of the base instead."""
    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    use_rslora: bool = False
    """Scale updates by alpha / √rank instead of alpha / rank (Kalajdzievski 2023, arXiv:2312.03732)."""
    use_dora: bool = False
    """Train lengths and directions of the weights' rows apart (Liu et al. 2024, arXiv:2402.09353)."""
    rank_pattern: dict[str, int] = field(default_factory=dict)
    """Ranks of single layers, by a regular expression for the end of their path, as in PEFT; the first match holds."""
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    """Alphas of single layers, likewise."""
    layers: list[int] | None = None
    """Numbers of the encoder layers to adapt, of those that the targets name; null: all."""
    targets: dict[str, list[str]] = field(default_factory=dict)
    """Target groups by name, each a list of module names; the adapted layers are their union."""

    def __post_init__(self) -> None:
        _check("lora.rank", self.rank, self.rank >= 1, "a whole number of at least 1")
        _check("lora.alpha", self.alpha, math.isfinite(self.alpha) and self.alpha > 0, "a number above 0")
        _check("lora.dropout", self.dropout, 0 <= self.dropout < 1, "0 up to, not including, 1")
        for pattern, rank in self.rank_pattern.items():
            _check(f"lora.rank_pattern.{pattern}", rank, rank >= 1, "a whole number of at least 1")
        for pattern, alpha in self.alpha_pattern.items():
            good = math.isfinite(alpha) and alpha > 0
            _check(f"lora.alpha_pattern.{pattern}", alpha, good, "a number above 0")
        _check("lora.layers", self.layers, self.layers is None or bool(self.layers), "at least one number, or null")

    @property
    def target_modules(self) -> list[str]:
        """The module names of all groups, each once."""
        return list(dict.fromkeys(name for group in self.targets.values() for name in group))


@dataclass
class SampleConfig:
    """The built-in sample motion; used where data.path is null."""

    clips: int = 240
    styles: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    """Empty lists mean all there are."""
    seed: int = 0

    def __post_init__(self) -> None:
        _check("data.sample.clips", self.clips, self.clips >= 1, "a whole number of at least 1")
        _check("data.sample.seed", self.seed, self.seed >= 0, "a whole number of at least 0")


@dataclass
class AugmentConfig:
    """How training clips are varied from epoch to epoch (stickgen/data/variations.py); as it stands, not at all."""

    mirror: float = 0.0
    """Share of clips shown in a mirror: x turned round, left and right limbs exchanged."""
    swap_sides: float = 0.0
    """Share of clips whose left and right limbs are exchanged and x kept: who walks to +x still does."""
    speed: float = 1.0
    """Largest change of pace: 1.25 draws factors from 0.8 to 1.25."""
    scale: float = 1.0
    """Largest change of size, as speed."""
    shift: float = 0.0
    """Largest shift along x, in body heights. Clips begin at x = 0, long rollouts leave it far behind."""
    loop: float = 0.0
    """Share of those clips that repeat themselves while moving along x, such as gait, which go on for longer than they
    do in the file, up to data.max_frames."""
    crop: float = 0.0
    """Share of clips that begin at a random frame of their first half."""
    rest_start: float = 0.0
    """Share of clips that begin with a figure standing at rest, which moves into the clip's first frame."""

    def __post_init__(self) -> None:
        for name in ("mirror", "swap_sides", "loop", "crop", "rest_start"):
            value = getattr(self, name)
            _check(f"data.augment.{name}", value, 0 <= value <= 1, "a share from 0 to 1")
        for name in ("speed", "scale"):
            value = getattr(self, name)
            _check(f"data.augment.{name}", value, 1 <= value <= 4, "a factor from 1 (off) to 4")
        _check("data.augment.shift", self.shift, math.isfinite(self.shift) and self.shift >= 0, "0 or more")


@dataclass
class DataConfig:
    """The clips and how they are split and batched (docs/data.md)."""

    path: str | None = None
    """The data file, as sft_data_embedded.pt; null: the built-in sample motion."""
    sample: SampleConfig = field(default_factory=SampleConfig)
    dim: int | None = None
    """Numbers a frame; null: as in the file. 20 reduces 48-number clips."""
    min_quality: float = 0.8
    keep_unscored: bool = True
    """Whether clips without a quality score pass the filter."""
    sources: list[str] = field(default_factory=list)
    """Keep clips of these sources only; empty: all."""
    conditions: list[str] = field(default_factory=list)
    """What is given to the model beside the caption: camera, partner. A clip without one gets the neutral value:
    a still camera, an absent partner."""
    max_frames: int = 250
    """Longer clips are cut to their first frames."""
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    split_seed: int = 0
    train_clips: int | None = None
    """Train on so many of the training clips, drawn by split_seed; null: on all. Validation and test stay whole."""
    batch_size: int = 2
    """Clips of a forward pass; times trainer.accumulate_grad_batches, those of an optimizer step."""
    num_workers: int = 0
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        _check("data.dim", self.dim, self.dim in (None, 20, 48), "20, 48 or null")
        _check("data.min_quality", self.min_quality, 0 <= self.min_quality <= 1, "a number from 0 to 1")
        for name in ("val_fraction", "test_fraction"):
            value = getattr(self, name)
            _check(f"data.{name}", value, 0 < value < 1, "a number between 0 and 1")
        total = self.val_fraction + self.test_fraction
        _check("data.val_fraction + data.test_fraction", total, total < 1, "less than 1, to leave clips to train on")
        _check("data.batch_size", self.batch_size, self.batch_size >= 1, "a whole number of at least 1")
        _check("data.max_frames", self.max_frames, self.max_frames >= 3, "at least 3 frames")
        few = self.train_clips
        _check("data.train_clips", few, few is None or few >= 1, "a whole number of at least 1, or null")
        _check("data.split_seed", self.split_seed, self.split_seed >= 0, "a whole number of at least 0")
        _check("data.num_workers", self.num_workers, self.num_workers >= 0, "a whole number of at least 0")
        for condition in self.conditions:
            _check("data.conditions", condition, condition in ("camera", "partner"), "camera or partner")


@dataclass
class LossWeights:
    """Weights of the loss terms (stickgen/training/losses.py)."""

    pose: float = 1.0
    temporal: float = 0.1
    action: float = 0.2
    physics: float = 0.25

    def __post_init__(self) -> None:
        _check_weights("objective.weights", self)


@dataclass
class PhysicsWeights:
    """Weights inside the physics term; ``gravity`` asks a standing figure to fall and is for parity only."""

    mse: float = 1.0
    gravity: float = 0.0
    momentum: float = 0.1
    consistency: float = 0.2

    def __post_init__(self) -> None:
        _check_weights("objective.physics_weights", self)


@dataclass
class ObjectiveConfig:
    """What is predicted from what."""

    name: str = "causal"
    causal: bool = True
    """Must agree with the base. A bidirectional pass sees the frame it is asked for: its pose error is leaky."""
    feed_actions: float = 0.0
    """Share of training steps that are given the action labels as input; the action term skips those when causal."""
    drop_text: float = 0.0
    """Share of training clips without their text, a zero embedding in its place: for use without a caption, and for
    classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598)."""
    input_noise: float = 0.0
    """Largest noise in the input frames of training clips, in body heights: half the clips have none, the others sizes
    up to it. The next frame asked for has none, so the model learns to come back from its own errors."""
    input_drift: float = 0.0
    """Largest drift of the input frames, in body heights, in the same clips; a tenth of it is to be undone a frame."""
    own_frames: float = 0.0
    """Share of training steps in which the model reads frames of its own making (stickgen/training/own_frames.py). They
    are made one by one, which takes several times as long as the step."""
    weights: LossWeights = field(default_factory=LossWeights)
    physics_weights: PhysicsWeights = field(default_factory=PhysicsWeights)
    physics_scale: list[float] = field(default_factory=lambda: [1.0] * 6)
    """Typical sizes of the six physics numbers; the error is taken in these units."""

    def __post_init__(self) -> None:
        for name in ("feed_actions", "drop_text", "own_frames"):
            value = getattr(self, name)
            _check(f"objective.{name}", value, 0 <= value <= 1, "a number from 0 to 1")
        for name in ("input_noise", "input_drift"):
            value = getattr(self, name)
            _check(f"objective.{name}", value, math.isfinite(value) and value >= 0, "0 or more")
        good = len(self.physics_scale) == 6 and all(s > 0 for s in self.physics_scale)
        _check("objective.physics_scale", self.physics_scale, good, "six numbers above 0")


@dataclass
class OptimizerConfig:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) with linear warm-up, then a cosine to zero."""

    lr: float = 1e-4
    lora_plus_ratio: float = 1.0
    """Learning rate of the adapters' B over that of everything else: LoRA+ (Hayou et al. 2024, arXiv:2402.12354)."""
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    warmup_fraction: float = 0.1
    """Share of the run's optimizer steps over which the learning rate rises."""

    def __post_init__(self) -> None:
        _check("optimizer.lr", self.lr, math.isfinite(self.lr) and self.lr > 0, "a number above 0")
        ratio = self.lora_plus_ratio
        _check("optimizer.lora_plus_ratio", ratio, math.isfinite(ratio) and ratio > 0, "a number above 0")
        _check("optimizer.weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        _check("optimizer.eps", self.eps, math.isfinite(self.eps) and self.eps > 0, "a number above 0")
        for name in ("beta1", "beta2", "warmup_fraction"):
            value = getattr(self, name)
            _check(f"optimizer.{name}", value, 0 <= value < 1, "0 up to, not including, 1")


@dataclass
class TrainerConfig:
    """How long, on what and how precisely; passed on to lightning.Trainer."""

    max_epochs: int = 20
    max_steps: int = -1
    """Optimizer steps; -1: as many as the epochs have."""
    accumulate_grad_batches: int = 32
    micro_batch: int | str | None = None
    """Clips of a forward pass where they are to be others than data.batch_size; a step's clips stay batch_size ×
    accumulate_grad_batches, and so does its gradient. "auto" measures which size is the fastest, in a few seconds, and
    keeps the number in the run's config.yaml; null takes data.batch_size."""
    gradient_clip_val: float = 1.0
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int = 1
    """Processes, each on a GPU of its own, or all on the CPU; they divide the micro-batches of a step among them, so a
    step's clips and its gradient stay what they are."""
    strategy: str = "auto"
    """How they work together: ddp sums their gradients (Li et al. 2020, arXiv:2006.15704); auto: if there are any."""
    threads: int | None = None
    """CPU threads of each process; null: PyTorch's choice, divided by the processes."""
    log_every_n_steps: int = 1
    val_every_n_epochs: int = 1

    def __post_init__(self) -> None:
        _check("trainer.precision", self.precision, self.precision in PRECISIONS, " or ".join(PRECISIONS))
        _check("trainer.max_epochs", self.max_epochs, self.max_epochs >= 1, "a whole number of at least 1")
        _check("trainer.strategy", self.strategy, self.strategy in ("auto", "ddp"), "auto or ddp")
        _check("trainer.max_steps", self.max_steps, self.max_steps == -1 or self.max_steps >= 1, "-1, or at least 1")
        for name in ("accumulate_grad_batches", "devices", "log_every_n_steps", "val_every_n_epochs"):
            value = getattr(self, name)
            _check(f"trainer.{name}", value, value >= 1, "a whole number of at least 1")
        _check("trainer.gradient_clip_val", self.gradient_clip_val, self.gradient_clip_val >= 0, "0 (off) or more")
        size = self.micro_batch
        good = size is None or size == "auto" or (isinstance(size, int) and size >= 1)
        _check("trainer.micro_batch", size, good, "a whole number of at least 1, auto or null")
        _check("trainer.threads", self.threads, self.threads is None or self.threads >= 1, "at least 1, or null")


@dataclass
class ShowMotionConfig:
    """Animations of validation clips in TensorBoard: the real clip, the frozen base, the model in training."""

    every_n_epochs: int | None = 5
    """Show them after so many epochs, and at the end of the training; null: never."""
    max_share: float = 0.02
    """Skip those that would bring their share of the training's time above this; the one at the end is always made."""
    clips: int = 2
    """How many; always the same."""
    given: int = 10
    """First frames of a clip that the models go on from, drawn faded; 0: from the caption alone, standing at rest."""
    frames: int = 50
    """Most frames that are made of each, at 25 a second."""

    def __post_init__(self) -> None:
        key, every = "callbacks.show_motion", self.every_n_epochs
        _check(f"{key}.every_n_epochs", every, every is None or every >= 1, "at least 1, or null")
        _check(f"{key}.max_share", self.max_share, 0 <= self.max_share <= 1, "a share from 0 to 1")
        _check(f"{key}.clips", self.clips, 1 <= self.clips <= 16, "1 to 16")
        _check(f"{key}.given", self.given, self.given >= 0, "a whole number of at least 0")
        _check(f"{key}.frames", self.frames, self.frames >= 2, "at least 2")


@dataclass
class CallbacksConfig:
    """What runs beside the training."""

    checkpoint_every_n_steps: int | None = None
    """Save ``last`` also every so many optimizer steps; null: at the end of each epoch only."""
    early_stopping_patience: int | None = None
    """Stop after so many validations without improvement of the monitored metric; null: never."""
    monitor: str = "val/pose_mse"
    """What ``best`` is chosen by: the highest accuracy, the lowest of anything else. A sweep gets its value back."""
    progress_bar: bool = True
    show_motion: ShowMotionConfig = field(default_factory=ShowMotionConfig)
    trial: str | None = None
    """The trial of an Optuna study that this run is, whose pruner may stop it: journal:number. Set by sweep=optuna."""

    def __post_init__(self) -> None:
        _check(
            "callbacks.monitor",
            self.monitor,
            self.monitor in MONITORED,
            ", ".join(MONITORED[:-1]) + f" or {MONITORED[-1]}",
        )
        named = self.trial is None or self.trial.rpartition(":")[2].isdigit()
        _check("callbacks.trial", self.trial, named, "journal:number, or null,")
        for name in ("checkpoint_every_n_steps", "early_stopping_patience"):
            value = getattr(self, name)
            _check(f"callbacks.{name}", value, value is None or value >= 1, "at least 1, or null")


@dataclass
class LoggerConfig:
    """Where scalars go, inside the run folder."""

    tensorboard: bool = True
    csv: bool = False


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
    name: str = "train"
    """Names the run's folder."""
    resume: str | None = None
    """A run folder to continue, in place and with its own settings."""
    run_dir: str = "???"
    """Where the run's folder is; train.py takes the one that Hydra makes."""

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
        _check("seed", self.seed, 0 <= self.seed < 2**32, "a whole number from 0 to 4294967295")
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
        if base.dtype != "float32" and not lora.enabled:
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


@dataclass
class MergeConfig:
    """Settings of merge.py."""

    checkpoint: Any = "???"
    """A run folder, a .ckpt of one, or an adapter; or a list of them, which are merged together."""
    output: str = "merged_model.pth"
    """The merged model: .pth (a bare state dict, its settings in a JSON beside it), .safetensors or .onnx."""
    base_checkpoint: str | None = None
    """The base's file; null: as recorded by the run or the adapter."""
    allow_other_base: bool = False
    """Merge even into a base that the adapter was not trained on."""
    weights: list[float] = field(default_factory=list)
    """What each adapter's update is multiplied by; empty: equal shares of one."""
    save_dtype: str = "float32"
    """Width in which weights are stored: float32, float16 or bfloat16; an .onnx has float32."""
    data: str | None = None
    """A data file to verify on; null: the run's own, else the built-in sample motion."""
    tolerance: float = 1e-4
    """Largest difference allowed between merged and unmerged outputs."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        _check("tolerance", self.tolerance, self.tolerance > 0, "a number above 0")
        given = self.checkpoint
        good = isinstance(given, str) or (isinstance(given, list) and given and all(isinstance(p, str) for p in given))
        _check("checkpoint", given, bool(good), "a path, or a list of paths,")
        if self.weights:
            _check("weights", self.weights, len(self.weights) == len(self.sources), "one number an adapter")
            _check("weights", self.weights, all(map(math.isfinite, self.weights)), "finite numbers")
            total, sizes = sum(self.weights), sum(map(abs, self.weights))
            _check("weights", self.weights, abs(total) > 1e-9 * sizes, "numbers that do not sum to zero")
        suffixes = (".pth", ".safetensors", ".onnx")
        _check("output", self.output, self.output.endswith(suffixes), "a name ending in .pth, .safetensors or .onnx")
        widths = ("float32",) if self.output.endswith(".onnx") else ("float32", "float16", "bfloat16")
        _check("save_dtype", self.save_dtype, self.save_dtype in widths, " or ".join(widths))

    @property
    def sources(self) -> list[str]:
        """The adapters to merge, at least one."""
        return [self.checkpoint] if isinstance(self.checkpoint, str) else list(self.checkpoint)


Config = TypeVar("Config")

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""What training can compute in; evaluation is always in float32."""

METRICS = ("pose_mse", "action_accuracy", "temporal_consistency_error", "loss")
"""What is measured on the validation and the test clips."""

MONITORED = tuple(f"val/{name}" for name in METRICS)

PROJECT = Path(__file__).resolve().parents[1]
"""The project's folder, with conf/ and assets/."""


def register() -> None:
    """Make the schemas known to Hydra, as ``train_schema`` and ``merge_schema``."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=TrainConfig)
    store.store(name="merge_schema", node=MergeConfig)
    # A resumed run writes into its own folder, so Hydra's log goes there too.
    OmegaConf.register_new_resolver("run_dir", _run_dir, replace=True)
    # An environment variable that is set to nothing counts as not set.
    OmegaConf.register_new_resolver("env_or", lambda name, default: os.environ.get(name) or default, replace=True)
    # Hydra looks for plugins in packages of the name hydra_plugins, here and in the processes that a launcher starts.
    if (plugins := str(PROJECT / "stickgen" / "sweeps" / "plugins")) not in sys.path:
        sys.path.append(plugins)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), plugins)))
    # What comes with the project is found from any working directory.
    OmegaConf.register_new_resolver("project", lambda path: str(PROJECT / path), replace=True)


def _run_dir(resume: str | None, new: str) -> str:
    """Return the folder Hydra is to write into, before it makes one."""
    if resume is None:
        return new
    if not (Path(resume) / "config.yaml").is_file():
        raise ConfigError(f"resume={resume}: no config.yaml in it; the folder of a training run expected")
    return resume


def typed(config: DictConfig, kind: type[Config]) -> Config:
    """Resolve a composed configuration and check its values.

    Raises:
        ConfigError: a mandatory key is missing, or a value is impossible; the message begins with the key.
        OmegaConfBaseException: a key is unknown, or a value has the wrong type.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError(f"{missing[0]}: not set; give it on the command line, as {missing[0]}=…")
    # Through plain values: Hydra lets `+lora.rnk=4` add a key that the schema does not have, a fresh schema does not.
    plain = OmegaConf.to_container(config, resolve=True)
    return cast("Config", OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), plain)))


def setting_keys(schema: type) -> list[str]:
    """Return the dotted keys of a schema, groups included."""

    def walk(node: Any, prefix: str) -> Iterator[str]:
        for name in node:
            yield f"{prefix}{name}"
            if isinstance(child := node._get_node(name), DictConfig):
                yield from walk(child, f"{prefix}{name}.")

    return list(walk(OmegaConf.structured(schema), ""))


def as_plain(config: Any) -> dict[str, Any]:
    """Return a configuration object as plain dicts, lists, strings and numbers."""
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.structured(config), resolve=True))


def _check(key: str, value: Any, good: bool, expected: str) -> None:
    if not good:
        raise ConfigError(f"{key}={value}: {expected} expected")


def _check_weights(key: str, weights: Any) -> None:
    for term in fields(weights):
        value = getattr(weights, term.name)
        _check(f"{key}.{term.name}", value, math.isfinite(value) and value >= 0, "0 or more")
