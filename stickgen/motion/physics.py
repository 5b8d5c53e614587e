"""Velocity, acceleration and momentum of a figure, from its pelvis."""

import numpy as np

from stickgen.errors import DataError
from stickgen.motion.skeleton import FPS, skeleton_of


def body_physics(motion: np.ndarray) -> np.ndarray:
    """Differentiate the pelvis of a figure in time.

    The body has unit mass, so its momentum is its velocity. The velocity is the central difference of the position
    (one-sided in the first and last frame), which halves the noise of a one-frame difference and does not lag. The
    acceleration is the forward difference of that velocity, so that ``v[t + 1] - v[t] = a[t] / FPS`` holds for every
    ``t < T - 1``: the relation the consistency term of the loss asks of a prediction. The last acceleration, which has
    no frame after it, repeats the one before.

    Args:
        motion: ``[T, D]``, D = 20 or 48, in body heights, at 25 frames a second.

    Returns:
        float32 ``[T, 6]``: vx, vy (body heights a second), ax, ay (body heights a second squared), momentum x,
        momentum y. A clip of one frame stands still.

    Raises:
        DataError: ``motion`` is not ``[T, D]`` with a known D, or has no frames.
    """
    if motion.ndim != 2 or len(motion) == 0:
        raise DataError(f"motion: shape [T, D] with T >= 1 expected, {list(motion.shape)} found")
    skeleton = skeleton_of(motion.shape[1])
    pelvis = skeleton.to_joints(np.asarray(motion, dtype=np.float64))[:, skeleton.joint("pelvis")]
    velocity = np.zeros_like(pelvis)
    acceleration = np.zeros_like(pelvis)
    if len(pelvis) > 1:
        velocity = np.gradient(pelvis, axis=0) * FPS
        acceleration[:-1] = np.diff(velocity, axis=0) * FPS
        acceleration[-1] = acceleration[-2]
    return np.concatenate([velocity, acceleration, velocity], axis=1).astype(np.float32)
