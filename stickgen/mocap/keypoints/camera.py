"""What the camera does is taken out: zoom and distance by the size of the body, pan and tilt by the standing foot."""

import numpy as np
from scipy.linalg import solveh_banded
from scipy.ndimage import gaussian_filter1d
from scipy.signal import savgol_filter

from stickgen.mocap.projection import BODY_JOINTS, body_height

_BONES = np.array(
    [(BODY_JOINTS.index("neck"), BODY_JOINTS.index("head"))]
    + [
        (BODY_JOINTS.index(f"{side}_{a}"), BODY_JOINTS.index(f"{side}_{b}"))
        for side in ("left", "right")
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("shoulder", "hip"), ("hip", "knee"), ("knee", "ankle"))
    ]
)
_HIPS = [BODY_JOINTS.index("left_hip"), BODY_JOINTS.index("right_hip")]
_ANKLES = [BODY_JOINTS.index("left_ankle"), BODY_JOINTS.index("right_ankle")]

# Chosen on eighteen clips for the least error of size and place (docs/video.md).
_SCALE_SECONDS = 2.0  # window of the parabola fitted to the logarithm of the size
_LONG_BONES = 0.8  # quantile over bones, of which those that point at the camera look short
_HEIGHT_PERCENTILE = 75.0  # likewise over time
_PATH_SECONDS = 0.15
_FLOOR_SECONDS = 0.4  # faster changes of the floor are smoothed away
_FLOOR_SHARE = 0.05  # weight of what lies above the floor
_STANDING_HEIGHT = 0.03  # body heights above the lower ankle at which a foot hardly counts as standing
_AGREEMENT = (0.8, 0.4, 0.2, 0.2, 0.2)  # body heights a second, of one round after another
_ROLL = 4.0  # by how much more the faster half counts while the body walks
_ROLLED = 1.08  # the whole way over that of the standing ankles, which the foot's roll shortens
_WALKING = 0.6  # body heights a second, over about two seconds

STILL_SPEED = 0.15
"""Body heights a second below which a foot is at rest in the picture."""

STILL_SHARE = 0.6
"""Share of the frames with a foot at rest from which the camera is taken to stand still."""

STEADY_SIZE = 1.1
"""Largest ratio of body sizes at which a still camera also keeps the floor."""


def body_scale(points: np.ndarray, fps: float) -> np.ndarray:
    """Return how long a body height is in every frame.

    A bone that turns towards the camera looks short and never long, so the longer ones count: in each frame, the upper
    quantile over bones of their length in relation to their usual length, smoothed over two seconds.

    Args:
        points: ``[T, 14, 2]``, all known.
        fps: frames a second.

    Returns:
        ``[T]`` in the unit of the points.

    Raises:
        DataError: the body has no size.
    """
    lengths = np.linalg.norm(points[:, _BONES[:, 0]] - points[:, _BONES[:, 1]], axis=2)
    lengths = np.maximum(lengths, 1e-6 * max(float(lengths.max()), 1e-300))
    window = min(2 * round(_SCALE_SECONDS * fps / 2) + 1, 2 * ((len(points) - 1) // 2) + 1)
    scale = np.ones(len(points))
    for _ in range(4):
        usual = np.quantile(lengths / scale[:, None], _LONG_BONES, axis=0)
        ratio = np.quantile(lengths / usual, _LONG_BONES, axis=1)
        scale = np.exp(savgol_filter(np.log(ratio), window, polyorder=min(2, window - 1)))
    middle = points[:, _HIPS].mean(axis=1, keepdims=True)
    return np.asarray(scale * body_height((points - middle) / scale[:, None, None], _HEIGHT_PERCENTILE))


def remove_camera(points: np.ndarray, scale: np.ndarray, fps: float) -> np.ndarray:
    """Put a body on its own ground: the standing foot stays where it is, the lowest joint stands at 0.

    In relation to the pelvis, a standing foot goes back as fast as the body goes on. So the velocity of the pelvis is
    that of the standing ankle, turned round, whatever the camera does. Which foot stands is found in rounds: at first
    the lower one, then the one that agrees with the velocity so far. As a heel lifts, the ankle rolls forward, so the
    faster half counts more while the body walks. What is left of the roll is a nearly constant share of the way, 8 %,
    which is added. Where a camera stands still, the path in the picture is taken.

    Args:
        points: ``[T, 14, 2]``, y upwards, all known.
        scale: ``[T]``, a body height in the unit of the points.
        fps: frames a second.

    Returns:
        ``[T, 14, 2]`` in body heights; the pelvis starts at x = 0.
    """
    middle = points[:, _HIPS].mean(axis=1)
    body = (points - middle[:, None]) / scale[:, None, None]
    still = camera_stands_still(points, scale, fps)
    seen = np.diff(middle[:, 0]) * 2 / (scale[1:] + scale[:-1])
    steps = seen if still else _ROLLED * _walked(body[:, _ANKLES], fps) / fps
    low = points[..., 1].min(axis=1) / scale
    if still and float(scale.max() / scale.min()) <= STEADY_SIZE:
        floor = np.full(len(points), np.percentile(low, 5))
    else:
        floor = _lower_envelope(low, fps)
    place = np.stack([np.concatenate([[0.0], np.cumsum(steps)]), middle[:, 1] / scale - floor], axis=1)
    return np.asarray(body + place[:, None])


def camera_stands_still(points: np.ndarray, scale: np.ndarray, fps: float) -> bool:
    """Return whether a foot is at rest in the picture for most of the time, as it is where nothing pans.

    Args:
        points: ``[T, 14, 2]``, all known.
        scale: ``[T]``, a body height in the unit of the points.
        fps: frames a second.
    """
    speed = np.abs(np.diff(points[:, _ANKLES, 0], axis=0)) / scale[1:, None] * fps
    return bool((speed.min(axis=1, initial=np.inf) < STILL_SPEED).mean() >= STILL_SHARE) if len(speed) else True


def _walked(ankles: np.ndarray, fps: float) -> np.ndarray:
    """Return the velocity of the pelvis along x ``[T − 1]`` from its ankles ``[T, 2, 2]``, in body heights a second."""
    above = ankles[..., 1] - ankles[..., 1].min(axis=1, keepdims=True)
    standing = np.exp(-(above**2) / (2 * _STANDING_HEIGHT**2))
    prior = np.minimum(standing[1:], standing[:-1]) + 1e-3
    speeds = -np.diff(ankles[..., 0], axis=0) * fps
    weights = prior

    def mean() -> np.ndarray:
        total, count = (
            gaussian_filter1d(values.sum(axis=1), _PATH_SECONDS * fps, mode="nearest")
            for values in (weights * speeds, weights)
        )
        return np.asarray(total / count)

    velocity = mean()
    for tolerance in _AGREEMENT:
        off = speeds - velocity[:, None]
        travel = gaussian_filter1d(velocity, fps, mode="nearest")[:, None]
        tilt = 1 + _ROLL * np.tanh(np.abs(travel) / _WALKING) ** 2 * (off * np.sign(travel) > 0)
        weights = prior * tilt / (1 + (off / tolerance) ** 2) ** 2
        velocity = mean()
    return velocity


def _lower_envelope(heights: np.ndarray, fps: float) -> np.ndarray:
    """Return the floor under heights ``[T]``: slow enough to stay down in a jump, fast enough to follow a camera.

    Asymmetric least squares (Eilers): a smooth curve from which what lies above pulls little and what lies below much.
    Unlike a running percentile, it follows a floor that rises or falls.
    """
    frames = len(heights)
    if frames < 3:
        return np.full(frames, heights.min())
    bends = np.zeros((3, frames))  # second differences squared, its lower diagonals
    bends[0, :-2] += 1
    bends[0, 1:-1] += 4
    bends[0, 2:] += 1
    bends[1, :-2] -= 2
    bends[1, 1:-1] -= 2
    bends[2, :-2] = 1
    bends *= (_FLOOR_SECONDS * fps) ** 4
    weights = np.ones(frames)
    floor = heights
    for _ in range(10):
        system = bends.copy()
        system[0] += weights
        floor = solveh_banded(system, weights * heights, lower=True)
        weights = np.where(heights > floor, _FLOOR_SHARE, 1 - _FLOOR_SHARE)
    return np.asarray(floor)
