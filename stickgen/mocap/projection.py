"""From a body in space to a stick figure on a plane: facing direction, view, scale and layout."""

import math
from dataclasses import dataclass

import numpy as np

from stickgen.errors import DataError
from stickgen.motion.skeleton import STICK_5, STICK_12, skeleton_of

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
    """One body, or several that move together, as an importer reads it.

    Attributes:
        joints: ``[T, 14, 3]``, the joints of :data:`BODY_JOINTS` in any unit of length; y up, right-handed. Or
            ``[T, 14, 2]``, x and y as a camera saw them: such a body has one view, its own. Several bodies are
            ``[T, A, 14, 3]`` or ``[T, A, 14, 2]``. On a plane the joints may also be all those of
            :data:`~stickgen.motion.skeleton.STICK_12` or :data:`~stickgen.motion.skeleton.STICK_5`, 16 or 6.
        fps: frames a second.
        take: the recording it is cut from; splits never divide a take.
        captions: one or more descriptions.
        action: the fine label ("salsa").
        stickgen_action: name in the action vocabulary, or None where unknown.
        style: how the action is performed ("tired"), "" where unknown.
        clip_id: name of the clip, unique in its file.
        source: id of the data set, "" where unknown.
        subject: who moves, "" where unknown.
        license: under which the motion may be used, in words, "" where unknown.
        split: "train", "val" or "test" where the source fixes it, else "".
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
    subject: str = ""
    license: str = ""
    split: str = ""
    where: str = ""
    height: float | None = None
    floor: float | None = None

    @property
    def flat(self) -> bool:
        """Whether the joints lie on a plane already."""
        return self.joints.shape[-1] == 2


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


def body_height(joints: np.ndarray, percentile: float = 50.0) -> float:
    """Estimate the standing height from bone lengths, so that a crouching clip is not blown up.

    Args:
        joints: ``[T, 14, 3]`` in the order of :data:`BODY_JOINTS`.
        percentile: over time, of the lengths of legs and neck; the median of bones in space, more for bones in a
            picture, which look short where they point at the camera.

    Returns:
        the height in the unit of the joints: shin + thigh + torso + neck, lengthened by heel and crown.

    Raises:
        DataError: the bones have no length.
    """

    def bone(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.percentile(np.linalg.norm(a - b, axis=-1), percentile))

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
    """Draw bodies as stick figures.

    One yaw serves the whole clip, so the figure turns where the body turns and stands still where it stands. Seen
    from the side (yaw 0) x is the mean facing direction: who walks forward walks to +x. From the front (yaw 90) x is
    the body's left, as a viewer opposite sees it. Depth is dropped. Joints on a plane are only scaled and shifted.

    Several bodies share the yaw, that of the first body, and the scale, their mean height, so that they keep their
    distance.

    Args:
        joints: ``[T, 14, 3]``, ``[T, 14, 2]`` or several bodies, at 25 fps and y up; see :class:`Recording`.
        dim: 20 or 48.
        view: "side", "front", or yaw in degrees; of no effect on a plane.
        height: body height in the unit of the joints; estimated where None.
        floor: height of the standing ankles in the unit of the joints; estimated where None.

    Returns:
        float32 ``[T, dim]``, or ``[T, A, dim]`` of several bodies, in body heights; standing ankles at y = 0, the
        pelvis, or the middle of all, starts at x = 0.

    Raises:
        DataError: ``dim`` or ``view`` is unknown, the joints have another shape, are not finite and distinct, or are
            the 6 of the 5-segment figure where ``dim`` is 48.
    """
    names = _joint_names(joints, dim)
    if not np.isfinite(joints).all():
        frame = int(np.argwhere(~np.isfinite(joints))[0, 0])
        raise DataError(f"joints: finite numbers expected, NaN or infinity found in frame {frame}")
    skeleton = skeleton_of(dim)
    joints = np.asarray(joints, dtype=np.float64)
    bodies = joints[:, None] if joints.ndim == 3 else joints
    actors = [bodies[:, actor] for actor in range(bodies.shape[1])]
    scale = float(np.mean([body_height(body) for body in actors])) if height is None else height
    ground = min(floor_height(body) for body in actors) if floor is None else floor
    x = bodies[..., 0] if joints.shape[-1] == 2 else bodies @ _view_axis(actors[0], view)
    flat = np.stack([x, bodies[..., 1] - ground], axis=-1) / scale
    points = {name: flat[..., index, :] for index, name in enumerate(names)}
    if names == BODY_JOINTS:
        points["pelvis"] = (points["left_hip"] + points["right_hip"]) / 2
        points["chest"] = (points["left_shoulder"] + points["right_shoulder"]) / 2
    figure = np.stack([points[name] for name in skeleton.joints], axis=-2)
    figure[..., 0] -= points["pelvis"][0, :, 0].mean()
    frames = np.asarray(skeleton.from_joints(figure), dtype=np.float32)
    return frames[:, 0] if joints.ndim == 3 else frames


def _joint_names(joints: np.ndarray, dim: int) -> tuple[str, ...]:
    """Return what the joints of a recording are.

    Raises:
        DataError: nothing has joints of this shape, or they do not make a figure of ``dim`` numbers.
    """
    known = {3: (BODY_JOINTS,), 2: (BODY_JOINTS, STICK_12.joints, STICK_5.joints)}
    if joints.ndim in (3, 4) and len(joints) and 0 not in joints.shape:
        for names in known.get(joints.shape[-1], ()):
            if len(names) == joints.shape[-2]:
                if names == STICK_5.joints and dim != STICK_5.dim:
                    raise DataError(f"{STICK_5.dim} numbers a frame cannot become {dim}; leave --dim at {STICK_5.dim}")
                return names
    raise DataError(f"joints: shape [T, {len(BODY_JOINTS)}, 3] expected, {list(joints.shape)} found")


def _view_axis(body: np.ndarray, view: str | float) -> np.ndarray:
    """Return the direction ``[3]`` in space that is to the right of a picture."""
    yaw = math.radians(view_yaw(view))
    facing = facing_direction(body)
    left = np.array([facing[2], 0.0, -facing[0]])
    return np.asarray(math.cos(yaw) * facing + math.sin(yaw) * left)


def _joint(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[:, BODY_JOINTS.index(name)]


def _middle(joints: np.ndarray, part: str) -> np.ndarray:
    return (_joint(joints, f"left_{part}") + _joint(joints, f"right_{part}")) / 2
