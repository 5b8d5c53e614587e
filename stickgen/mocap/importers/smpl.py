"""Bodies of the SMPL family from their joint rotations, with bones of our own.

SMPL's joints depend on its licensed template and shape space. Neither is needed for a stick figure, which is scaled to
its own height: the bones here are those of an average adult in a T-pose, from the segment lengths of Drillis and
Contini (printed in Winter, *Biomechanics and Motor Control of Human Movement*, chapter 4). The shape coefficients
(``betas``) are not used, so a short-legged person gets average legs.
"""

import numpy as np

JOINT_NAMES: tuple[str, ...] = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
"""The 22 body joints that SMPL, SMPL-H and SMPL-X share, in their order."""

PARENTS: tuple[int, ...] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
"""Position of every joint's parent; -1 for the root."""

_THIGH, _SHIN, _UPPER_ARM, _FOREARM, _HIP, _SHOULDER = 0.245, 0.246, 0.186, 0.146, 0.052, 0.115
"""Shares of the height: bones, and the distance of hip and shoulder joint from the middle. The joint centres of hips
and shoulders lie within the widths of the table, which are the body's outer ones."""

# From the parent; x to the left, y up, z ahead.
_HALF: dict[str, tuple[float, float, float]] = {
    "pelvis": (0, 0, 0), "spine1": (0, 0.055, -0.01), "spine2": (0, 0.065, 0), "spine3": (0, 0.03, 0),
    "neck": (0, 0.1, -0.012), "head": (0, 0.045, 0.02), "left_hip": (_HIP, -0.05, 0),
    "left_knee": (0, -_THIGH, 0), "left_ankle": (0, -_SHIN, -0.01), "left_foot": (0.01, -0.03, 0.075),
    "left_collar": (0.04, 0.065, -0.01), "left_shoulder": (_SHOULDER - 0.04, 0.02, -0.01),
    "left_elbow": (_UPPER_ARM, 0, 0), "left_wrist": (_FOREARM, 0, 0),
}  # fmt: skip

OFFSETS: np.ndarray = np.array(
    [
        np.array(_HALF[name.replace("right_", "left_")], dtype=float) * ([-1, 1, 1] if name.startswith("right") else 1)
        for name in JOINT_NAMES
    ]
)
"""Float64 ``[22, 3]``: every joint's place relative to its parent in the T-pose of a body 1 high, facing +z, y up."""

HEIGHT = 1.72
"""Metres that a body is taken to be high, for the distances it walks."""


def smpl_joints(poses: np.ndarray, trans: np.ndarray, scale: float = HEIGHT) -> np.ndarray:
    """Return the joints of a body by forward kinematics.

    ``R[j] = R[parent] · exp(pose[j])`` and ``p[j] = p[parent] + R[parent] · offset[j]``, the root at ``trans`` (Loper
    and others, *SMPL: A Skinned Multi-Person Linear Model*, 2015, equations 2 to 4).

    Args:
        poses: ``[T, ≥ 66]``, axis-angle rotations of the joints in their order; those of hands and face are not used.
        trans: ``[T, 3]``, the root's place.
        scale: length of the body's height in the unit of ``trans``.

    Returns:
        float64 ``[T, 22, 3]`` in the unit and axes of ``trans``.
    """
    joints = len(JOINT_NAMES)
    local = rotation_matrices(np.asarray(poses[:, : 3 * joints], dtype=np.float64).reshape(-1, joints, 3))
    turned = np.empty_like(local)
    places = np.empty((len(local), joints, 3))
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            turned[:, joint], places[:, joint] = local[:, joint], trans
            continue
        turned[:, joint] = turned[:, parent] @ local[:, joint]
        places[:, joint] = places[:, parent] + turned[:, parent] @ (scale * OFFSETS[joint])
    return places


def rotation_matrices(axis_angle: np.ndarray) -> np.ndarray:
    """Return rotation matrices ``[..., 3, 3]`` of axis-angle vectors ``[..., 3]``, by Rodrigues' formula."""
    angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)
    x, y, z = np.moveaxis(axis_angle / np.maximum(angle, 1e-12), -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    angle = angle[..., None]
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
