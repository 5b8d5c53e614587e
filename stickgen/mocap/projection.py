"""From a body in space to a stick figure on a plane: facing direction, view, scale and layout."""

import math
from dataclasses import dataclass

import numpy as np

from stickgen.errors import DataError
from stickgen.motion.skeleton import STICK_12, skeleton_of

BODY_JOINTS: tuple[str, ...] = (
    "neck", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
    "left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle",
)  # fmt: skip
"""The joints every importer delivers; pelvis and chest are the middles of hips and shoulders."""

VIEWS: dict[str, float] = {"side": 0.0, "front": 90.0}
"""Yaw, in degrees, of the named views."""

# The ankle stands at 4 % of a body's height and the middle of the head at 93 % (Drillis and Contini's body segment
# table): what lies between is the bones' share of the whole.
_SKELETAL_SHARE = 0.89


@dataclass(frozen=True)
class Recording:
    """One body in space, as an importer reads it.

    Attributes:
        joints: ``[T, 14, 3]``, the joints of :data:`BODY_JOINTS` in any unit of length; y up, right-handed.
        fps: frames a second.
        take: the recording it is cut from; splits never divide a take.
        captions: one or more descriptions.
        action: the fine label ("salsa").
        stickgen_action: name in the action vocabulary, or None where unknown.
        style: how the action is performed ("tired"), "" where unknown.
        clip_id: name of the clip, unique in its file.
        source: id of the data set, "" where unknown.
        where: file and clip, for messages.
        height: body height in the unit of the joints; None: estimated from the bones.
        floor: height of the standing ankles in the unit of the joints; None: estimated from the clip.
    """

    joints: np.ndarray
    fps: float
    take: str
    captions: tuple[str, ...] = ()
    action: str = ""
    stickgen_action: str | None = None
    style: str = ""
    clip_id: str = ""
    source: str = ""
    where: str = ""
    height: float | None = None
    floor: float | None = None


def view_yaw(view: str | float) -> float:
    """Return the yaw in degrees of a view: "side", "front", or a number of degrees.

    Raises:
        DataError: the view is none of these.
    """
    if isinstance(view, str) and view in VIEWS:
        return VIEWS[view]
    try:
        yaw = float(view)
    except ValueError:
        yaw = math.nan
    if not math.isfinite(yaw):
        raise DataError(f"view {view!r}: side, front or a yaw angle in degrees expected")
    return yaw


def body_height(joints: np.ndarray) -> float:
    """Estimate the standing height from bone lengths, so that a crouching clip is not blown up.

    Args:
        joints: ``[T, 14, 3]`` in the order of :data:`BODY_JOINTS`.

    Returns:
        the height in the unit of the joints: shin + thigh + torso + neck, lengthened by heel and crown.

    Raises:
        DataError: the bones have no length.
    """

    def bone(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.median(np.linalg.norm(a - b, axis=-1)))

    legs = [
        bone(_joint(joints, f"{side}_hip"), _joint(joints, f"{side}_knee"))
        + bone(_joint(joints, f"{side}_knee"), _joint(joints, f"{side}_ankle"))
        for side in ("left", "right")
    ]
    # The spine bends, so its standing length is near the longest pelvis-to-neck distance, not the median.
    spine = float(np.percentile(np.linalg.norm(_joint(joints, "neck") - _middle(joints, "hip"), axis=-1), 90))
    height = (sum(legs) / 2 + spine + bone(_joint(joints, "neck"), _joint(joints, "head"))) / _SKELETAL_SHARE
    if not (math.isfinite(height) and height > 0):
        raise DataError(f"body height {height:g}: joints must be finite and may not all coincide")
    return height


def floor_height(joints: np.ndarray) -> float:
    """Estimate the height of a standing ankle: the 5th percentile over time of the lower ankle's y.

    Args:
        joints: ``[T, 14, 3]`` in the order of :data:`BODY_JOINTS`, y up.
    """
    lower = np.minimum(_joint(joints, "left_ankle")[:, 1], _joint(joints, "right_ankle")[:, 1])
    return float(np.percentile(lower, 5))


def facing_direction(joints: np.ndarray) -> np.ndarray:
    """Return the mean horizontal direction the body faces, a unit vector ``[3]`` with y = 0.

    A frame's direction is at a right angle to its hips and shoulders. Where a body turns all the way round the mean
    says nothing and the first frame that has a direction counts; a body without any (lying on its side) faces +z.

    Args:
        joints: ``[T, 14, 3]`` in the order of :data:`BODY_JOINTS`, y up.
    """
    to_left = sum(
        (_joint(joints, f"left_{part}") - _joint(joints, f"right_{part}") for part in ("hip", "shoulder")),
        start=np.zeros(3),
    )
    facing = np.stack([-to_left[:, 2], np.zeros(len(joints)), to_left[:, 0]], axis=1)
    lengths = np.linalg.norm(facing, axis=1)
    known = lengths > 1e-6 * max(1.0, float(np.abs(joints).max()))
    if not known.any():
        return np.array([0.0, 0.0, 1.0])
    facing = facing[known] / lengths[known, None]
    mean = facing.mean(axis=0)
    if np.linalg.norm(mean) < 0.2:
        mean = facing[0]
    return np.asarray(mean / np.linalg.norm(mean))


def project(
    joints: np.ndarray,
    *,
    dim: int,
    view: str | float = "side",
    height: float | None = None,
    floor: float | None = None,
) -> np.ndarray:
    """Draw a body as a stick figure.

    One yaw serves the whole clip, so the figure turns where the body turns and stands still where it stands. Seen
    from the side (yaw 0) x is the mean facing direction: who walks forward walks to +x. From the front (yaw 90) x is
    the body's left, as a viewer opposite sees it. Depth is dropped.

    Args:
        joints: ``[T, 14, 3]`` at 25 fps in the order of :data:`BODY_JOINTS`, y up.
        dim: 20 or 48.
        view: "side", "front", or yaw in degrees.
        height: body height in the unit of the joints; estimated where None.
        floor: height of the standing ankles in the unit of the joints; estimated where None.

    Returns:
        float32 ``[T, dim]`` in body heights; standing ankles at y = 0, the pelvis starts at x = 0.

    Raises:
        DataError: ``dim`` or ``view`` is unknown, or the joints are not ``[T, 14, 3]``, finite and distinct.
    """
    if joints.ndim != 3 or joints.shape[1:] != (len(BODY_JOINTS), 3) or len(joints) == 0:
        raise DataError(f"joints: shape [T, {len(BODY_JOINTS)}, 3] expected, {list(joints.shape)} found")
    if not np.isfinite(joints).all():
        frame = int(np.argwhere(~np.isfinite(joints))[0, 0])
        raise DataError(f"joints: finite numbers expected, NaN or infinity found in frame {frame}")
    skeleton = skeleton_of(dim)
    joints = np.asarray(joints, dtype=np.float64)
    yaw = math.radians(view_yaw(view))
    facing = facing_direction(joints)
    left = np.array([facing[2], 0.0, -facing[0]])
    axis = math.cos(yaw) * facing + math.sin(yaw) * left
    scale = body_height(joints) if height is None else height
    ground = floor_height(joints) if floor is None else floor

    flat = np.stack([joints @ axis, joints[..., 1] - ground], axis=-1) / scale
    points = {name: flat[:, index] for index, name in enumerate(BODY_JOINTS)}
    points["pelvis"] = (points["left_hip"] + points["right_hip"]) / 2
    points["chest"] = (points["left_shoulder"] + points["right_shoulder"]) / 2
    figure = np.stack([points[name] for name in STICK_12.joints], axis=1)
    figure[..., 0] -= points["pelvis"][0, 0]
    order = [STICK_12.joint(name) for name in skeleton.joints]
    return np.asarray(skeleton.from_joints(figure[:, order]), dtype=np.float32)


def _joint(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[:, BODY_JOINTS.index(name)]


def _middle(joints: np.ndarray, part: str) -> np.ndarray:
    return (_joint(joints, f"left_{part}") + _joint(joints, f"right_{part}")) / 2
