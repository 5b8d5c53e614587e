"""Figures to draw."""

import numpy as np

from stickgen.motion.skeleton import rest_pose


def walking(frames: int = 12, dim: int = 20, speed: float = 0.05, start: float = 0.0) -> np.ndarray:
    """A figure at rest that glides along, ``[T, D]``."""
    motion = np.tile(np.array(rest_pose(dim)), (frames, 1))
    motion[:, 0::2] += start + speed * np.arange(frames)[:, None]
    return motion
