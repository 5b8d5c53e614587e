"""Joints at another frame rate."""

import math

import numpy as np

from stickgen.errors import DataError
from stickgen.motion.skeleton import FPS


def resample(joints: np.ndarray, fps: float, to_fps: float = FPS) -> np.ndarray:
    """Resample joints in time by cubic (Catmull-Rom) interpolation.

    The curve goes through the given frames, so a rate that is a multiple of ``to_fps`` only drops frames. Nothing is
    filtered first: body motion has hardly any content above 10 Hz, below the 12.5 Hz that 25 fps can show.

    Args:
        joints: ``[T, J, S]``, or with further dimensions before the last two.
        fps: frames a second of ``joints``.
        to_fps: frames a second wanted.

    Returns:
        the same with T' frames, over the same time span, from the first frame on.

    Raises:
        DataError: ``fps`` is not a positive number.
    """
    if not (math.isfinite(fps) and fps > 0):
        raise DataError(f"frame rate: a positive number expected, {fps} found")
    if fps == to_fps or len(joints) < 2:
        return joints
    last = len(joints) - 1
    # A hair more than the span, so that 1/0.0083333 Hz does not lose the final frame to rounding.
    at = np.arange(math.floor(last * to_fps / fps + 1e-3) + 1) * (fps / to_fps)
    at = np.minimum(at, last)
    before = np.minimum(at.astype(int), last - 1)
    u = (at - before).reshape(-1, *[1] * (joints.ndim - 1))
    tangents = np.gradient(joints, axis=0)
    p0, p1, m0, m1 = joints[before], joints[before + 1], tangents[before], tangents[before + 1]
    return (2 * u**3 - 3 * u**2 + 1) * p0 + (u**3 - 2 * u**2 + u) * m0 + (3 * u**2 - 2 * u**3) * p1 + (u**3 - u**2) * m1
