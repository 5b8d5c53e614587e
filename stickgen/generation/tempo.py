"""Holding the speed of a motion code.

The mean of several futures is slower than each of them. A rollout reads what it has made, so it loses a little speed
with every frame. A motion code says how fast its clip is on the whole (:mod:`stickgen.model.motion_code`), so the loss
can be measured while it happens, and made up for.
"""

import torch
from torch import Tensor

from stickgen.model.motion_code import LIMBS, limb_speed
from stickgen.skeleton import FPS, STICK_5, to_stick_5

CORRECTION = 0.4
"""Change of a step's size for each unit of relative difference in speed."""

MEMORY = 12
"""Frames that a speed is averaged over: half a second, about a step."""

GAINS = (0.9, 1.08)
"""Bounds of what steps are multiplied by. A gain of 1.1 in every frame made some rollouts explode."""

STILL = 0.05
"""Body heights a second: slower codes are held to this speed, for nobody stands quite still."""


class Tempo:
    """Makes the steps of clips larger where they have become slower than their codes, and smaller where faster.

    Args:
        codes: ``[B, WIDTH]``, with the summary.
    """

    def __init__(self, codes: Tensor) -> None:
        self._asked = limb_speed(codes).clamp(min=STILL)
        self._speed = self._asked.clone()

    def gain(self) -> Tensor:
        """Return what the next step of each clip is multiplied by, ``[1, B, 1]``."""
        return (1 + CORRECTION * (1 - self._speed / self._asked)).clamp(*GAINS)[None, :, None]

    def see(self, before: Tensor, frame: Tensor) -> None:
        """Take the latest step into the average: two frames ``[B, D]``."""
        joints = STICK_5.to_joints(to_stick_5(torch.stack((before, frame)).cpu().float()))
        moved = joints[:, :, [STICK_5.joint(name) for name in LIMBS]].diff(dim=0)[0]
        self._speed += (FPS * moved.norm(dim=-1).mean(dim=-1) - self._speed) / MEMORY
