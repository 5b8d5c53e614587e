"""Joints that were not found: short gaps are filled, long ones divide the clip."""

from itertools import pairwise

import numpy as np
from scipy.interpolate import Akima1DInterpolator


def fill_gaps(points: np.ndarray, most: int) -> np.ndarray:
    """Fill short gaps by Akima interpolation, which hardly overshoots.

    Args:
        points: ``[T, J, 2]``, NaN where unknown.
        most: longest gap that is filled, in frames.

    Returns:
        ``[T, J, 2]``, NaN in longer gaps, and before a joint's first frame and after its last.
    """
    filled = points.copy()
    frames = np.arange(len(points))
    for joint in range(points.shape[1]):
        known = frames[~np.isnan(points[:, joint]).any(axis=1)]
        gaps = [(a, b) for a, b in pairwise(known) if 1 < b - a <= most + 1]
        if not gaps:
            continue
        curve = Akima1DInterpolator(known, points[known, joint], axis=0)
        for a, b in gaps:
            filled[a + 1 : b, joint] = curve(frames[a + 1 : b])
    return filled


def whole_pieces(points: np.ndarray, least: int) -> list[tuple[int, int]]:
    """Return the runs of frames in which every joint is known.

    Args:
        points: ``[T, J, 2]``, NaN where unknown.
        least: fewest frames of a run.

    Returns:
        first frame and the frame after the last of every run, in order.
    """
    whole = np.concatenate([[False], ~np.isnan(points).any(axis=(1, 2)), [False]]).astype(np.int8)
    changes = np.flatnonzero(np.diff(whole))
    return [(int(a), int(b)) for a, b in zip(changes[::2], changes[1::2], strict=True) if b - a >= least]
