"""A frame as a body sees it: joints about the pelvis, velocities, which foot is planted, and how sure that is.

A base with ``pose_frame="body"`` reads and moves the figure in these terms. It has the reference's tensors; only the
meaning of the numbers that go into the first layer and come out of the pose head differs.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stickgen.motion.skeleton import rest_pose, skeleton_of

VELOCITY_GAIN = 20.0
"""What displacements between frames are multiplied by, so that they are about as large as places."""

FEET = ("left_ankle", "right_ankle")
"""The feet, in the order of the contact logits."""

LOG_SPREAD = (-3.0, 4.0)
"""Bounds of the logarithm of a spread over ``pose_scale``."""

_TELLING = (
    "left_ankle", "right_ankle", "left_wrist", "right_wrist", "pelvis", "head", "left_knee", "right_knee",
)  # fmt: skip
"""Joints by how much their velocity adds to the places; as many are read as a frame has repeated joints."""

_SOME_CONTACT = 1e-3
"""Keeps the correction finite where no foot is planted, and small there."""


@dataclass(frozen=True, eq=False)
class _Layout:
    """Where a frame's numbers stand, as index tensors and masks ``[D]``.

    A frame names some joints several times, as ends of several segments. Only the first place of each is read or
    predicted, so joints never come apart; the other places carry velocities in the input, contact and spread in the
    output.
    """

    first: Tensor
    """For every number, the place where its joint stands first."""
    is_x: Tensor
    """1 where a number is an x."""
    limb_x: Tensor
    """1 where it is an x of another joint than the pelvis."""
    is_velocity: Tensor
    """Whether the input has a velocity there."""
    velocity: Tensor
    """The place of the number whose velocity that is."""
    rest: Tensor
    """The rest pose."""
    pelvis_x: int
    feet_x: Tensor
    contact: Tensor
    """The two outputs that are contact logits."""
    spread: Tensor
    """For every number, the output that is the logarithm of its spread."""


class Steer(NamedTuple):
    """What is done to a figure's displacements between frames.

    Attributes:
        gain: ``[..., 1]``, what they are multiplied by.
        push: ``[..., D]``, what is then added, in body heights.
    """

    gain: Tensor
    push: Tensor

    def transposed(self) -> "Steer":
        """Return it with the first two dimensions exchanged."""
        return Steer(self.gain.transpose(0, 1), self.push.transpose(0, 1))


class BodyFrame:
    """Reads frames of one skeleton, and applies the pose head's output to them.

    Args:
        dim: numbers of a frame, 20 or 48.
        velocity_kept: share of the last displacement that goes on by itself.
        scale: displacement that a head output of one stands for, in body heights.
        pull: share of the way from the pose to the rest pose that is gone by itself.
    """

    def __init__(self, dim: int, velocity_kept: float, scale: float, pull: float = 0.0) -> None:
        self.dim = dim
        self.pull = pull
        self.velocity_kept = velocity_kept
        self.scale = scale

    def read(self, frames: Tensor, before: Tensor) -> Tensor:
        """Return what the first layer reads.

        Args:
            frames: ``[..., D]``, in the world.
            before: the frame before each, ``[..., D]``.

        Returns:
            ``[..., D]``: joints with x relative to the pelvis and y as it is; in the place of the pelvis' x its
            velocity, in repeated places the velocities of limbs, all in the world and times :data:`VELOCITY_GAIN`.
        """
        at = _layout(self.dim, frames.device)
        joined = frames[..., at.first]
        moved = joined - before[..., at.first]
        relative = joined - joined[..., at.pelvis_x, None] * at.is_x
        return torch.where(at.is_velocity, VELOCITY_GAIN * moved[..., at.velocity], relative)

    def move(
        self,
        frames: Tensor,
        before: Tensor,
        head: Tensor,
        noise: Tensor | None = None,
        steer: Steer | None = None,
    ) -> Tensor:
        """Return the next frames ``[..., D]``: their mean, or with ``noise`` a draw.

        Every joint keeps ``velocity_kept`` of its displacement and adds what the head says; what it says of the
        pelvis' x, all joints add. Of the displacements d the whole figure then takes back (Σ c² d_x) / (Σ c) over the
        feet, c being the probability that a foot is planted: a planted foot stays, and the body moves over it.

        Args:
            frames: ``[..., D]``, in the world.
            before: the frame before each.
            head: the pose head's output ``[..., D]``.
            noise: normal numbers ``[..., D]``, which the spread multiplies; a joint takes those of its first place.
            steer: what is done to the displacements.
        """
        at = _layout(self.dim, frames.device)
        joined = frames[..., at.first]
        said = self.scale * head[..., at.first]
        planted = torch.sigmoid(self.contact(head))
        if noise is not None:
            # Where a planted foot will be is certain.
            certain = torch.zeros_like(head)
            certain[..., at.feet_x] = certain[..., at.feet_x + 1] = planted
            said = said + self.spread(head) * (1 - certain[..., at.first]) * noise[..., at.first]
        step = self.velocity_kept * (joined - before[..., at.first]) + said + said[..., at.pelvis_x, None] * at.limb_x
        if self.pull:
            away = joined - joined[..., at.pelvis_x, None] * at.is_x - at.rest
            step = step - self.pull * away
        if steer is not None:
            step = steer.gain * step + steer.push
        slip = (planted.square() * step[..., at.feet_x]).sum(-1, keepdim=True)
        return joined + step - at.is_x * (slip / (planted.sum(-1, keepdim=True) + _SOME_CONTACT))

    def contact(self, head: Tensor) -> Tensor:
        """Return the logits ``[..., 2]`` that the left and the right foot are planted until the next frame."""
        return head[..., _layout(self.dim, head.device).contact]

    def spread(self, head: Tensor) -> Tensor:
        """Return the standard deviation ``[..., D]`` of each number about the next frame's mean, in body heights.

        It is that of a joint about the pelvis, and of the pelvis itself; see :meth:`relative`.
        """
        logarithm = head[..., _layout(self.dim, head.device).spread]
        return self.scale * logarithm.clamp(*LOG_SPREAD).exp()

    def relative(self, frames: Tensor) -> Tensor:
        """Return frames ``[..., D]`` with each joint's x counted from the pelvis, and the pelvis' as it is."""
        at = _layout(self.dim, frames.device)
        return frames - frames[..., at.pelvis_x, None] * at.limb_x


def feet_speed(step: Tensor) -> Tensor:
    """Return how far each foot moves, in body heights.

    Args:
        step: displacements of a frame's numbers, ``[..., D]``.

    Returns:
        ``[..., 2]``, in the order of :data:`FEET`.
    """
    at = _layout(step.shape[-1], step.device).feet_x
    return torch.hypot(step[..., at], step[..., at + 1])


@functools.cache
def _layout(dim: int, device: torch.device) -> _Layout:
    # A rollout may ask first; what is made in inference mode could not be used in training afterwards.
    with torch.inference_mode(False):
        return _make_layout(dim, device)


def _make_layout(dim: int, device: torch.device) -> _Layout:
    skeleton = skeleton_of(dim)
    ends = [name for segment in skeleton.segments for name in (segment.start, segment.end)]
    first = [ends.index(name) for name in ends]
    repeated = [place for place, name in enumerate(ends) if first[place] < place]
    velocity = list(first)
    told = [name for name in _TELLING if name in ends][: len(repeated)]
    for place, name in zip(repeated, told, strict=False):
        velocity[place] = ends.index(name)
    # Relative to itself the pelvis' x is nothing: its velocity goes there.
    is_velocity = [place in repeated[: len(told)] for place in range(len(ends)) for _ in (0, 1)]
    pelvis = ends.index("pelvis")
    is_velocity[2 * pelvis] = True

    spare = [number for place in repeated for number in (2 * place, 2 * place + 1)]
    contact = spare[0 : 2 * len(FEET) : 2]
    spare = [number for number in spare if number not in contact]
    # The hips move with the pelvis, and the larger figure has two joints more than spare numbers.
    own = [name for name in dict.fromkeys(ends) if not name.endswith("_hip")]
    spread = [spare[own.index("pelvis" if name.endswith("_hip") else name)] for name in ends for _ in (0, 1)]

    def numbers(places: list[int]) -> Tensor:
        return torch.tensor([2 * place + axis for place in places for axis in (0, 1)], device=device)

    is_x = torch.tensor([1.0, 0.0] * len(ends), device=device)
    limb = torch.tensor([float(name != "pelvis") for name in ends for _ in (0, 1)], device=device)
    return _Layout(
        first=numbers(first),
        is_x=is_x,
        limb_x=is_x * limb,
        is_velocity=torch.tensor(is_velocity, device=device),
        velocity=numbers(velocity),
        rest=torch.tensor(rest_pose(dim), device=device),
        pelvis_x=2 * pelvis,
        feet_x=torch.tensor([2 * ends.index(name) for name in FEET], device=device),
        contact=torch.tensor(contact, device=device),
        spread=torch.tensor(spread, device=device),
    )


def body_matrices(dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return how a frame's numbers and the pose head's outputs become those of a body frame.

    Returns:
        ``read [D, D]``: a first layer's weight times it reads, of what :meth:`BodyFrame.read` returns, the places that
        the weight itself read of a frame, and no velocity; ``said [D, D]``: times a last layer's weight it gives
        displacements about the pelvis, the copies of a joint at their mean, and zeros for contact and spread;
        ``contact [2]``: the outputs that are contact logits.
    """
    at = _layout(dim, torch.device("cpu"))
    places = torch.arange(dim)
    own = at.first == places
    # Every copy of a joint reads the first.
    read = torch.nn.functional.one_hot(at.first, dim).float()
    read[:, at.pelvis_x] = 0  # of itself the pelvis is at x = 0
    mean = read.new_zeros(dim, dim)
    mean[at.first, places] = 1.0
    mean = mean / mean.sum(dim=1, keepdim=True).clamp(min=1)
    said = (mean - at.limb_x[:, None] * mean[at.pelvis_x]) * own[:, None]
    return read, said, at.contact
