"""Jitter: keypoints tremble by about a hundredth of a body height from frame to frame."""

import numpy as np
from scipy.signal import savgol_filter

SECONDS = 0.3
"""Width of the filter's window; see docs/video.md for the figures behind it."""

_ORDER = 2


def smooth(points: np.ndarray, fps: float) -> np.ndarray:
    """Smooth joints over time by a Savitzky–Golay filter: a parabola through each window.

    It shifts nothing in time and keeps the speed of feet, from which the camera's motion is found. A One-Euro filter,
    which is made for live input, lags behind; run in both directions, it shortens the way of walks (docs/video.md).

    Args:
        points: ``[T, J, 2]``, all known.
        fps: frames a second.

    Returns:
        ``[T, J, 2]``; as it is where the clip is shorter than a window, or the window has no more than three frames.
    """
    window = 2 * round(SECONDS * fps / 2 - 0.5) + 1
    if window <= _ORDER + 1 or len(points) < window:
        return points
    return np.asarray(savgol_filter(points, window, _ORDER, axis=0))
