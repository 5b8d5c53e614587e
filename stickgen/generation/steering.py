"""Holding a rollout to its motion code.

The mean of several futures is slower than each of them, and a rollout reads what it has made, so it loses a little
speed with every frame. It also keeps the posture that it sees in its own frames, whatever the caption says, and how
far its limbs swing. A motion code says how fast its clip is, how it stands, and how far it moves out of that posture
(:mod:`stickgen.model.motion_code`), so all three can be measured while the motion is made, and made up for. So can be
how far a figure has come: a model that predicts displacements does not know where it should be, and many small errors
of them lead away.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from stickgen.model.body_frame import Steer
from stickgen.model.motion_code import POSTURE, advance, limb_speed, posture, posture_and_steps
from stickgen.motion.skeleton import FPS, skeleton_of

CORRECTION = 0.4
"""Change of a step's size for each unit of relative difference in speed."""

STEP_MEMORY = 12
"""Frames that a speed is averaged over: half a second, about a step."""

SLOW = 0.3
"""Body heights a second: most of the motion of slower codes is departures from the mean."""

LEAST_GAIN = (0.8, 0.9)
"""What steps are multiplied by at least: those of slow codes, and of others."""

MOST_GAIN = 1.08
"""What steps are multiplied by at most. 1.1 in every frame made some rollouts explode."""

STILL = 0.05
"""Body heights a second: slower codes are held to this speed, for nobody stands quite still."""

RETURN = 0.15
"""Share of a difference in posture that a frame makes up for."""

POSTURE_MEMORY = 25
"""Frames that a posture and its deviation are averaged over."""

FREE = 0.5
"""Standard deviations of the clip's own movement by which the average posture may differ: sitting down is no error."""

FASTEST = 0.01
"""Body heights a frame by which a joint is moved at most."""

SWING = 0.15
"""Share by which a joint's distance from its average place grows in a frame for each unit of relative difference in
deviation. What tells an action or a style is often how far the arms and the body swing."""

SWINGS = (-0.08, 0.05)
"""Bounds of that share."""

LEAST_SWING = 0.01
"""Body heights that are added to both deviations before they are compared: what hardly moves is not made to."""

IN_PLACE = 0.15
"""Body heights a second below which a clip stays where it is."""

WAY_BACK = 0.05
"""Share of a difference in place that a frame makes up for, where no foot is planted."""

FREE_PLACE = 0.05
"""Body heights by which the place may differ."""

FASTEST_PLACE = (0.01, 0.003)
"""Body heights a frame by which a figure is moved at most: one that stays in place, and one that travels."""


class Measured(NamedTuple):
    """What was measured of B clips while they were made.

    Attributes:
        speed: mean speed of the limbs, ``[B]`` in body heights a second.
        posture: mean posture, ``[B, len(POSTURE)]`` in body heights.
        variance: of the posture over time, ``[B, len(POSTURE)]``.
        apart: how far the latest posture is from the mean, ``[B, len(POSTURE)]``.
        ahead: how much farther the pelvis has come than the codes' clips, ``[B]`` in body heights.
    """

    speed: Tensor
    posture: Tensor
    variance: Tensor
    apart: Tensor
    ahead: Tensor


class Steering:
    """Makes the steps and swings of clips larger or smaller, and moves their joints, towards what their codes say.

    Args:
        codes: ``[B, WIDTH]``, with the summary, on the device of the motion: nothing here waits for it.
        dim: numbers a frame.
        begun: codes of the frames that were given, ``[B, WIDTH]``; None from rest. They may go another way than the
            codes' clips, so the figure is then held to its place only if both stay in theirs.
    """

    def __init__(self, codes: Tensor, dim: int, begun: Tensor | None = None) -> None:
        self._speed_asked = limb_speed(codes).clamp(min=STILL)
        self._least_gain = torch.where(self._speed_asked < SLOW, *LEAST_GAIN)
        self._posture_asked, self._deviation_asked = posture(codes)
        self._joints_moved = _joints_moved(dim).to(codes.device)
        self._advance = advance(codes) / FPS
        self.measured = Measured(
            speed=self._speed_asked,
            posture=self._posture_asked,
            variance=self._deviation_asked.square(),
            apart=torch.zeros_like(self._posture_asked),
            ahead=torch.zeros_like(self._advance),
        )
        """At first what the codes ask for."""
        stays = advance(codes).abs() < IN_PLACE
        self._fastest = torch.where(stays, *FASTEST_PLACE)
        if begun is not None:
            self._fastest *= stays & (advance(begun).abs() < IN_PLACE)
        self._all_x = torch.tensor([1.0, 0.0], device=codes.device).repeat(dim // 2)

    def next(self) -> Steer:
        """Return what is done to the next step."""
        gain = 1 + CORRECTION * (1 - self.measured.speed / self._speed_asked)
        gain = gain.clamp(max=MOST_GAIN).maximum(self._least_gain)
        away = self._posture_asked - self.measured.posture
        away = away.sign() * (away.abs() - FREE * self._deviation_asked).clamp(min=0)
        wider = (self._deviation_asked + LEAST_SWING) / (self.measured.variance.sqrt() + LEAST_SWING) - 1
        swung = (SWING * wider).clamp(*SWINGS) * self.measured.apart
        push = (RETURN * away + swung).clamp(-FASTEST, FASTEST) @ self._joints_moved
        ahead = self.measured.ahead
        back = WAY_BACK * ahead.sign() * (ahead.abs() - FREE_PLACE).clamp(min=0)
        push = push - back.clamp(-self._fastest, self._fastest)[:, None] * self._all_x
        return Steer(gain[None, :, None], push[None])

    def see(self, before: Tensor, frame: Tensor) -> None:
        """Take the latest step into the averages: two frames ``[B, D]``."""
        now, speed, moved = posture_and_steps(before.float(), frame.float())
        old = self.measured
        mean = old.posture + (now - old.posture) / POSTURE_MEMORY
        apart = now - mean
        self.measured = Measured(
            speed=old.speed + (speed - old.speed) / STEP_MEMORY,
            posture=mean,
            variance=old.variance + (apart.square() - old.variance) / POSTURE_MEMORY,
            apart=apart,
            ahead=old.ahead + (moved - self._advance),
        )


@functools.cache
def _joints_moved(dim: int) -> Tensor:
    """Return how far each number of a frame goes with each number of a posture, ``[len(POSTURE), dim]``.

    What lies between moved joints goes a part of the way.
    """
    skeleton = skeleton_of(dim)
    moved = torch.zeros(len(POSTURE), len(skeleton.joints), 2)
    for at, joint in enumerate(skeleton.joints):
        side, _, part = joint.rpartition("_")
        shares = {
            ("pelvis", "y"): {"ankle": 0.0, "knee": 0.5, "wrist": 0.0, "elbow": 0.5}.get(part, 1.0),
            ("neck", "x"): {"neck": 1.0, "head": 1.0, "chest": 0.6, "shoulder": 0.6}.get(part, 0.0),
            **{(f"{side}_wrist", axis): {"wrist": 1.0, "elbow": 0.5}.get(part, 0.0) for axis in "xy"},
            # A quarter lengthens strides; more makes feet skate.
            (f"{side}_ankle", "x"): {"ankle": 0.25, "knee": 0.125}.get(part, 0.0),
            (f"{side}_ankle", "y"): {"ankle": 1.0, "knee": 0.5}.get(part, 0.0),
        }
        for number, (asked, axis) in enumerate(POSTURE):
            moved[number, at, "xy".index(axis)] = shares.get((asked, axis), 0.0)
    return torch.stack([skeleton.from_joints(one) for one in moved])
