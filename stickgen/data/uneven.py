"""Clips played at an uneven pace, to be gone on with at their own: so that a model does not slow down and stop.

A model that minimises squared errors moves a little less than its clips wherever they might go on in several ways. In
a rollout it then reads the slower motion, of which training has no example, and slows down further, until it stands in
the middle of a stride. Here the clip that is read slows down, stands and hurries, and what is asked for is always that
it comes back to its own pace.
"""

import numpy as np
import torch
from torch import Tensor

from stickgen.skeleton import FPS

BETWEEN = (8, 60)
"""Fewest and most frames from one stretch of another pace to the next."""

STRETCH = (3, 30)
"""Fewest and most frames of such a stretch."""

PACES = (-0.6, 1.4)
"""Lowest and highest pace of a stretch, as a share of the clip's own; below nothing is nothing, so that three in ten
stand still."""

KEPT = 0.7
"""Share of a difference of pace that is left in the next frame: it is gone to a third after three frames."""


def uneven(motion: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Play a clip at an uneven pace.

    Args:
        motion: ``[T, D]``.
        seed: of the paces.

    Returns:
        three float32 ``[T, D]``: the clip as it is read, T frames of it; what is added to it where it is asked for, so
        that the motion goes on at its own pace; and how the clip itself goes on from each frame.
    """
    frames = len(motion)
    rng = np.random.default_rng([seed, 1])
    pace = np.ones(frames)
    at = int(rng.integers(*BETWEEN))
    while at < frames:
        end = at + int(rng.integers(*STRETCH))
        pace[at:end] = max(rng.uniform(*PACES), 0.0)
        at = end + int(rng.integers(*BETWEEN))
    phase = np.minimum(np.concatenate(([0.0], np.cumsum(pace)[:-1])), frames - 1.0)
    values = motion.double().numpy()
    read = _at(values, phase)
    steps = _at(values, np.minimum(phase + 1, frames - 1.0)) - read
    before = np.concatenate((steps[:1], np.diff(read, axis=0)))
    asked = np.zeros_like(read)
    asked[1:] = (read + (1 - KEPT) * steps + KEPT * before)[:-1] - read[1:]
    # Where a clip keeps its pace nothing is asked but its next frame, to the last digit.
    even = (pace == 1) & np.concatenate(([True], pace[:-1] == 1))
    asked[1:][even[:-1]] = 0
    return tuple(torch.from_numpy(track.astype(np.float32)) for track in (read, asked, steps))  # type: ignore[return-value]


def even(motion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    steps = torch.zeros_like(motion)
    steps[:-1] = motion.diff(dim=0)
    return motion, torch.zeros_like(motion), steps


def _at(values: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return frames ``[T, D]`` between those of a clip, linearly."""
    low = np.floor(phase).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    return values[low] + (phase - low)[:, None] * (values[high] - values[low])
