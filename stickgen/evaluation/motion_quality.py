"""Metrics of motion that was rolled out, beside the real motion of the same clips.

All take generated frames ``pose [T, B, D]`` and ``mask [T, B]``, True at real frames, which come first in every column.
Beside them stands ``target [T, B, D]``, the real frames. Two take ``long [T', B, D]`` and ``long_mask [T', B]``,
the generated motion as far as it was made, which may be beyond the end of the real clip. Speeds are those of segments'
ends rather than of joints: where segments share one, a model may pull them apart. Equal under any batch size, padding
and order of clips; computed in float64.
"""

import torch
from torch import Tensor

from stickgen.evaluation.metrics import MaskedMean, MaskedMSE
from stickgen.motion.skeleton import FPS, skeleton_of

NEAR_GROUND = 0.03
"""Height of an ankle, in body heights, below which its foot is on the ground: 5 cm for a person of 1.7 m."""

PLANTED_HEIGHT = 0.05
"""Height of an ankle, in body heights, below which its foot may be planted; it rises as the foot rolls."""

PLANTED_SPEED = 0.2
"""Horizontal speed of an ankle, in body heights a second, below which a low foot is planted."""

IN_PLACE = 0.3
"""Body heights along x that the pelvis of somebody who stays in place keeps within."""

TRAVELS = 0.25
"""Body heights a second along x beyond which a clip is one of somebody who travels."""

UPPER_QUANTILE = 0.9
"""Which quantile of a projected length over time stands for the bone's own."""

LONGEST_SEGMENT = 3.0
"""In body heights; a figure with a longer segment has exploded. The longest of a real one is a leg of about 0.5."""


class RatioToReal(MaskedMean):
    """A mean over generated motion, divided by the same mean over the real one."""

    def _compare(self, generated: Tensor, real: Tensor, mask: Tensor) -> None:
        """Add values of both where a mask is True that broadcasts to their shape."""
        self._add_sums(*(torch.where(mask, values.double(), 0.0).sum() for values in (generated, real)))


class HorizonMSE(MaskedMSE):
    """Mean squared error of the frame that lies so many frames after the last given one (body heights squared).

    The error *at* the horizon, as in human motion prediction (Martinez et al. 2017, arXiv:1705.02445), not the mean up
    to it. Clips that end before do not count.

    Args:
        horizon: frames after the last given one, from 1.
    """

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch; frame 0 of its tensors is the first after the given ones."""
        at = slice(self.horizon - 1, self.horizon)
        self._add_errors(pose[at] - target[at], mask[at])


class SpeedRatio(RatioToReal):
    """Mean speed of the segments' ends at the end of the clips, generated over real: 0 is a figure that froze.

    The mean is over the last ``window`` steps of every clip (all of a shorter one's) and over all clips: the ratio of
    the sums, since a clip that stands still has no ratio of its own.

    Args:
        window: steps, 50 for two seconds.
    """

    def __init__(self, window: int = 2 * FPS) -> None:
        super().__init__()
        self.window = window

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch."""
        steps = mask[1:] & mask[:-1]
        left = steps.flip(0).cumsum(0).flip(0)  # steps to the clip's end, this one counted
        late = (steps & (left <= self.window)).unsqueeze(-1)
        self._compare(_difference_norms(pose, order=1), _difference_norms(target, order=1), late)


class TravelRatio(MaskedMean):
    """How far figures get to where the real ones go, generated over real: 0 stays in place, below 0 goes the other way.

    The sum over clips of the pelvis' way along x from the first to the last frame, counted in the direction of the
    real clip's way, over the sum of the real ways: a clip on the spot has no ratio of its own. Real clips score 1.
    """

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch."""
        generated, real = (way(motion, mask) for motion in (pose, target))
        self._add_sums((generated * real.sign()).sum(), real.abs().sum())


class JerkRatio(RatioToReal):
    """Mean size of the third difference of the segments' ends, generated over real; above 1 it trembles.

    With it belongs the speed ratio: a figure that stands still has no jerk.
    """

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch."""
        whole = (mask[3:] & mask[2:-1] & mask[1:-2] & mask[:-3]).unsqueeze(-1)
        self._compare(_difference_norms(pose, order=3), _difference_norms(target, order=3), whole)


class FootSkating(MaskedMean):
    """Mean horizontal speed of the ankles while they are on the ground, in body heights a second.

    On the ground is an ankle that is lower than :data:`NEAR_GROUND` before and after a step; a mean over such steps of
    both feet. In the manner of the skating measures of the field (height below 5 cm, as Karunratanakul et al. 2023,
    arXiv:2305.12577), as a speed instead of a share of frames. Real motion does not score 0: feet roll, and swing
    close to the ground. A figure that floats has no step on the ground: NaN.
    """

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch; ``target`` is not looked at."""
        speed, height = _ankle_steps(pose)
        self._add(speed, (height < NEAR_GROUND) & (mask[1:] & mask[:-1]).unsqueeze(-1))


class StanceSlip(MaskedMean):
    """Mean horizontal speed of the stance foot, in body heights a second.

    The stance foot of a step is the slower of the ankles on the ground, as :class:`FootSkating` has it; steps without
    one are flight and do not count. Whoever is not in flight stands on something, so real motion comes near 0 while a
    gliding figure scores its speed: the swinging foot, which :class:`FootSkating` counts where it is low, does not
    count here. In the manner of physical foot contact (Tseng et al. 2023, arXiv:2211.10658), which also asks the
    slower foot alone. NaN where no foot is on the ground.
    """

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch; ``target`` is not looked at."""
        speed, height = _ankle_steps(pose)
        grounded = height < NEAR_GROUND
        slower = speed.masked_fill(~grounded, torch.inf).amin(dim=-1)
        self._add(slower, grounded.any(dim=-1) & mask[1:] & mask[:-1])


class FootContact(MaskedMean):
    """Share of steps with a planted foot: an ankle lower than :data:`PLANTED_HEIGHT` and slower than the planted speed.

    Contact by height and velocity, as the labels of HumanML3D have it (Guo et al. 2022), with thresholds that real
    stance feet meet: an ankle rises while its foot rolls. Flight has no contact, in real motion either; so the mark is
    the share of the real clips. A gliding figure has none.
    """

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch; ``target`` is not looked at."""
        speed, height = _ankle_steps(pose)
        planted = ((height < PLANTED_HEIGHT) & (speed < PLANTED_SPEED)).any(dim=-1)
        self._add(planted, mask[1:] & mask[:-1])


class RootDrift(MaskedMean):
    """How far figures drift in five seconds that are to stay in place, in body heights.

    The mean distance along x of the pelvis from where it began, after 125 frames or at the motion's end. In place are
    the clips whose real pelvis stays within :data:`IN_PLACE` of its start for as long; others do not count.
    """

    def update(self, long: Tensor, long_mask: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch."""
        seconds = slice(0, 5 * FPS)
        x = _pelvis_x(target[seconds])
        still = ((x - x[0]).abs() < IN_PLACE) | ~mask[seconds]
        self._add(way(long[seconds], long_mask[seconds]).abs(), still.all(dim=0) & mask.any(dim=0))


class KeptPace(MaskedMean):
    """Share of travelling clips whose speed at the end is within half to twice the real clip's: long rollouts last.

    Compared are the mean speed of the segments' ends in the last two seconds of the generated motion, however long it
    was made, and in the whole real clip. Travelling are the clips whose real pelvis advances by more than
    :data:`TRAVELS` along x.
    """

    def update(self, long: Tensor, long_mask: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch."""
        steps = long_mask[1:] & long_mask[:-1]
        left = steps.flip(0).cumsum(0).flip(0)
        made = _mean_speed(long, steps & (left <= 2 * FPS))
        real_steps = mask[1:] & mask[:-1]
        ratio = made / _mean_speed(target, real_steps)
        pace = way(target, mask).abs() * FPS / real_steps.sum(dim=0).clamp(min=1)
        self._add((ratio >= 0.5) & (ratio <= 2), pace > TRAVELS)


class BoneLengthError(MaskedMean):
    """Relative error of the segments' lengths: mean over clips of ``Σ_s |q_s − r_s| / Σ_s r_s``.

    q and r are the upper quantiles over time of segment s's length, generated and real, over the same frames. A
    projected bone shortens whenever it turns towards the viewer, and the legs and arms of the 20-number figure whenever
    they bend; so lengths cannot be compared frame by frame, but near its longest a bone shows its own length. The
    sum over segments keeps those from counting that the view foreshortens throughout. NaN where a generated length is
    not finite.
    """

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch."""
        generated, own = (_upper_lengths(motion, mask) for motion in (pose, target))
        self._add((generated - own).abs().sum(-1) / own.sum(-1), mask.any(dim=0))


class TorsoLengthError(MaskedMean):
    """Relative error of the torso's length over time: mean over frames of ``|l_t / r − 1|``.

    l is the distance from neck to pelvis, r the upper quantile of it in the real frames. The torso is the one limb of
    the 20-number figure that does not bend. Real motion does not score 0, since people lean out of the picture's plane.
    NaN where a generated length is not finite.
    """

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch."""
        generated, own = (_torso_length(motion) for motion in (pose, target))
        finite = generated.masked_fill(~torch.isfinite(generated), torch.nan)
        self._add((finite / _upper_quantile(own, mask) - 1).abs(), mask)


class ExplodedShare(MaskedMean):
    """Share of clips with a number that is not finite, or a segment longer than :data:`LONGEST_SEGMENT`."""

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch; ``target`` is not looked at."""
        lengths = skeleton_of(pose.shape[-1]).segment_lengths(pose.double())
        sound = torch.isfinite(pose).all(-1) & (lengths <= LONGEST_SEGMENT).all(-1)
        self._add((mask & ~sound).any(dim=0), mask.any(dim=0))


def _difference_norms(motion: Tensor, order: int) -> Tensor:
    """Return the sizes ``[T − order, B, P]`` of the differences in time of the P segment ends."""
    points = motion.double().unflatten(-1, (-1, 2))
    return torch.linalg.vector_norm(points.diff(n=order, dim=0), dim=-1)


def way(motion: Tensor, mask: Tensor) -> Tensor:
    """Return the pelvis' x in the last marked frame less that in the first, ``[B]``."""
    x = _pelvis_x(motion)
    last = (mask.sum(dim=0) - 1).clamp(min=0)
    return x.gather(0, last[None])[0] - x[0]


def _pelvis_x(motion: Tensor) -> Tensor:
    skeleton = skeleton_of(motion.shape[-1])
    return torch.as_tensor(skeleton.to_joints(motion.double())[..., skeleton.joint("pelvis"), 0])


def _mean_speed(motion: Tensor, steps: Tensor) -> Tensor:
    """Return the mean over marked steps ``[T − 1, B]`` of the mean speed of the segments' ends, a frame: ``[B]``."""
    speed = _difference_norms(motion, order=1).mean(dim=-1)
    return torch.where(steps, speed, 0.0).sum(dim=0) / steps.sum(dim=0)


def _ankle_steps(motion: Tensor) -> tuple[Tensor, Tensor]:
    """Return both ankles' horizontal speed (body heights a second) and greater height in steps, ``[T − 1, B, 2]``."""
    skeleton = skeleton_of(motion.shape[-1])
    feet = [skeleton.joint("left_ankle"), skeleton.joint("right_ankle")]
    ankles = skeleton.to_joints(motion.double())[..., feet, :]
    speed = (ankles[1:, ..., 0] - ankles[:-1, ..., 0]).abs() * FPS
    return speed, torch.maximum(ankles[1:, ..., 1], ankles[:-1, ..., 1])


def _torso_length(motion: Tensor) -> Tensor:
    skeleton = skeleton_of(motion.shape[-1])
    joints = skeleton.to_joints(motion.double())
    return torch.linalg.vector_norm(
        joints[..., skeleton.joint("neck"), :] - joints[..., skeleton.joint("pelvis"), :], dim=-1
    )


def _upper_lengths(motion: Tensor, mask: Tensor) -> Tensor:
    """Return the upper quantile over time of every segment's length, ``[B, S]``."""
    lengths = skeleton_of(motion.shape[-1]).segment_lengths(motion.double())
    return _upper_quantile(lengths, mask.unsqueeze(-1))


def _upper_quantile(values: Tensor, mask: Tensor) -> Tensor:
    """Return the quantile over the marked frames of ``[T, B, ...]``, NaN where one of them is not finite.

    nanquantile alone would pass over such a frame like over padding.
    """
    quantile = torch.nanquantile(values.masked_fill(~mask, torch.nan), UPPER_QUANTILE, dim=0)
    return quantile.masked_fill((mask & ~torch.isfinite(values)).any(dim=0), torch.nan)
