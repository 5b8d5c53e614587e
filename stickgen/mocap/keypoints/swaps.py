"""Left and right, which estimators confuse for some frames, above all from the side."""

from itertools import product

import numpy as np

from stickgen.mocap.keypoints.layouts import body_size
from stickgen.mocap.projection import BODY_JOINTS

GROUPS: tuple[tuple[str, ...], ...] = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
"""Arms and legs, whose sides are exchanged independently."""

EXCHANGED_COST = 0.006
"""Cost of an exchanged frame, in body sizes: estimators are mostly right."""

CHANGE_COST = 0.05
"""Cost of a frame whose sides are exchanged while those of the frame before are not, or the reverse: faults last."""

MOST_COST = 0.2
"""Most that one joint costs in a frame, so that a stray joint does not outvote the rest."""


def repair_swaps(points: np.ndarray) -> np.ndarray:
    """Exchange left and right where that makes the limbs move on steadily.

    The way from a right joint to its left counterpart turns round when sides are exchanged, and depends on neither the
    camera nor the path of the body. Of all choices of frames to exchange, for arms and for legs, the one is taken
    whose ways accelerate least: the sum of their second differences, in body sizes, plus the costs above. Velocity
    alone would not do, for legs that pass each other are at one place. Dynamic programming over pairs of frames finds
    the choice (Viterbi's algorithm); frames in which no pair of joints is known are stepped over.

    Args:
        points: ``[T, 14, 2]``, NaN where unknown.

    Returns:
        ``[T, 14, 2]``.
    """
    repaired = points.copy()
    size = max(float(np.median([body_size(frame) for frame in points])), 1e-9)
    for parts in GROUPS:
        left, right = ([BODY_JOINTS.index(f"{side}_{part}") for part in parts] for side in ("left", "right"))
        frames = np.flatnonzero(_exchanged((points[:, left] - points[:, right]) / size))[:, None]
        repaired[frames, left + right] = points[frames, right + left]
    return repaired


def _exchanged(ways: np.ndarray) -> np.ndarray:
    """Return whether each frame's sides are to be exchanged, ``[T]``; ``ways [T, n, 2]`` from right to left joints."""
    exchanged = np.zeros(len(ways), dtype=bool)
    known = np.flatnonzero(~np.isnan(ways[..., 0]).all(axis=1))
    if len(known) < 3:
        return exchanged
    first, second, third = ways[known[:-2]], ways[known[1:-1]], ways[known[2:]]
    steps = np.diff(known)
    ahead = (steps[1:] / steps[:-1])[:, None, None]  # other than 1 where frames are stepped over
    costs = {}
    for a, b, c in product((1, -1), repeat=3):
        bend = (
            np.linalg.norm(c * third - b * second - ahead * (b * second - a * first), axis=2) * 2 / (1 + ahead[..., 0])
        )
        costs[a, b, c] = np.minimum(np.nan_to_num(bend), MOST_COST).sum(axis=1)
    best = {(a, b): _frame_cost(1, a) + _frame_cost(a, b) for a, b in product((1, -1), repeat=2)}
    origins: list[dict[tuple[int, int], int]] = []
    for step in range(len(known) - 2):
        totals = {(a, b, c): best[a, b] + costs[a, b, c][step] + _frame_cost(b, c) for a, b, c in costs}
        origin = {(b, c): min((1, -1), key=lambda a: totals[a, b, c]) for b, c in best}
        best = {(b, c): totals[origin[b, c], b, c] for b, c in best}
        origins.append(origin)
    pair = min(best, key=lambda pair: best[pair])
    signs = [pair[1], pair[0]]
    for origin in reversed(origins):
        pair = (origin[pair], pair[0])
        signs.append(pair[0])
    exchanged[known] = np.array(signs[::-1]) < 0
    return exchanged


def _frame_cost(before: int, now: int) -> float:
    return EXCHANGED_COST * (now < 0) + CHANGE_COST * (now != before)
