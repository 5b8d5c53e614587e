"""Keypoints of people as a pose estimator finds them in a film: a virtual camera and an estimator's mistakes."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from stickgen.mocap.projection import BODY_JOINTS, facing_direction

COCO_17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip

FACE = {"nose": (0.10, 0.0, -0.02), "left_eye": (0.08, 0.03, 0.02), "right_eye": (0.08, -0.03, 0.02),
        "left_ear": (0.0, 0.07, 0.0), "right_ear": (0.0, -0.07, 0.0)}  # fmt: skip
"""Places from the middle of the head, in metres: forwards, to the left, up."""


@dataclass(frozen=True)
class Faults:
    """What is wrong with a film's keypoints; lengths in body heights of a standing person.

    Attributes:
        pan: the camera follows the person, unsteadily; else it stands still and sees all of the way.
        zoom: focal length at the end over that at the start.
        noise: standard deviation of a keypoint, half of it slow.
        dropped: share of the keypoints lost in bursts of up to 8 frames.
        lost: share of the frames in which nobody is found.
        swapped: share of the frames in which the sides of arms, legs or both are exchanged, in bursts of up to 8 frames.
    """

    pan: bool = True
    zoom: float = 1.4
    noise: float = 0.008
    dropped: float = 0.08
    lost: float = 0.02
    swapped: float = 0.08


def coco_joints(body: np.ndarray) -> np.ndarray:
    """Return the COCO-17 keypoints ``[T, 17, 3]`` in space of a body ``[T, 14, 3]`` in metres, y up."""
    left = body[:, BODY_JOINTS.index("left_shoulder")] - body[:, BODY_JOINTS.index("right_shoulder")]
    left = left / np.linalg.norm(left, axis=1, keepdims=True)
    up = body[:, BODY_JOINTS.index("head")] - body[:, BODY_JOINTS.index("neck")]
    up = up - (up * left).sum(1, keepdims=True) * left
    up = up / np.linalg.norm(up, axis=1, keepdims=True)
    forward = np.cross(left, up)
    head = body[:, BODY_JOINTS.index("head")]
    points = []
    for name in COCO_17:
        if name in FACE:
            f, side, u = FACE[name]
            points.append(head + f * forward + side * left + u * up)
        else:
            points.append(body[:, BODY_JOINTS.index(name)])
    return np.stack(points, axis=1)


def film(bodies, yaw_degrees, faults, fps, rng, distance=6.0, image=(1280, 720)):
    """[T][P,17,3] pixel keypoints. bodies: list of [T,14,3]; first is followed. Camera looks along the normal of the view."""
    body = bodies[0]
    frames = len(body)
    yaw = np.radians(yaw_degrees)
    facing = facing_direction(body)
    left = np.array([facing[2], 0.0, -facing[0]])
    axis = np.cos(yaw) * facing + np.sin(yaw) * left
    normal = np.cross(axis, [0.0, 1.0, 0.0])
    middle = (body[:, BODY_JOINTS.index("left_hip")] + body[:, BODY_JOINTS.index("right_hip")]) / 2
    centre = middle.mean(0)
    eye = np.array([centre[0], 1.3, centre[2]]) + distance * normal
    spread = np.ptp((body - centre) @ axis)
    height = 1.7
    if faults.pan:
        focal0 = 0.55 * image[1] / height * distance
        offset = (middle - centre) @ axis
        lag = gaussian_filter1d(offset, 0.4 * fps, mode="nearest")
        pan = np.arctan2(lag, distance)
        t = np.arange(frames) / fps
        for amp, f in ((0.012, 0.7), (0.005, 1.9)):
            pan = pan + amp * np.sin(2 * np.pi * f * t + rng.uniform(0, 6))
        tilt = -0.06 + sum(a * np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for a, f in ((0.006, 0.6), (0.002, 1.7)))
        tilt = np.asarray(tilt)
    else:
        focal0 = min(0.55 * image[1] / height * distance, 0.8 * image[0] / max(spread, 1e-3) * distance)
        pan = np.zeros(frames)
        tilt = np.full(frames, -0.06)
    ramp = np.linspace(0, 1, frames)
    ramp = ramp * ramp * (3 - 2 * ramp)
    focal = focal0 * faults.zoom ** (ramp - (0.5 if faults.zoom != 1 else 0))
    out = []
    for who in bodies:
        rel = coco_joints(who) - eye
        x, y, z = rel @ axis, rel[..., 1], -(rel @ normal)
        c, s = np.cos(pan)[:, None], np.sin(pan)[:, None]
        x, z = c * x - s * z, s * x + c * z
        c, s = np.cos(tilt)[:, None], np.sin(tilt)[:, None]
        y, z = c * y - s * z, s * y + c * z
        px = image[0] / 2 + focal[:, None] * x / z
        py = image[1] / 2 - focal[:, None] * y / z
        pixel_height = focal * height / distance
        out.append(estimate(np.stack([px, py], -1), pixel_height, faults, rng))
    lost = rng.random(frames) < faults.lost
    result = []
    for t in range(frames):
        people = [o[t] for o in out]
        order = rng.permutation(len(people))
        result.append(np.stack([people[i] for i in order]) if not lost[t] else np.zeros((0, 17, 3)))
    return result


def bursts(frames, share, longest, rng):
    hit = np.zeros(frames, bool)
    while share and hit.mean() < share:
        a = rng.integers(frames)
        hit[a : a + rng.integers(1, longest + 1)] = True
    return hit


def estimate(points, pixel_height, faults, rng):
    frames, n, _ = points.shape
    scale = (faults.noise * pixel_height)[:, None, None]
    white = rng.normal(size=points.shape)
    slow = np.zeros(points.shape)
    for t in range(1, frames):
        slow[t] = 0.8 * slow[t - 1] + 0.6 * rng.normal(size=(n, 2))
    found = points + scale * np.sqrt(0.5) * (white + slow)
    confidence = rng.uniform(0.6, 0.98, size=(frames, n))
    for joint in range(n):
        gone = bursts(frames, faults.dropped, 8, rng)
        found[gone, joint] += rng.normal(size=(gone.sum(), 2)) * 0.15 * pixel_height[gone, None]
        confidence[gone, joint] = rng.uniform(0.02, 0.25, size=gone.sum())
    sides = {"arms": ("shoulder", "elbow", "wrist"), "legs": ("hip", "knee", "ankle")}
    for parts in sides.values():
        hit = bursts(frames, faults.swapped, 8, rng)
        l = [COCO_17.index(f"left_{p}") for p in parts]
        r = [COCO_17.index(f"right_{p}") for p in parts]
        for arr in (found, confidence):
            arr[np.ix_(hit, l + r)] = arr[np.ix_(hit, r + l)]
    return np.concatenate([found, confidence[..., None]], -1)
