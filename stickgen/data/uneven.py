"""Training clips played at an uneven pace.

A model that minimises squared errors predicts slightly less motion than its clips wherever several futures are
possible. A rollout then reads motion that is slower than any training clip, slows down further, and stops in
mid-stride. Here the clip that the model reads slows down, stops and speeds up, and the target always returns to the
clip's own pace. disturb.py does the same for poses.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BETWEEN = (8, 60)
"""Range of the number of frames between two stretches of another pace; the upper end is exclusive."""

STRETCH = (3, 30)
"""Range of the number of frames in a stretch; the upper end is exclusive."""

PACES = (-0.6, 1.4)
"""Bounds of a stretch's pace, relative to the clip's own. Negative draws count as zero, so 30 % of the
stretches stand still."""

KEPT = 0.7
"""Share of a difference in pace that remains in the next frame: a third is left after three frames."""


class Paced(NamedTuple):
    """A clip at an uneven pace, float32 ``[T, D]`` each.

    Attributes:
        read: the frames that the model reads.
        asked: offset from these frames to the targets.
        steps: displacement from each frame to the next at the clip's own pace.
    """

    read: Tensor
    asked: Tensor
    steps: Tensor


def even(motion: Tensor) -> Paced:
    """Return a clip ``[T, D]`` at its own pace."""
    nothing = torch.zeros_like(motion)
    return Paced(motion, nothing, torch.cat((motion.diff(dim=0), nothing[:1])))


def uneven(motion: Tensor, seed: int) -> Paced:
    """Play a clip ``[T, D]`` at random paces. The result has T frames too, so it can end before the clip does."""
    values, pace = motion.double().numpy(), _paces(len(motion), seed)
    last = len(values) - 1.0
    phase = np.minimum(np.concatenate(([0.0], np.cumsum(pace)[:-1])), last)
    read = _between_frames(values, phase)
    steps = _between_frames(values, np.minimum(phase + 1, last)) - read
    before = np.concatenate((steps[:1], np.diff(read, axis=0)))
    asked = np.zeros_like(read)
    asked[1:] = (read + (1 - KEPT) * steps + KEPT * before)[:-1] - read[1:]
    # At the clip's own pace the target is exactly its next frame.
    kept = (pace == 1) & np.concatenate(([True], pace[:-1] == 1))
    asked[1:][kept[:-1]] = 0
    return Paced(*(torch.from_numpy(track.astype(np.float32)) for track in (read, asked, steps)))


def _paces(frames: int, seed: int) -> np.ndarray:
    """Draw the pace ``[T]`` from each frame to the next."""
    rng = np.random.default_rng([seed, 1])
    pace = np.ones(frames)
    at = int(rng.integers(*BETWEEN))
    while at < frames:
        end = at + int(rng.integers(*STRETCH))
        pace[at:end] = max(rng.uniform(*PACES), 0.0)
        at = end + int(rng.integers(*BETWEEN))
    return pace


def _between_frames(values: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Interpolate the frames ``[T, D]`` of a clip at phases ``[T]`` linearly."""
    low = np.floor(phase).astype(int)
    high = np.minimum(low + 1, len(values) - 1)
    return values[low] + (phase - low)[:, None] * (values[high] - values[low])
