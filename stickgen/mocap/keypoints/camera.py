"""What the camera did is taken out: zoom and distance by the size of the body, pan by the foot that stands."""

import numpy as np
from scipy.ndimage import gaussian_filter1d, minimum_filter1d

from stickgen.mocap.projection import BODY_JOINTS, body_height

_BONES = tuple(
    (f"{side}_{a}", f"{side}_{b}")
    for side in ("left", "right")
    for a, b in (
        ("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"), ("shoulder", "hip"),
    )
)  # fmt: skip


def _at(points, name):
    return points[:, BODY_JOINTS.index(name)]


def relative_scale(points, fps, seconds=1.0, quantile=0.7):
    lengths = np.stack([np.linalg.norm(_at(points, a) - _at(points, b), axis=1) for a, b in _BONES], axis=1)
    # relative to own typical
    s = np.ones(len(points))
    for _ in range(4):
        ref = np.quantile(lengths / s[:, None], 0.8, axis=0)
        raw = np.quantile(lengths / ref, quantile, axis=1)
        s = np.exp(gaussian_filter1d(np.log(raw), seconds * fps / 2, mode="nearest"))
    return s / np.median(s)
