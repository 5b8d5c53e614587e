"""Smooth curves over time, of which every motion of the sample is made."""

from collections.abc import Sequence

import numpy as np

from stickgen.motion.skeleton import FPS
from stickgen.sample.body import Floats


def seconds(frames: int) -> Floats:
    """Return the time of every frame, ``[T]``, in seconds."""
    return np.arange(frames) / FPS


def ease(s: Floats) -> Floats:
    """Go from 0 to 1 as ``s`` does, at rest at both ends (cubic)."""
    s = np.clip(s, 0.0, 1.0)
    return s * s * (3 - 2 * s)


def bump(s: Floats, rise: float = 2.0, fall: float = 2.0) -> Floats:
    """Go from 0 up to 1 and back as ``s`` goes from 0 to 1, at rest at both ends.

    The top is at ``rise / (rise + fall)``; both exponents are at least 2, or the ends would not be at rest.
    """
    s = np.clip(s, 0.0, 1.0)
    top = rise / (rise + fall)
    return s**rise * (1 - s) ** fall / (top**rise * (1 - top) ** fall)


def keyframes(t: Floats, times: Sequence[float], values: Sequence[object]) -> Floats:
    """Interpolate key poses with a curve whose speed is continuous and which rests at extremes.

    Piecewise cubic Hermite with the harmonic-mean slopes of Fritsch and Butland (1984), uniform weights: it never
    overshoots a key, so a foot keyed to the ground does not dip below it. Before the first key and after the last
    the value stays.

    Args:
        t: ``[T]``, when to evaluate.
        times: K times, increasing.
        values: K keys, each a number or an array of one common shape.

    Returns:
        ``[T, *shape of a key]``.
    """
    keys = np.asarray(values, dtype=float)
    slope = np.diff(keys, axis=0) / np.diff(times).reshape((-1,) + (1,) * (keys.ndim - 1))
    before, after = slope[:-1], slope[1:]
    same = before * after > 0
    inner = np.where(same, 2 * before * after / np.where(same, before + after, 1.0), 0.0)
    rest = np.zeros_like(keys[:1])
    return hermite(t, times, keys, np.concatenate([rest, inner, rest]))


def hermite(t: Floats, times: Sequence[float], keys: Floats, speeds: Floats) -> Floats:
    """Interpolate keys of known speed with piecewise cubics.

    Between two keys of one height and opposite speed this is exactly a parabola: a flight.

    Args:
        t: ``[T]``, when to evaluate; outside the keys the nearest one stays.
        times: K times, increasing.
        keys: ``[K, ...]``.
        speeds: ``[K, ...]``, keys a second.

    Returns:
        ``[T, ...]``.
    """
    at = np.asarray(times, dtype=float)
    width = np.diff(at)
    column = (-1,) + (1,) * (keys.ndim - 1)
    i = np.clip(np.searchsorted(at, t, side="right") - 1, 0, len(width) - 1)
    s = np.clip((t - at[i]) / width[i], 0.0, 1.0).reshape(column)
    h = width[i].reshape(column)
    return (
        keys[i] * (1 + 2 * s) * (1 - s) ** 2
        + speeds[i] * h * s * (1 - s) ** 2
        + keys[i + 1] * s * s * (3 - 2 * s)
        + speeds[i + 1] * h * s * s * (s - 1)
    )


def drift(rng: np.random.Generator, t: Floats, size: float) -> Floats:
    """Wander slowly around 0 as no body stands quite still: three sines of 0.15 to 0.6 Hz, about ``size`` high."""
    total = np.zeros_like(t)
    for _ in range(3):
        total += np.sin(2 * np.pi * rng.uniform(0.15, 0.6) * t + rng.uniform(0, 2 * np.pi))
    return size / 3**0.5 * total


def rounds(rng: np.random.Generator, frames: int, length: float, rest: float) -> list[float]:
    """Choose when an action of ``length`` seconds begins, again and again, with about ``rest`` seconds between.

    Returns:
        start times; at least one, and the last action may be cut off by the end of the clip.
    """
    starts = [float(rng.uniform(0.05, 0.3))]
    while (start := starts[-1] + length + rest * float(rng.uniform(0.7, 1.3))) < frames / FPS - 0.5 * length:
        starts.append(start)
    return starts
