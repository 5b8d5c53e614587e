"""Left and right, which estimators confuse for some frames, above all from the side."""

from itertools import product

import numpy as np

from stickgen.mocap.projection import BODY_JOINTS

GROUPS: tuple[tuple[str, ...], ...] = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
"""Arms and legs, whose sides are exchanged independently."""

EXCHANGE_COST = 0.004
"""Cost of a frame whose sides are exchanged, in the unit of :func:`repair_swaps`: estimators are mostly right."""

_MOST = 0.15
"""Body sizes above which a jump counts no more, so that one stray joint does not outvote the rest."""


def repair_swaps(points: np.ndarray) -> np.ndarray:
    """Exchange left and right where that makes the limbs move on steadily.

    Of all ways to exchange the sides of the arms, and of the legs, in some of the frames, the one is taken whose joints
    accelerate least: the sum over frames of each joint's second difference, in body sizes, plus
    :data:`EXCHANGE_COST` for every exchanged frame. Dynamic programming over the last two frames finds it (Viterbi's
    algorithm). Velocity alone would not do, for legs that pass each other are at one place.

    Args:
        points: ``[T, 14, 2]``, NaN where unknown.

    Returns:
        ``[T, 14, 2]``.
    """
    repaired = points.copy()
    if len(points) < 3:
        return repaired
    spans = [np.ptp(frame[~np.isnan(frame[:, 0])], axis=0).max(initial=0.0) for frame in points]
    size = max(float(np.median(spans)), 1e-9)
    for parts in GROUPS:
        left = [BODY_JOINTS.index(f"left_{part}") for part in parts]
        right = [BODY_JOINTS.index(f"right_{part}") for part in parts]
        exchanged = _exchanged(points[:, left + right] / size)
        repaired[np.ix_(exchanged, left + right)] = points[np.ix_(exchanged, right + left)]
    return repaired


def _exchanged(limbs: np.ndarray) -> np.ndarray:
    """Return the frames ``[T]`` whose sides are to be exchanged; ``limbs [T, 2 n, 2]``: the left ones, the right ones."""
    half = limbs.shape[1] // 2
    choices = [limbs, np.concatenate([limbs[:, half:], limbs[:, :half]], axis=1)]
    jumps = {}
    for a, b, c in product((0, 1), repeat=3):
        bend = np.linalg.norm(choices[c][2:] - 2 * choices[b][1:-1] + choices[a][:-2], axis=2)
        jumps[a, b, c] = np.minimum(np.nan_to_num(bend, nan=0.0), _MOST).sum(axis=1)
    best = {(a, b): (a + b) * EXCHANGE_COST for a, b in product((0, 1), repeat=2)}
    before: list[dict[tuple[int, int], int]] = []
    for step in range(len(limbs) - 2):
        came: dict[tuple[int, int], int] = {}
        cost: dict[tuple[int, int], float] = {}
        for b, c in product((0, 1), repeat=2):
            ways = [best[a, b] + jumps[a, b, c][step] for a in (0, 1)]
            came[b, c] = int(ways[1] < ways[0])
            cost[b, c] = min(ways) + c * EXCHANGE_COST
        best = cost
        before.append(came)
    state = min(best, key=lambda pair: best[pair])
    chosen = [state[1], state[0]]
    for came in reversed(before):
        chosen.append(came[state])
        state = (chosen[-1], state[0])
    return np.array(chosen[::-1], dtype=bool)
