"""What a caption leaves open, in numbers: how a clip moves on the whole, and how it begins.

A caption such as "a person walks" fits many motions, and a model that minimises squared errors answers it with their
mean, which glides. A base with ``motion_code`` reads a description of the clip in the unused end of its text embedding.
In training the clip's own is given; in generation one is drawn from those of the training clips whose captions are
nearest to the prompt (:mod:`stickgen.model.code_bank`). Another draw is another motion of the same action.
"""

import functools
import math
from typing import NamedTuple

import torch
from torch import Tensor

from stickgen.motion.skeleton import FPS, STICK_5, other_side, to_stick_5

LATER = 10
"""Frames from the first one that the beginning is described by to the second."""

SIZE = 0.3
"""What numbers of typical size are multiplied by, to weigh about as much as the caption's unit vector."""

LARGEST = 4.0
"""Typical sizes that a number is limited to."""

_JOINTS = {name: STICK_5.joint(name) for name in STICK_5.joints}
_LIMBS = ("left_ankle", "right_ankle", "left_wrist", "right_wrist")


class _Track(NamedTuple):
    """A number of each frame whose mean and, after it, deviation are in a code.

    Attributes:
        at: place of the mean in the code.
        usual: what is subtracted from the mean, in body heights.
        typical: what the mean and the deviation are divided by, in body heights.
    """

    at: int
    usual: float
    typical: tuple[float, float]


_TRACKS = {
    ("pelvis", "y"): _Track(3, 0.47, (0.1, 0.05)),
    ("neck", "x"): _Track(6, 0.0, (0.1, 0.05)),
    **{
        (name, axis): _Track(8 + 4 * limb + 2 * (axis == "y"), usual, (0.15, 0.1))
        for limb, name in enumerate(_LIMBS)
        for axis, usual in (("x", 0.0), ("y", 0.05 if name.endswith("ankle") else 0.5))
    },
}
"""By joint and axis; an x is counted from the pelvis."""

_SPEEDS = slice(24, 28)
"""The limbs' mean speeds in a code."""

PACE = (0, 1, 2, *range(_SPEEDS.start, _SPEEDS.stop))
"""How fast a clip gets on and its limbs move: what an action decides more than a style does."""

POSTURE = tuple(_TRACKS)
"""The numbers of a posture, by joint and axis."""

_WEIGHTS = {"advance": 2.0, "limbs": 0.25, "posture": 0.1}
"""Weights of the terms of a likelihood. A few frames show the pace of a clip, but posture changes with every step, so
it counts little."""

_SPEED_DEVIATION = 0.5
"""What the deviation of the pelvis' speed is divided by in a code, in body heights a second."""

_LEAST = {"advance": 0.1, "limbs": 0.1, "posture": 0.03}
"""What is added to the clips' own deviations, and to the limbs' speeds, in body heights (a second)."""

_FACTOR = 1.5
"""Typical ratio of the limbs' speed in a few frames to that of the whole clip."""

_START = 11
_SUMMARY = 30

WIDTH = _SUMMARY + 2 * _START + 2
"""Numbers of a code: the summary, two frames of the beginning, and for each of both whether it is given."""


def motion_code(motion: Tensor) -> Tensor:
    """Describe a clip.

    Args:
        motion: ``[T, D]`` of 20 or 48 numbers a frame, body height 1, from where the action begins.

    Returns:
        float32 ``[WIDTH]``: means and deviations of speed, posture, limbs; the poses of the first and of a later
        frame; ones for "given". Every number is divided by a typical size.
    """
    joints = STICK_5.to_joints(to_stick_5(motion.double()))
    pelvis = joints[:, _JOINTS["pelvis"]]
    body = _about_pelvis(joints)
    velocity = (joints.diff(dim=0) if len(joints) > 1 else torch.zeros_like(joints)) * FPS
    speed = velocity[:, _JOINTS["pelvis"], 0]
    told = {
        place: ((_read(body, place).mean() - usual) / mean, _deviation(_read(body, place)) / deviation)
        for place, (_, usual, (mean, deviation)) in _TRACKS.items()
    }
    numbers = [speed.mean(), _deviation(speed) / _SPEED_DEVIATION, speed.abs().mean()]
    numbers += [*told.pop(("pelvis", "y")), (pelvis[:, 1].min() - 0.44) / 0.1]
    numbers += [number for pair in told.values() for number in pair]
    numbers += [velocity[:, _JOINTS[name]].norm(dim=-1).mean() for name in _LIMBS]
    numbers += [_likeness(body, "left_ankle", "right_ankle"), _likeness(body, "left_wrist", "right_wrist")]
    summary = torch.stack(numbers)
    start = torch.cat([_pose(body, pelvis, frame) for frame in (0, min(LATER, len(joints) - 1))])
    code = torch.cat((summary, start)).clamp(-LARGEST, LARGEST)
    return torch.cat((SIZE * code, torch.ones(2, dtype=code.dtype))).float()


def without(code: Tensor, *, summary: bool = False, start: bool = False) -> Tensor:
    """Return codes ``[..., WIDTH]`` without the parts named, which are zero then."""
    kept = torch.ones(WIDTH)
    if summary:
        kept[:_SUMMARY] = kept[-2] = 0
    if start:
        kept[_SUMMARY:-2] = kept[-1] = 0
    return code * kept.to(code)


def limb_speed(codes: Tensor) -> Tensor:
    """Return the mean speed of the limbs, ``[...]`` in body heights a second, of codes ``[..., WIDTH]``."""
    return codes[..., _SPEEDS].mean(dim=-1) / SIZE


def advance(codes: Tensor) -> Tensor:
    """Return the mean speed of the pelvis to +x, ``[...]`` in body heights a second, of codes ``[..., WIDTH]``."""
    return codes[..., 0] / SIZE


def posture(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean posture of codes ``[..., WIDTH]`` and its deviation over time, ``[..., len(POSTURE)]`` each.

    Both are in body heights, in the order of :data:`POSTURE`.
    """
    tracks = _TRACKS.values()
    usual = codes.new_tensor([track.usual for track in tracks])
    mean, deviation = (
        codes[..., [track.at + more for track in tracks]] / SIZE * codes.new_tensor([t.typical[more] for t in tracks])
        for more in (0, 1)
    )
    return mean + usual, deviation


def mirrored_code(codes: Tensor) -> Tensor:
    """Return the codes ``[..., WIDTH]`` of clips in a mirror (:func:`stickgen.data.augment.mirrored`)."""
    order, signs = _mirror()
    return codes[..., order] * codes.new_tensor(signs)


def log_likelihood(given: Tensor, codes: Tensor) -> Tensor:
    """Return how well a few frames fit clips, up to a constant.

    Posture and advance are taken as normally distributed about the clip's, with its own deviations, and the logarithms
    of the limbs' speeds with a fixed one. The terms are weighted, since numbers of a few frames depend on each other.

    Args:
        given: codes of the frames, ``[B, WIDTH]``.
        codes: of the clips, ``[M, WIDTH]``.

    Returns:
        ``[B, M]``.
    """
    mean, deviation = posture(codes)
    stands = _normal(posture(given)[0][:, None] - mean, deviation, _LEAST["posture"])
    travels = _normal(
        advance(given)[:, None] - advance(codes), codes[:, 1] / SIZE * _SPEED_DEVIATION, _LEAST["advance"]
    )
    seen, told = ((code[:, _SPEEDS].clamp(min=0) / SIZE + _LEAST["limbs"]).log() for code in (given, codes))
    faster = -0.5 * ((seen[:, None] - told) / math.log(_FACTOR)).square()
    return (
        _WEIGHTS["advance"] * travels
        + _WEIGHTS["limbs"] * faster.sum(dim=-1)
        + _WEIGHTS["posture"] * stands.sum(dim=-1)
    )


def posture_and_steps(before: Tensor, frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return for a single frame what codes tell of a clip.

    Args:
        before: the frame before it, ``[B, D]``.
        frame: ``[B, D]``.

    Returns:
        the posture ``[B, len(POSTURE)]``; the mean speed of the limbs ``[B]``, see :func:`limb_speed`; how far the
        pelvis came to +x in this frame, ``[B]`` in body heights.
    """
    joints = STICK_5.to_joints(to_stick_5(torch.stack((before, frame))))
    body = _about_pelvis(joints[1])
    moved = joints[1] - joints[0]
    speed = FPS * moved[:, [_JOINTS[name] for name in _LIMBS]].norm(dim=-1).mean(dim=-1)
    return torch.stack([_read(body, place) for place in POSTURE], dim=-1), speed, moved[:, _JOINTS["pelvis"], 0]


def with_code(embedding: Tensor, code: Tensor) -> Tensor:
    """Return text embeddings ``[..., E]`` with codes ``[..., WIDTH]`` in their last numbers."""
    return torch.cat((embedding[..., :-WIDTH], code.to(embedding)), dim=-1)


def _about_pelvis(joints: Tensor) -> Tensor:
    """Return joints ``[..., J, 2]`` with x counted from the pelvis."""
    body = joints.clone()
    body[..., 0] -= joints[..., _JOINTS["pelvis"], None, 0]
    return body


def _read(body: Tensor, place: tuple[str, str]) -> Tensor:
    """Return the number at a joint and an axis of ``[..., J, 2]``."""
    joint, axis = place
    return body[..., _JOINTS[joint], "xy".index(axis)]


def _pose(body: Tensor, pelvis: Tensor, frame: int) -> Tensor:
    """Return a frame's pose, its joints about the pelvis, and how far it has come, in typical sizes."""
    limbs = body[frame, [_JOINTS[name] for name in _LIMBS]] / 0.2
    limbs[2:, 1] -= 2.5  # wrists hang at half a body height
    come = pelvis[frame, 0] - pelvis[0, 0]
    rest = (body[frame, _JOINTS["neck"], 0] / 0.1, (pelvis[frame, 1] - 0.47) / 0.1, come / 0.4)
    return torch.cat((limbs.flatten(), torch.stack(rest)))


@functools.cache
def _mirror() -> tuple[list[int], list[float]]:
    """Return, for every number of a code, the position of the one that takes its place in a mirror, and its sign."""
    order, signs = list(range(WIDTH)), [1.0] * WIDTH

    def place(at: int, source: int, axis: str) -> None:
        order[at] = source
        signs[at] = -1.0 if axis == "x" else 1.0

    place(0, 0, "x")  # the pelvis' speed
    for (joint, axis), track in _TRACKS.items():
        other = _TRACKS[other_side(joint), axis]
        place(track.at, other.at, axis)
        place(track.at + 1, other.at + 1, "")
    for limb, name in enumerate(_LIMBS):
        opposite = _LIMBS.index(other_side(name))
        place(_SPEEDS.start + limb, _SPEEDS.start + opposite, "")
        for start in (_SUMMARY, _SUMMARY + _START):
            place(start + 2 * limb, start + 2 * opposite, "x")
            place(start + 2 * limb + 1, start + 2 * opposite + 1, "y")
    for start in (_SUMMARY, _SUMMARY + _START):
        for at in (2 * len(_LIMBS), 2 * len(_LIMBS) + 2):  # the neck, and how far the figure has come
            place(start + at, start + at, "x")
    return order, signs


def _normal(difference: Tensor, deviation: Tensor, least: float) -> Tensor:
    variance = deviation.square() + least**2
    return -0.5 * (difference.square() / variance + variance.log())


def _deviation(track: Tensor) -> Tensor:
    return track.std(unbiased=False)


def _likeness(body: Tensor, one: str, other: str) -> Tensor:
    """Return the correlation of two joints' x: −1 for limbs that take turns."""
    a, b = (body[:, _JOINTS[name], 0] - body[:, _JOINTS[name], 0].mean() for name in (one, other))
    return (a * b).mean() / (_deviation(a) * _deviation(b) + 1e-4)
