"""Directions of bones as angles that do not jump, for the forms that keep rotations."""

import numpy as np

_SHORTEST = 1e-6
"""Body heights; a shorter bone has no direction of its own."""


def angles_of(vectors: np.ndarray, start: float = 0.0) -> np.ndarray:
    """Return the angle of vectors from the x axis, frame by frame.

    Successive angles differ by at most half a turn, so that interpolation between frames takes the short way. A bone
    without length keeps the angle it last had.

    Args:
        vectors: ``[T, 2]``.
        start: the angle of a bone that has had no length yet.

    Returns:
        radians, ``[T]``.
    """
    angles = np.arctan2(vectors[:, 1], vectors[:, 0])
    has_one = np.linalg.norm(vectors, axis=1) > _SHORTEST
    last = np.maximum.accumulate(np.where(has_one, np.arange(len(vectors)), -1))
    return np.unwrap(np.where(last >= 0, angles[last], start))
