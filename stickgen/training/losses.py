"""The loss terms, each as a sum over targets and the number it is divided by.

Dividing a micro-batch's sums by the counts of the whole optimizer step makes the gradient that of the undivided
batch, however the step is cut into micro-batches. Over a single batch without padding every term equals the
reference system's mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stickgen.config import LossWeights
from stickgen.data.batch import NO_ACTION, TargetCounts
from stickgen.model.body_frame import BodyFrame, feet_speed
from stickgen.motion.skeleton import FPS

GRAVITY = 9.8

MOMENTUM, CONSISTENCY = 0.1, 0.2
"""Weights inside the physics term, as the reference system has them; its squared error counts as one."""

PLANTED_SPEED = 0.25
"""Body heights a second below which a foot counts as planted; a stride's foot moves ten times as fast."""

VX, VY, AX, AY, MX, MY = range(6)


def pose_sum(pose: Tensor, target: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Sum of squared pose errors ``[T, B, D]`` over real frames (``mask [T, B]``), in units of ``scale``."""
    return _masked_square((pose - target) / scale, mask).mean(-1).sum()


def spread_sum(error: Tensor, spread: Tensor, mask: Tensor) -> Tensor:
    """Sum of negative log-likelihoods of errors ``[T, B, D]``, which pass no gradient, under a normal ``spread``.

    So the spread is fitted to the errors, and the mean that they are counted from to the poses alone. Both are in units
    of ``pose_scale``; ``mask [T, B]`` is True where a frame counts.
    """
    likelihood = error.detach().square() / (2 * spread.square()) + spread.log()
    return torch.where(mask.unsqueeze(-1), likelihood, 0.0).mean(-1).sum()


def temporal_sum(pose: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Sum of squared first differences of the prediction, over neighbouring real frames, in units of ``scale``."""
    return _masked_square((pose[1:] - pose[:-1]) / scale, mask[1:] & mask[:-1]).mean(-1).sum()


def action_sum(logits: Tensor, actions: Tensor) -> Tensor:
    """Sum of cross-entropies of ``logits [T, B, K]`` over the frames that have a label."""
    return F.cross_entropy(logits.flatten(0, 1), actions.flatten(), ignore_index=NO_ACTION, reduction="sum")


def physics_sums(physics: Tensor, target: Tensor, mask: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """Sums of the physics term's parts, over real frames of clips that have physics (``mask [T, B]``).

    Args:
        physics: prediction ``[T, B, 6]``: vx, vy, ax, ay, momentum x, momentum y.
        target: the same, true.
        mask: True where a frame counts.
        scale: ``[6]``, typical sizes of the six; the parts' errors are taken in these units.

    Returns:
        ``mse``: squared error; ``gravity``: (ay + 9.8)²; ``momentum``: squared first differences of the momentum;
        ``consistency``: (v[t+1] − v[t] − a[t] / 25)². The last two are summed over x and y and count pairs.
    """
    pairs = mask[1:] & mask[:-1]
    momentum = (physics[1:, :, MX:] - physics[:-1, :, MX:]) / scale[MX:]
    velocity, acceleration = physics[..., VX : VY + 1], physics[..., AX : AY + 1]
    drift = (velocity[1:] - velocity[:-1] - acceleration[:-1] / FPS) / scale[VX : VY + 1]
    return {
        "mse": _masked_square((physics - target) / scale, mask).mean(-1).sum(),
        "gravity": _masked_square((physics[..., AY:MX] + GRAVITY) / scale[AY], mask).sum(),
        "momentum": _masked_square(momentum, pairs).sum(),
        "consistency": _masked_square(drift, pairs).sum(),
    }


def contact_sum(logits: Tensor, steps: Tensor, mask: Tensor) -> Tensor:
    """Sum of the feet's mean cross-entropy over real frames.

    Args:
        logits: ``[T, B, 2]``, that a foot is planted until the next frame.
        steps: how the clip goes on from each frame, ``[T, B, D]``: a foot is planted where it is slower than
            :data:`PLANTED_SPEED`.
        mask: bool ``[T, B]``, True at real target frames.
    """
    planted = (feet_speed(steps) < PLANTED_SPEED / FPS).to(logits.dtype)
    return (F.binary_cross_entropy_with_logits(logits, planted, reduction="none").mean(-1) * mask).sum()


@dataclass(frozen=True, eq=False)
class Targets:
    """What a micro-batch of B clips and T frames asks of the model.

    Attributes:
        pose: the next poses, ``[T, B, D]``.
        mask: bool ``[T, B]``, True at real frames.
        actions: labels ``[T, B]``, NO_ACTION where the action counts for nothing.
        physics: true physics ``[T, B, 6]``.
        physics_mask: bool ``[T, B]``, True where it counts.
        counts: targets of the whole optimizer step, which the sums are divided by.
        steps: displacement of the clips after each frame, ``[T, B, D]``, for the terms contact and spread.
        undisturbed: bool, broadcast to ``[T, B]``: where frames are read without noise. The spread is fitted there
            alone.
    """

    pose: Tensor
    mask: Tensor
    actions: Tensor
    physics: Tensor
    physics_mask: Tensor
    counts: TargetCounts
    steps: Tensor | None = None
    undisturbed: Tensor | bool = True


def loss_terms(
    outputs: Mapping[str, Tensor],
    targets: Targets,
    *,
    pose_scale: float,
    physics_scale: Tensor,
    gravity: float = 0.0,
    body_frame: BodyFrame | None = None,
) -> dict[str, Tensor]:
    """Return the terms pose, temporal, action and physics of a micro-batch, before their weights.

    Args:
        outputs: the model's pose ``[T, B, D]``, action_logits ``[T, B, K]`` and physics ``[T, B, 6]``.
        targets: what is asked for.
        pose_scale: unit of pose errors: the model's own ``pose_scale``, so that a correction of typical size costs
            about one whatever the pose output is.
        physics_scale: ``[6]``, units of the physics numbers.
        gravity: weight of free fall inside the physics term.
        body_frame: the model's, if it has one: then there are the terms contact and spread too.
    """
    mask, counts = targets.mask, targets.counts
    parts = physics_sums(outputs["physics"], targets.physics, targets.physics_mask, physics_scale)
    frames, pairs = _at_least_one(counts.physics_frames), _at_least_one(counts.physics_pairs)
    frames_asked = _at_least_one(counts.frames)
    of_body = {}
    if body_frame is not None and targets.steps is not None:
        error = body_frame.relative(outputs["pose"] - targets.pose) / pose_scale
        read_clean = mask & targets.undisturbed
        of_body["contact"] = contact_sum(outputs["contact"], targets.steps, mask) / frames_asked
        of_body["spread"] = spread_sum(error, outputs["spread"] / pose_scale, read_clean) / frames_asked
    return {
        "pose": pose_sum(outputs["pose"], targets.pose, mask, pose_scale) / frames_asked,
        "temporal": temporal_sum(outputs["pose"], mask, pose_scale) / _at_least_one(counts.pairs),
        "action": action_sum(outputs["action_logits"], targets.actions) / _at_least_one(counts.action_frames),
        "physics": (
            parts["mse"] / frames
            + gravity * parts["gravity"] / frames
            + MOMENTUM * parts["momentum"] / pairs
            + CONSISTENCY * parts["consistency"] / pairs
        ),
        **of_body,
    }


def total_loss(terms: Mapping[str, Tensor], weights: LossWeights) -> Tensor:
    """Return the weighted sum of the terms."""
    total = torch.zeros_like(terms["pose"])
    for name, term in terms.items():
        total = total + getattr(weights, name) * term
    return total


def _masked_square(errors: Tensor, mask: Tensor) -> Tensor:
    """Return the squares of ``errors [T, B, D]`` where ``mask [T, B]`` is True, and 0 elsewhere."""
    # Padding may hold anything, and 0 · inf is NaN: so where, not a product, and before the square, whose gradient
    # is a product too.
    return torch.where(mask.unsqueeze(-1), errors, 0.0).square()


def _at_least_one(count: int) -> int:
    """A step without any target of a kind has a sum of zero; dividing it by one leaves it so."""
    return max(count, 1)
