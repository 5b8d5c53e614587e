"""Keypoints of people in space, as a pose estimator finds them in a video: a virtual camera, and an estimator's faults.

Bodies are in metres at a known place, so the truth of every frame is known. The camera has perspective, stands 6 m
away, and follows the first person unsteadily while it zooms in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from stickgen.mocap.projection import BODY_JOINTS, facing_direction

COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip

IMAGE = (1280, 720)
"""Width and height of the picture in pixels."""

DISTANCE = 6.0
"""From the camera to the middle of the first person's path, in metres."""

HEIGHT = 1.7
"""Height of a person in metres, the unit of noise and picture."""

_FACE = {
    "nose": (0.10, 0.0, -0.02), "left_eye": (0.08, 0.03, 0.02), "right_eye": (0.08, -0.03, 0.02),
    "left_ear": (0.0, 0.07, 0.0), "right_ear": (0.0, -0.07, 0.0),
}  # fmt: skip
_LONGEST = 8
_GROUPS = (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
_SHAKE = ((0.012, 0.7), (0.005, 1.9))  # radians and Hz of an unsteady hand
_NOD = ((0.006, 0.6), (0.002, 1.7))


@dataclass(frozen=True)
class Faults:
    """What is wrong with a video's keypoints.

    Attributes:
        pan: the camera follows the person, unsteadily; else it stands still and sees all of the way.
        zoom: focal length at the end divided by that at the start.
        noise: standard deviation of a keypoint in body heights, half of its variance slow.
        dropped: share of the keypoints that are lost, in bursts of up to 8 frames: low confidence, and somewhere else.
        lost: share of the frames in which nobody is found.
        swapped: share of the frames in which the sides of the arms are exchanged, and of the legs, in bursts likewise.
    """

    pan: bool = True
    zoom: float = 1.4
    noise: float = 0.008
    dropped: float = 0.08
    lost: float = 0.02
    swapped: float = 0.08


NO_FAULTS = Faults(pan=False, zoom=1.0, noise=0.0, dropped=0.0, lost=0.0, swapped=0.0)


def view_axis(body: np.ndarray, yaw: float) -> np.ndarray:
    """Return the direction ``[3]`` that is to the right of the picture, as the projection of a data file defines it.

    Args:
        body: ``[T, 14, 3]``.
        yaw: degrees; 0 from the side, 90 from the front.
    """
    facing = facing_direction(body)
    angle = np.radians(yaw)
    return np.cos(angle) * facing + np.sin(angle) * np.array([facing[2], 0.0, -facing[0]])


def passer_by(body: np.ndarray, followed: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Return a body that passes the followed person: 1.2 m behind, the other way, so that they meet in the picture.

    Args:
        body: ``[T, 14, 3]``.
        followed: ``[T', 14, 3]``.
        axis: to the right of the picture.
    """
    facing, along = facing_direction(body), facing_direction(followed)
    turn = np.arctan2(-along[0], -along[2]) - np.arctan2(facing[0], facing[2])
    c, s = np.cos(turn), np.sin(turn)
    turned = (body - body.mean(axis=(0, 1))) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T
    behind = -np.cross(axis, [0.0, 1.0, 0.0])
    place = followed.mean(axis=(0, 1)) + 1.2 * behind
    turned[..., 0] += place[0]
    turned[..., 2] += place[2]
    turned[..., 1] += body[..., 1].mean()
    return turned


def film(
    bodies: Sequence[np.ndarray], axis: np.ndarray, faults: Faults, fps: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return of every frame its people's keypoints ``[P, 17, 3]``: x, y downwards in pixels, and confidence.

    Args:
        bodies: of every person ``[T, 14, 3]`` in metres, y up; the camera follows the first.
        axis: direction ``[3]`` in space that is to the right of the picture.
        faults: what goes wrong.
        fps: frames a second.
        rng: of all that is drawn. People are listed in a random order.
    """
    followed = bodies[0]
    frames = len(followed)
    normal = np.cross(axis, [0.0, 1.0, 0.0])
    hips = [BODY_JOINTS.index(f"{side}_hip") for side in ("left", "right")]
    path = followed[:, hips].mean(axis=1)
    middle = path.mean(axis=0)
    eye = np.array([middle[0], 1.3, middle[2]]) + DISTANCE * normal
    time = np.arange(frames) / fps
    pan, tilt = np.zeros(frames), np.full(frames, -0.06)
    focal = 0.55 * IMAGE[1] / HEIGHT * DISTANCE
    if faults.pan:
        pan += np.arctan2(gaussian_filter1d((path - middle) @ axis, 0.4 * fps, mode="nearest"), DISTANCE)
        pan += _waves(_SHAKE, time, rng)
        tilt += _waves(_NOD, time, rng)
    else:
        width = np.ptp((followed - middle) @ axis)
        focal = min(focal, 0.8 * IMAGE[0] / max(width, 1e-3) * DISTANCE)
    ramp = np.linspace(0, 1, frames)
    zoom = focal * faults.zoom ** (ramp**2 * (3 - 2 * ramp) - 0.5)
    people = []
    for body in bodies:
        n = min(len(body), frames)
        x, y, depth = (part @ direction for part, direction in _camera_axes(_coco(body[:n]) - eye, axis, normal))
        x, depth = _rotate(x, depth, pan[:n])
        y, depth = _rotate(y, depth, tilt[:n])
        scale = zoom[:n, None] / depth
        points = np.stack([IMAGE[0] / 2 + scale * x, IMAGE[1] / 2 - scale * y], axis=-1)
        people.append(estimate(points, zoom[:n] * HEIGHT / DISTANCE, faults, rng))
    lost = rng.random(frames) < faults.lost
    listed = []
    for frame in range(frames):
        seen = [one[frame] for one in people if frame < len(one) and not lost[frame]]
        listed.append(np.stack([seen[i] for i in rng.permutation(len(seen))]) if seen else np.zeros((0, 17, 3)))
    return listed


def estimate(points: np.ndarray, height: np.ndarray, faults: Faults, rng: np.random.Generator) -> np.ndarray:
    """Return keypoints ``[T, 17, 3]`` as an estimator finds them.

    Args:
        points: the true ones, ``[T, 17, 2]`` in pixels.
        height: of a body, ``[T]`` in pixels.
        faults: what goes wrong.
        rng: of all that is drawn.
    """
    frames, joints, _ = points.shape
    quick, slow = rng.normal(size=points.shape), np.zeros(points.shape)
    for frame in range(1, frames):
        slow[frame] = 0.8 * slow[frame - 1] + 0.6 * rng.normal(size=(joints, 2))
    found = points + (faults.noise * height)[:, None, None] * np.sqrt(0.5) * (quick + slow)
    confidence = rng.uniform(0.6, 0.98, size=(frames, joints))
    for joint in range(joints):
        gone = _bursts(frames, faults.dropped, rng)
        found[gone, joint] += rng.normal(size=(gone.sum(), 2)) * 0.15 * height[gone, None]
        confidence[gone, joint] = rng.uniform(0.02, 0.25, size=gone.sum())
    whole = np.concatenate([found, confidence[..., None]], axis=-1)
    for parts in _GROUPS:
        left, right = ([COCO_NAMES.index(f"{side}_{part}") for part in parts] for side in ("left", "right"))
        swapped = _bursts(frames, faults.swapped, rng)
        whole[np.ix_(swapped, left + right)] = whole[np.ix_(swapped, right + left)]
    return whole


def _coco(body: np.ndarray) -> np.ndarray:
    """Return keypoints ``[T, 17, 3]`` in space of a body ``[T, 14, 3]``, its face turned as its shoulders and neck."""
    joint = {name: body[:, index] for index, name in enumerate(BODY_JOINTS)}
    left = _unit(joint["left_shoulder"] - joint["right_shoulder"])
    up = joint["head"] - joint["neck"]
    up = _unit(up - (up * left).sum(axis=1, keepdims=True) * left)
    frame = np.stack([np.cross(left, up), left, up], axis=1)
    face = {name: joint["head"] + np.array(place) @ frame for name, place in _FACE.items()}
    return np.stack([(joint | face)[name] for name in COCO_NAMES], axis=1)


def _camera_axes(points: np.ndarray, axis: np.ndarray, normal: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(points, axis), (points, np.array([0.0, 1.0, 0.0])), (points, -normal)]


def _rotate(across: np.ndarray, depth: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return c * across - s * depth, s * across + c * depth


def _waves(parts: Sequence[tuple[float, float]], time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.sum([size * np.sin(2 * np.pi * rate * time + rng.uniform(0, 6)) for size, rate in parts], axis=0)


def _bursts(frames: int, share: float, rng: np.random.Generator) -> np.ndarray:
    hit = np.zeros(frames, dtype=bool)
    while hit.mean() < share:
        start = rng.integers(frames)
        hit[start : start + rng.integers(1, _LONGEST + 1)] = True
    return hit


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
