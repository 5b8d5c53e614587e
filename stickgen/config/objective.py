"""What is learnt, and how."""

import math
from dataclasses import dataclass, field

from stickgen.config.checks import check, check_loss_weights


@dataclass
class LossWeights:
    """Weights of the loss terms (stickgen/training/losses.py)."""

    pose: float = 1.0
    """Poses of the next frame."""
    temporal: float = 0.1
    """Differences between successive predicted frames."""
    action: float = 0.2
    """Action classes."""
    physics: float = 0.25
    """Physics numbers."""
    contact: float = 0.1
    """Planted feet; of a base with pose_frame=body only."""
    spread: float = 0.05
    """Predicted spread of the next frame; of a base with pose_frame=body only."""

    def __post_init__(self) -> None:
        check_loss_weights("objective.weights", self)


@dataclass
class ObjectiveConfig:
    """What is predicted from what."""

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
    input_pace: float = 0.0
    """Share of training clips that the model reads at an uneven pace, with stops. Targets return to the clip's own
    pace, so rollouts do not slow down and stop (stickgen/data/uneven.py)."""
    prior_clips: int = 0
    """Clips that the frozen base makes of its own captions, trained on beside the data, so that adapters leave alone
    what they are not taught (stickgen/training/prior.py); for bases with motion codes."""
    weights: LossWeights = field(default_factory=LossWeights)
    gravity: float = 0.0
    """Weight of free fall, (ay + 9.8)², in the physics term; 0.1 in stick-gen, which asks standing figures to fall."""
    physics_scale: list[float] = field(default_factory=lambda: [1.0] * 6)
    """Typical sizes of the six physics numbers; the error is taken in these units."""

    def __post_init__(self) -> None:
        check("objective.gravity", self.gravity, math.isfinite(self.gravity) and self.gravity >= 0, "0 or more")
        for name in ("feed_actions", "drop_text", "input_pace"):
            value = getattr(self, name)
            check(f"objective.{name}", value, 0 <= value <= 1, "a number from 0 to 1")
        for name in ("input_noise", "input_drift"):
            value = getattr(self, name)
            check(f"objective.{name}", value, math.isfinite(value) and value >= 0, "0 or more")
        check("objective.prior_clips", self.prior_clips, self.prior_clips >= 0, "a whole number of at least 0")
        good = len(self.physics_scale) == 6 and all(s > 0 for s in self.physics_scale)
        check("objective.physics_scale", self.physics_scale, good, "six numbers above 0")

    @property
    def name(self) -> str:
        """The objective as conf/objective/ and a base's record name it."""
        return "causal" if self.causal else "bidirectional"


@dataclass
class OptimizerConfig:
    """AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101) with linear warm-up, then a cosine to zero."""

    lr: float = 1e-4
    """Highest learning rate, reached after the warm-up."""
    lora_plus_ratio: float = 1.0
    """Learning rate of the adapters' B over that of everything else: LoRA+ (Hayou et al. 2024, arXiv:2402.12354)."""
    weight_decay: float = 0.01
    """Weight decay of matrices; vectors have none."""
    warmup_fraction: float = 0.1
    """Share of the run's optimizer steps over which the learning rate rises."""

    def __post_init__(self) -> None:
        check("optimizer.lr", self.lr, math.isfinite(self.lr) and self.lr > 0, "a number above 0")
        ratio = self.lora_plus_ratio
        check("optimizer.lora_plus_ratio", ratio, math.isfinite(ratio) and ratio > 0, "a number above 0")
        check("optimizer.weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        warmup = self.warmup_fraction
        check("optimizer.warmup_fraction", warmup, 0 <= warmup < 1, "0 up to, not including, 1")
