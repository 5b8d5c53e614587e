"""A flat walking figure in a picture, for the tests of the cleaning."""

import numpy as np

from stickgen.mocap.projection import BODY_JOINTS
from stickgen.motion.skeleton import STICK_12
from stickgen.sample import sample_sequences

FPS = 25.0

LEGS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle"))


def walking_figure() -> np.ndarray:
    """Joints ``[94, 14, 2]`` in body heights of a figure that walks to +x on y = 0, about 2.4 body heights far."""
    (sequence,) = sample_sequences(1, actions=["walk"], styles=["neutral"], seed=1, dim=48)
    figure = STICK_12.to_joints(sequence["motion"].numpy().astype(float))
    figure = figure[:, [STICK_12.joint(name) for name in BODY_JOINTS]] * (-1, 1)  # this one walks to -x
    return figure - [figure[0, at("left_hip"), 0], 0]


def filmed(figure: np.ndarray, size: float = 300.0) -> np.ndarray:
    """The figure in a picture, in pixels, y upwards."""
    return figure * size + (400, -600)


def at(name: str) -> int:
    return BODY_JOINTS.index(name)


def exchanged(points: np.ndarray, frames: slice, parts: tuple[str, ...]) -> np.ndarray:
    """Left and right of some joints exchanged in some frames."""
    wrong = points.copy()
    left, right = ([at(f"{side}_{part}") for part in parts] for side in ("left", "right"))
    wrong[frames, left + right] = points[frames][:, right + left]
    return wrong


def noise(points: np.ndarray, size: float, seed: int = 0) -> np.ndarray:
    return points + np.random.default_rng(seed).normal(scale=size, size=points.shape)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance of joints."""
    return float(np.nanmean(np.linalg.norm(a - b, axis=-1)))
