"""Who is who from frame to frame: people found in single frames become tracks."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from stickgen.mocap.keypoints.layouts import body_size
from stickgen.mocap.projection import BODY_JOINTS
from stickgen.motion.skeleton import other_side

MAX_STEP = 0.35
"""Farthest that a person may be from the predicted place, in body sizes; beyond, it is someone else."""

_STEADINESS = 0.6
"""Share of the former velocity in the new one: a single frame's displacement is mostly noise."""

_MIRRORED = [BODY_JOINTS.index(other_side(name)) for name in BODY_JOINTS]


@dataclass(frozen=True)
class Track:
    """One person over time.

    Attributes:
        start: its first frame.
        points: ``[T, 14, 2]``, NaN where a joint was not found.
    """

    start: int
    points: np.ndarray


@dataclass
class _Person:
    start: int
    seen: int
    latest: np.ndarray
    size: float
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))
    frames: dict[int, np.ndarray] = field(default_factory=dict)


def track_people(frames: Sequence[np.ndarray], patience: int) -> list[Track]:
    """Follow people through a video.

    In every frame the people found are assigned to those that are followed, so that the sum of their distances to the
    predicted places is least (the Hungarian method). The prediction moves a person on at a constant velocity.

    Args:
        frames: of every frame ``[P, 14, 2]``, NaN where a joint was not found.
        patience: frames that a person may be missing; who returns later is someone new.

    Returns:
        one track a person, in the order of their first frames.
    """
    followed: list[_Person] = []
    finished: list[_Person] = []
    for now, people in enumerate(frames):
        finished += [person for person in followed if now - person.seen > patience]
        followed = [person for person in followed if now - person.seen <= patience]
        people = people[~np.isnan(people).any(axis=2).all(axis=1)]
        costs = _distances(followed, people, now)
        taken: set[int] = set()
        for row, column in zip(*linear_sum_assignment(np.minimum(costs, 2 * MAX_STEP)), strict=True):
            if costs[row, column] <= MAX_STEP:
                _move_on(followed[row], people[column], now)
                taken.add(int(column))
        followed += [
            _Person(now, now, found, body_size(found), frames={now: found})
            for index, found in enumerate(people)
            if index not in taken
        ]
    tracks = []
    for person in sorted(finished + followed, key=lambda person: person.start):
        points = np.full((person.seen - person.start + 1, len(BODY_JOINTS), 2), np.nan)
        for frame, found in person.frames.items():
            points[frame - person.start] = found
        tracks.append(Track(person.start, points))
    return tracks


def _distances(followed: Sequence[_Person], people: np.ndarray, now: int) -> np.ndarray:
    """Return how far people ``[P, 14, 2]`` are from the predicted places of those followed, ``[F, P]`` in body sizes.

    The median over joints counts, of which at least two must be known; exchanged sides do not.
    """
    if not followed or not len(people):
        return np.zeros((len(followed), len(people)))
    predicted = np.stack([person.latest + person.velocity * (now - person.seen) for person in followed])
    sizes = np.maximum.outer([person.size for person in followed], [body_size(found) for found in people])
    nearest = np.full(sizes.shape, np.inf)
    for order in (slice(None), _MIRRORED):
        apart = np.linalg.norm(people[None, :, order] - predicted[:, None], axis=-1)
        middle = _median(apart)
        nearest = np.minimum(nearest, np.where((~np.isnan(apart)).sum(axis=-1) < 2, np.inf, middle))
    return nearest / np.maximum(sizes, 1e-9)


def _move_on(person: _Person, found: np.ndarray, now: int) -> None:
    moved = found - person.latest
    if not np.isnan(moved).all():
        step = _median(moved.T) / (now - person.seen)
        known = len(person.frames) > 1
        person.velocity = _STEADINESS * person.velocity + (1 - _STEADINESS) * step if known else step
    person.latest = np.where(np.isnan(found), person.latest + person.velocity * (now - person.seen), found)
    person.size = max(0.9 * person.size, body_size(found))
    person.seen = now
    person.frames[now] = found


def _median(values: np.ndarray) -> np.ndarray:
    """Return the median of the known values along the last axis; NumPy's own is slow for few values."""
    ordered = np.sort(values, axis=-1)  # NaN last
    known = (~np.isnan(values)).sum(axis=-1, keepdims=True)
    low, high = (np.take_along_axis(ordered, np.maximum(at, 0), axis=-1) for at in ((known - 1) // 2, known // 2))
    return np.asarray(low + high)[..., 0] / 2
