"""Cycles in a clip: gait of a second or two goes on for as long as is wanted.

The clip jumps back from a frame to an earlier one that is much like it, as in motion graphs (Kovar et al. 2002,
"Motion Graphs", doi 10.1145/566570.566605); what is left of a difference is spread over the cycle.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stickgen.motion.skeleton import FPS, skeleton_of

SHORTEST = 12
"""Frames of a cycle at least: no gait has less than half a second a stride."""

LIKENESS = 0.05
"""Largest root mean square difference, in body heights, of two frames that count as alike."""

VELOCITY_SECONDS = 0.2
"""Time that weighs a difference of velocity against one of position."""

SLOWEST = 0.35
"""Body heights a second that a cycle moves along x at least: standing clips have nothing to go on with."""


@dataclass(frozen=True)
class Loop:
    """A cycle: frame ``end`` is much like frame ``start``, and before ``end`` the clip may go back to ``start``."""

    start: int
    end: int


def find_loop(motion: Tensor) -> Loop | None:
    """Return the best cycle of a clip ``[T, D]`` that moves along x, None where it has none."""
    frames = len(motion)
    if frames <= SHORTEST + 1:
        return None
    pelvis_x, pose = _apart(motion.double().numpy())
    velocity = np.gradient(np.column_stack((pelvis_x, pose)), axis=0) * FPS * VELOCITY_SECONDS
    features = np.column_stack((pose, velocity))
    squares = (features**2).sum(axis=1)
    distance = squares[:, None] + squares - 2 * features @ features.T
    distance = np.sqrt(np.maximum(distance, 0) / pose.shape[1])
    apart = np.arange(frames) - np.arange(frames)[:, None]
    speed = np.abs(pelvis_x - pelvis_x[:, None]) * FPS / np.maximum(apart, 1)
    distance[(apart < SHORTEST) | (speed < SLOWEST)] = np.inf
    start, end = divmod(int(distance.argmin()), frames)
    return Loop(start, end) if distance[start, end] < LIKENESS else None


def continued(motion: Tensor, loop: Loop, frames: int) -> Tensor:
    """Continue a clip ``[T, D]`` through its cycle until it has ``frames`` frames, each round further along x.

    What follows the cycle's end in the clip itself is left out.
    """
    values = motion.double().numpy()
    pelvis_x, pose = _apart(values)
    length = loop.end - loop.start
    # Back at the start, the figure is still as at the end; by the end it is so again, of itself.
    remains = np.linspace(1, 0, length, endpoint=False)[:, None] * (pose[loop.end] - pose[loop.start])
    cycle_pose = pose[loop.start : loop.end] + remains
    advance = pelvis_x[loop.end] - pelvis_x[loop.start]
    cycle_x = pelvis_x[loop.start : loop.end] + advance
    rounds = max(-(-(frames - loop.end) // length), 0)
    all_x = np.concatenate((pelvis_x[: loop.end], *(cycle_x + n * advance for n in range(rounds))))
    all_pose = np.concatenate((pose[: loop.end], np.tile(cycle_pose, (rounds, 1))))
    all_pose[:, 0::2] += all_x[:, None]
    return torch.from_numpy(all_pose[:frames].astype(np.float32))


def _apart(motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pelvis' x ``[T]`` and frames ``[T, D]`` relative to it."""
    skeleton = skeleton_of(motion.shape[1])
    pelvis_x = skeleton.to_joints(motion)[:, skeleton.joint("pelvis"), 0]
    pose = motion.copy()
    pose[:, 0::2] -= pelvis_x[:, None]
    return pelvis_x, pose
