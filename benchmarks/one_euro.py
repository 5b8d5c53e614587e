"""Keypoints smoothed by Savitzky–Golay and by the One-Euro filter (Casiez, Roussel and Vogel, CHI 2012), compared.

    python -m benchmarks.one_euro --motion cmu_sample.npz

The clips are those on which the parameters of the cleaning were chosen, seen from the side. One-Euro is made for live
input: a low-pass filter whose cutoff rises with speed, so slow motion is smooth and fast motion lags little.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.keypoints import Clip, clips_of, errors, find_person, on_the_floor, scene, show, summary
from benchmarks.virtual_camera import Faults
from stickgen.mocap.keypoints.camera import body_scale, remove_camera
from stickgen.mocap.keypoints.smoothing import smooth
from stickgen.motion.skeleton import FPS

_SPEED_CUTOFF = 1.0
"""Of the filter of the speed, in Hz, as the paper has it."""


def one_euro(points: np.ndarray, fps: float, cutoff: float, beta: float, *, both_ways: bool = False) -> np.ndarray:
    """Smooth joints over time.

    Args:
        points: ``[T, J, 2]``, all known.
        fps: frames a second.
        cutoff: of what stands still, in Hz.
        beta: by how much the cutoff rises for a speed of one figure's height a second.
        both_ways: run the filter forwards and then backwards, so that it does not lag.
    """
    height = float(np.ptp(points[..., 1], axis=1).mean())
    smoothed = _forwards(points / height, fps, cutoff, beta)
    if both_ways:
        smoothed = _forwards(smoothed[::-1], fps, cutoff, beta)[::-1]
    return smoothed * height


def _forwards(points: np.ndarray, fps: float, cutoff: float, beta: float) -> np.ndarray:
    smoothed = points.copy()
    speed = np.zeros(points.shape[1:])
    for frame in range(1, len(points)):
        speed += _share(_SPEED_CUTOFF, fps) * ((points[frame] - points[frame - 1]) * fps - speed)
        share = _share(cutoff + beta * np.abs(speed), fps)
        smoothed[frame] = share * points[frame] + (1 - share) * smoothed[frame - 1]
    return smoothed


def _share(cutoff: np.ndarray | float, fps: float) -> np.ndarray | float:
    """Return how much a new value counts."""
    return 1 / (1 + fps / (2 * np.pi * cutoff))


def filters(clips: Sequence[Clip]) -> dict[str, list[float]]:
    """Return the errors of whole chains that differ in how they smooth, seen from the side.

    Of One-Euro's parameters those are taken whose error of joints is least.
    """
    found = []
    for number, clip in enumerate(clips):
        people, truth = scene(clip, clips[(number + 1) % len(clips)], 0, Faults(), seed=1000 + number)
        person = find_person(people, truth)
        if person is not None:
            found.append((person.filled[slice(*person.piece)], truth[slice(*person.piece)]))

    def of(smoothing: Callable[[np.ndarray], np.ndarray]) -> list[float]:
        return summary([errors(_grounded(smoothing(filled)), truth) for filled, truth in found])

    rows = {"none": of(lambda points: points), "Savitzky-Golay": of(lambda points: smooth(points, FPS))}
    for name, both_ways in (("One-Euro", False), ("One-Euro, both ways", True)):
        tried = {
            (cutoff, beta): of(partial(one_euro, fps=FPS, cutoff=cutoff, beta=beta, both_ways=both_ways))
            for cutoff in (1.0, 2.0, 4.0, 8.0)
            for beta in (0.0, 2.0, 8.0, 32.0)
        }
        (cutoff, beta), best = min(tried.items(), key=lambda item: item[1][0])
        rows[f"{name}, {cutoff:g} Hz, beta {beta:g}"] = best
    return rows


def _grounded(points: np.ndarray) -> np.ndarray:
    return on_the_floor(remove_camera(points, body_scale(points, FPS), FPS), measured=True)


def main() -> None:
    """Print a table for each kind of clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", type=Path, help="joint archive in metres; the built-in sample where absent")
    parser.add_argument("--clips", type=int, default=20, help="clips of each kind")
    arguments = parser.parse_args()
    for kind, clips in clips_of(arguments.motion, development=True, most=arguments.clips).items():
        print(f"\n{kind}, {len(clips)} clips")
        show(filters(clips))


if __name__ == "__main__":
    main()
