"""Clips read at an uneven pace, to be gone on with at their own, so that a model does not slow down and stop.

A model that minimises squared errors moves a little less than its clips wherever they might go on in several ways. In a
rollout it then reads a slower motion than any clip of its training, slows down further, and ends up standing in the
middle of a stride. Here the clip that is read slows down, stands still and hurries, and what is asked for always comes
back to the clip's own pace: what disturb.py does for a figure's pose, this does for its time.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BETWEEN = (8, 60)
"""Fewest frames, and one more than most, from one stretch of another pace to the next."""

STRETCH = (3, 30)
"""The same of such a stretch."""

PACES = (-0.6, 1.4)
"""Bounds of a stretch's pace, as a share of the clip's own. Below zero it stands still: three stretches in ten do."""

KEPT = 0.7
"""Share of a difference of pace that is left in the next frame: it is gone to a third after three frames."""


class Paced(NamedTuple):
    """A clip and how it goes on, float32 ``[T, D]`` each.

    Attributes:
        read: the frames that are read.
        asked: what is added to them where they are asked for.
        steps: how the clip goes on from each frame at its own pace.
    """

    read: Tensor
    asked: Tensor
    steps: Tensor


def even(motion: Tensor) -> Paced:
    """Read a clip ``[T, D]`` as it is."""
    nothing = torch.zeros_like(motion)
    return Paced(motion, nothing, torch.cat((motion.diff(dim=0), nothing[:1])))


def uneven(motion: Tensor, seed: int) -> Paced:
    """Read a clip ``[T, D]`` at paces that are drawn with a seed; after as many frames it is not at its end."""
    values, pace = motion.double().numpy(), _paces(len(motion), seed)
    last = len(values) - 1.0
    phase = np.minimum(np.concatenate(([0.0], np.cumsum(pace)[:-1])), last)
    read = _between_frames(values, phase)
    steps = _between_frames(values, np.minimum(phase + 1, last)) - read
    before = np.concatenate((steps[:1], np.diff(read, axis=0)))
    asked = np.zeros_like(read)
    asked[1:] = (read + (1 - KEPT) * steps + KEPT * before)[:-1] - read[1:]
    # Where a clip keeps its pace nothing is asked but its next frame, to the last digit.
    kept = (pace == 1) & np.concatenate(([True], pace[:-1] == 1))
    asked[1:][kept[:-1]] = 0
    return Paced(*(torch.from_numpy(track.astype(np.float32)) for track in (read, asked, steps)))


def _paces(frames: int, seed: int) -> np.ndarray:
    """Draw the pace ``[T]`` at which a clip goes on from each frame."""
    rng = np.random.default_rng([seed, 1])
    pace = np.ones(frames)
    at = int(rng.integers(*BETWEEN))
    while at < frames:
        end = at + int(rng.integers(*STRETCH))
        pace[at:end] = max(rng.uniform(*PACES), 0.0)
        at = end + int(rng.integers(*BETWEEN))
    return pace


def _between_frames(values: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return the frames ``[T, D]`` at phases ``[T]`` between those of a clip, linearly."""
    low = np.floor(phase).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    return values[low] + (phase - low)[:, None] * (values[high] - values[low])
