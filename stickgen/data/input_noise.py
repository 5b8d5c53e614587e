"""What is done to a clip's input, and asked of the next frame, so that a model comes back from errors of its own.

In training every frame read is true, in a rollout every frame is the model's own, with errors that add up: figures
shrink and grow, joints come apart, strides grow small. Noise against that: Sanchez-Gonzalez et al. 2020,
arXiv:2002.09405. Theirs is a random walk, wholly to be undone in one step. Here white noise is undone at once, but a
drift, which is far larger, over some frames, with the motion going on meanwhile: otherwise its undoing would be nearly
all that is learnt.
"""

import math

import numpy as np
import torch
from torch import Tensor

from stickgen.motion.skeleton import FPS, skeleton_of

MEMORY_SECONDS = 1.0
"""How long a drift lasts: of the order of the errors that grow unnoticed in a rollout."""

KEPT = 0.9
"""Share of a drift that is left in the frame asked for: it is gone to a third after ten frames."""

STRETCH = 3.0
"""Drift of the figure's size, as a share of it, against that of a number in body heights."""

SWING = 10.0
"""The same of how far the figure moves out of its mean pose."""

SLIDE = 20.0
"""Drift of the figure's speed along x, in body heights a second, against that of a number."""


def disturbance(motion: Tensor, noise: float, drift: float, seed: int) -> tuple[Tensor, Tensor]:
    """Draw what is added to a clip where it is read, and where it is the target.

    White noise is what one prediction is off by. A drift begins at nothing, as in a rollout, and moves smoothly: every
    number by its own, as shared joints too come apart; the figure's size, about the ground below its pelvis; and how
    far it moves out of the clip's mean pose, since what is uncertain of a stride is averaged away. Along x the figure's
    speed drifts, and only that is to be undone, for no frame tells where the figure should be.

    Args:
        motion: ``[T, D]``.
        noise: standard deviation of the white noise, in body heights.
        drift: standard deviation of the drift, likewise, once it has built up.
        seed: of the draw.

    Returns:
        two float32 ``[T, D]``: to be added to the frames as input, and to the frames as target.
    """
    frames, dim = motion.shape
    rng = np.random.default_rng(seed)
    white = noise * rng.standard_normal((frames, dim))
    path = smooth_path(rng.standard_normal((frames, dim + 3)))
    own, size, swing, speed = np.split(path, [dim, dim + 1, dim + 2], axis=1)
    own[:, 0::2] -= own[:, 0::2].mean(axis=1, keepdims=True)
    skeleton = skeleton_of(dim)
    pose = motion.double().numpy().copy()
    pose[:, 0::2] -= skeleton.to_joints(pose)[:, skeleton.joint("pelvis"), :1]
    # At least a tenth of the movement is left, for it to be told what there was.
    swing = np.maximum(SWING * drift * swing, -0.9)
    drifted = drift * (own + STRETCH * size * pose) + swing * (pose - pose.mean(axis=0))
    place = np.zeros_like(drifted)
    place[:, 0::2] = np.cumsum(SLIDE * drift * speed / FPS, axis=0)
    read = torch.from_numpy((white + drifted + place).astype(np.float32))
    return read, asked_of(torch.from_numpy(drifted.astype(np.float32)), torch.from_numpy(place.astype(np.float32)))


def asked_of(drifted: Tensor, place: Tensor) -> Tensor:
    """Return what is added to the target, given how far the frames that are read are off.

    Args:
        drifted: ``[T, …]``, how far the pose is off; :data:`KEPT` of it is left in the next frame.
        place: ``[T, …]``, how far the whole figure is: it goes on from there, at the clip's own speed.
    """
    asked = torch.zeros_like(drifted)
    asked[1:] = (KEPT * drifted + place)[:-1]
    return asked


def smooth_path(steps: np.ndarray) -> np.ndarray:
    """Filter white noise ``[T, N]`` twice with a memory of :data:`MEMORY_SECONDS`, from a start at nothing.

    A second-order autoregression with a double root k; divided by its stationary deviation, the square root of
    (1 + k²) / (1 − k²)³, so that it is of size one once it has built up.
    """
    k = math.exp(-1 / (FPS * MEMORY_SECONDS))
    path = np.zeros_like(steps)
    for t in range(1, len(steps)):
        path[t] = 2 * k * path[t - 1] - (k * k * path[t - 2] if t > 1 else 0) + steps[t]
    return path / math.sqrt((1 + k**2) / (1 - k**2) ** 3)
