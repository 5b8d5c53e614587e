"""The base and its adapters."""

from dataclasses import dataclass, field, fields

from stickgen.adapter_settings import LoRASettings
from stickgen.config.checks import check
from stickgen.errors import ConfigError


@dataclass
class BaseConfig:
    """The base model. Sizes left at null are read from the checkpoint; those given must agree with it."""

    checkpoint: str | None = None
    """A .safetensors/.pth/.pt file, or the folder of a run that trained a base."""
    from_scratch: bool = False
    """Start from random weights instead; needs the sizes, and no checkpoint."""
    d_model: int | None = None
    """Width of the model."""
    nhead: int | None = None
    """Attention heads."""
    num_layers: int | None = None
    """Encoder layers."""
    input_dim: int | None = None
    """Numbers a frame, in and out: 20 or 48."""
    embedding_dim: int | None = None
    """Numbers of a text embedding."""
    num_actions: int | None = None
    """Action classes."""
    causal: bool | None = None
    """Whether a frame sees only earlier frames."""
    pose_output: str | None = None
    """What the pose head predicts: absolute (poses), residual (the change from the last frame) or velocity (the change
    from constant velocity)."""
    pose_scale: float | None = None
    """Typical size of what the pose head predicts, in body heights; the head's output is multiplied by it."""
    pose_frame: str | None = None
    """What frames are read and moved in: world (the reference's) or body (stickgen/model/body_frame.py)."""
    velocity_kept: float | None = None
    """With pose_frame=body: share of the last displacement that goes on by itself."""
    pose_pull: float | None = None
    """With pose_frame=body: share of the way to the rest pose that is gone by itself."""
    motion_code: bool | None = None
    """Whether the end of the text embedding describes the motion (stickgen/model/motion_code.py)."""
    whiten_input: bool = False
    """From scratch: begin with a first layer that sees the training frames whitened (stickgen/training/whiten.py)."""
    dropout: float = 0.0
    """Dropout inside the base while training; the adapters have their own (lora.dropout)."""
    dtype: str = "float32"
    """Width in which a frozen base's encoder is stored and computes while adapters are trained: float32, bfloat16, or
    auto, which measures which is faster and keeps it in the run's config.yaml. What is reported at the end, and merged,
    is measured on the base in float32."""
    save_dtype: str = "float32"
    """Width in which a run that trains whole weights stores them: float32, float16 or bfloat16."""

    def __post_init__(self) -> None:
        check("base.dropout", self.dropout, 0 <= self.dropout < 1, "0 up to, not including, 1")
        for name in ("d_model", "nhead", "num_layers", "embedding_dim", "num_actions"):
            value = getattr(self, name)
            check(f"base.{name}", value, value is None or value > 0, "a number above 0, or null")
        check("base.input_dim", self.input_dim, self.input_dim in (None, 20, 48), "20, 48 or null")
        kinds = (None, "absolute", "residual", "velocity")
        check("base.pose_output", self.pose_output, self.pose_output in kinds, "absolute, residual or velocity")
        check("base.pose_frame", self.pose_frame, self.pose_frame in (None, "world", "body"), "world or body")
        kept = self.velocity_kept is None or 0 <= self.velocity_kept <= 1
        check("base.velocity_kept", self.velocity_kept, kept, "a share from 0 to 1, or null")
        check("base.dtype", self.dtype, self.dtype in ("float32", "bfloat16", "auto"), "float32, bfloat16 or auto")
        widths = ("float32", "float16", "bfloat16")
        check("base.save_dtype", self.save_dtype, self.save_dtype in widths, "float32, float16 or bfloat16")
        positive = self.pose_scale is None or self.pose_scale > 0
        check("base.pose_scale", self.pose_scale, positive, "a number above 0, or null")


@dataclass
class LoRAConfig(LoRASettings):
    """The adapters of a run: their settings, and which layers they adapt."""

    enabled: bool = True
    """false trains every weight of the base instead; the other settings of this group then have no effect."""
    layers: list[int] | None = None
    """Numbers of the encoder layers to adapt, of those that the targets name; -1 is the last; null: all."""
    targets: dict[str, list[str]] = field(default_factory=dict)
    """Target groups by name, each a list of module names; the adapted layers are their union."""

    def __post_init__(self) -> None:
        try:
            self.check()
        except ValueError as error:
            raise ConfigError(f"lora.{error}") from None
        check("lora.layers", self.layers, self.layers is None or bool(self.layers), "at least one number, or null")

    @property
    def settings(self) -> LoRASettings:
        """The adapters' settings alone."""
        return LoRASettings(**{item.name: getattr(self, item.name) for item in fields(LoRASettings)})

    @property
    def target_modules(self) -> list[str]:
        """The module names of all groups, each once."""
        return list(dict.fromkeys(name for group in self.targets.values() for name in group))
