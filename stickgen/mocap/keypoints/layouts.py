"""Which keypoint is which joint, in the layouts of the common pose estimators."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.projection import BODY_JOINTS

MIN_CONFIDENCE = 0.3
"""Confidence from which a keypoint counts."""

NECK_SHARE = 0.225
"""Place of the neck between the middle of the shoulders (0) and the middle of the head (1).

Layouts have no neck, or one that is the middle of the shoulders. Measured on 211 clips of motion capture, where the
neck lies within 1 % of a body height of this line.
"""


@dataclass(frozen=True)
class Layout:
    """The keypoints of an estimator.

    Attributes:
        name: as its authors write it.
        size: number of keypoints.
        index: position of the nose, the ears, and each limb joint of
            :data:`~stickgen.mocap.projection.BODY_JOINTS`.
    """

    name: str
    size: int
    index: Mapping[str, int]


_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def _layout(
    name: str, size: int, *, nose: int, ears: tuple[int, int], left: Sequence[int], right: Sequence[int]
) -> Layout:
    sides = zip(("left", "right"), ears, (left, right), strict=True)
    index = {"nose": nose}
    for side, ear, limbs in sides:
        index[f"{side}_ear"] = ear
        index.update({f"{side}_{part}": at for part, at in zip(_LIMBS, limbs, strict=True)})
    return Layout(name, size, index)


COCO_17 = _layout(
    "COCO-17", 17, nose=0, ears=(3, 4), left=(5, 7, 9, 11, 13, 15), right=(6, 8, 10, 12, 14, 16)
)  # fmt: skip
BODY_25 = _layout(
    "BODY_25", 25, nose=0, ears=(18, 17), left=(5, 6, 7, 12, 13, 14), right=(2, 3, 4, 9, 10, 11)
)  # fmt: skip
MEDIAPIPE_33 = _layout(
    "MediaPipe-33", 33, nose=0, ears=(7, 8), left=(11, 13, 15, 23, 25, 27), right=(12, 14, 16, 24, 26, 28)
)  # fmt: skip

LAYOUTS: tuple[Layout, ...] = (COCO_17, BODY_25, MEDIAPIPE_33)


@dataclass(frozen=True)
class Keypoints:
    """The people in the frames of one video, as an estimator found them.

    Attributes:
        layout: which keypoint is which.
        frames: of every frame ``[P, K, 3]``, its P people: x to the right and y downwards in any one unit of length
            (pixels), and the confidence. A frame without people has P = 0.
        fps: frames a second.
        where: the file, for messages.
    """

    layout: Layout
    frames: Sequence[np.ndarray]
    fps: float
    where: str


def layout_of(size: int, where: str) -> Layout:
    """Return the layout that has this many keypoints.

    Raises:
        DataError: there is none.
    """
    for layout in LAYOUTS:
        if layout.size == size:
            return layout
    known = ", ".join(f"{layout.size} ({layout.name})" for layout in LAYOUTS)
    raise DataError(f"{where}: unknown layout: {size} keypoints a person; {known} expected")


def gate(people: np.ndarray, min_confidence: float) -> np.ndarray:
    """Return the keypoints that an estimator is sure of.

    Args:
        people: ``[P, K, 3]``: x, y, confidence.
        min_confidence: least confidence of a keypoint.

    Returns:
        float64 ``[P, K, 2]``, NaN where the confidence is less or a number is not finite.
    """
    points = np.array(people[..., :2], dtype=np.float64)
    known = (people[..., 2] >= min_confidence) & np.isfinite(points).all(axis=-1)
    points[~known] = np.nan
    return points


def body_points(points: np.ndarray, layout: Layout) -> np.ndarray:
    """Return the joints of a figure.

    The head is the middle of the ears, one ear where the other is hidden, or the nose where both are. The neck lies on
    the line from the middle of the shoulders to the head (:data:`NECK_SHARE`).

    Args:
        points: ``[P, K, 2]``, y downwards, NaN where unknown.
        layout: of the keypoints.

    Returns:
        ``[P, 14, 2]`` in the order of :data:`~stickgen.mocap.projection.BODY_JOINTS`, y upwards, NaN where unknown.
    """
    found = {name: points[:, at] * (1.0, -1.0) for name, at in layout.index.items()}
    left, right = found["left_ear"], found["right_ear"]
    head = np.where(np.isnan(left), right, np.where(np.isnan(right), left, (left + right) / 2))
    head = np.where(np.isnan(head), found["nose"], head)
    shoulders = (found["left_shoulder"] + found["right_shoulder"]) / 2
    found |= {"head": head, "neck": shoulders + NECK_SHARE * (head - shoulders)}
    return np.stack([found[name] for name in BODY_JOINTS], axis=1)


def body_size(joints: np.ndarray) -> float:
    """Return the larger side of the box around the known joints ``[J, 2]``; 0 where there are fewer than two."""
    known = joints[~np.isnan(joints).any(axis=-1)]
    return float(np.ptp(known, axis=0).max()) if len(known) else 0.0


MEDIAPIPE_NAMES: tuple[str, ...] = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb",
    "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
"""MediaPipe's landmarks in their order; files name them, in any case and with or without underscores."""
