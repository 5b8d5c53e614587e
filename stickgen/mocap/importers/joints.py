"""Finding the joints of a stick figure among the joint names of a file."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.projection import BODY_JOINTS
from stickgen.untrusted import parse_json

UP_AXES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]] = {
    "+x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
    "+y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "+z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}
"""For every up axis, the rotation that turns it to +y. None mirrors, so left stays left."""

# The head joint of most skeletons is the base of the skull. A figure's head is the middle of the skull, about 10 cm
# further for a leg of 82 cm.
_HEAD_PER_LEG = 0.12

# Upper arms come before shoulders: where a file has both, its "shoulder" is the collar bone. Ankles come before feet.
# Names as `_plain` leaves them: lower case, letters and digits only, without a prefix like "mixamorig:" or "Bip01 ".
_SIDED_ALIASES: dict[str, tuple[str, ...]] = {
    "shoulder": ("{s}shldr", "{S}arm", "{S}upperarm", "{s}upperarm", "{s}arm", "{s}shoulder", "{S}shoulder"),
    "elbow": ("{s}forearm", "{S}forearm", "{S}lowerarm", "{s}elbow", "{S}elbow", "{s}lowerarm"),
    "wrist": ("{s}wrist", "{S}wrist", "{s}hand", "{S}hand"),
    "hip": ("{s}thigh", "{S}upleg", "{S}upperleg", "{S}thigh", "{s}hip", "{S}hip", "{s}upleg", "{s}upperleg"),
    "knee": (
        "{s}shin", "{S}leg", "{S}lowerleg", "{S}shin", "{S}calf", "{s}calf", "{s}knee", "{S}knee", "{s}leg",
        "{s}lowerleg",
    ),
    "ankle": ("{s}ankle", "{S}ankle", "{s}foot", "{S}foot"),
}  # fmt: skip
_CENTRE_ALIASES: dict[str, tuple[str, ...]] = {
    "neck": ("neck", "neck1", "neck01", "lowerneck", "spineneck"),
    "head": ("head", "head01", "skull", "headbase"),
}


def read_joint_map(path: Path) -> dict[str, str]:
    """Read a joint-name mapping: a JSON object from names of ours (``left_hip``) to names in the file (``L_Femur``).

    Raises:
        DataError: the file is missing, is no such object, or names a joint that a figure does not have.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: joint map cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(f"{path}: joint map is not JSON: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content.values()):
        raise DataError(f'{path}: a JSON object like {{"left_hip": "LeftUpLeg"}} expected')
    unknown = sorted(set(content) - set(BODY_JOINTS))
    if unknown:
        raise DataError(f"{path}: {', '.join(unknown)}: no joint of the figure; those are {', '.join(BODY_JOINTS)}")
    return content


def find_joints(names: Sequence[str], where: str, joint_map: Mapping[str, str] | None = None) -> dict[str, int]:
    """Find every joint of :data:`~stickgen.mocap.projection.BODY_JOINTS` in a file.

    Recognised without a map: the names of CMU's conversions (``lThigh``, ``LeftUpLeg``), of Mixamo
    (``mixamorig:LeftUpLeg``), of Bandai Namco (``UpperLeg_L``), and plain ones (``l_hip``, ``left_hip``).

    Args:
        names: the joint names of the file.
        where: the file, for messages.
        joint_map: names that override the recognition, from ours to the file's.

    Returns:
        position in ``names`` of every joint.

    Raises:
        DataError: a joint is missing, or the map names one that the file does not have.
    """
    joint_map = joint_map or {}
    plain: dict[str, int] = {}
    for index, name in enumerate(names):
        plain.setdefault(_plain(name), index)
    found: dict[str, int] = {}
    for joint in BODY_JOINTS:
        if joint in joint_map:
            if joint_map[joint] not in names:
                raise DataError(
                    f"{where}: the joint map says {joint} is {joint_map[joint]!r}; the file has {', '.join(names)}"
                )
            found[joint] = list(names).index(joint_map[joint])
            continue
        for alias in _aliases(joint):
            if alias in plain:
                found[joint] = plain[alias]
                break
        else:
            raise DataError(
                f"{where}: no joint found for {joint}; the file has {', '.join(names)}; "
                "name it in a joint map (--joint-map)"
            )
    return found


def body_joints(positions: np.ndarray, names: Sequence[str], found: Mapping[str, int]) -> np.ndarray:
    """Pick the joints of a figure.

    The head joint is taken for the base of the skull, as it is in most skeletons, and moved on to the middle of the
    skull; where the file has a ``head_base`` beside it, it is there already.

    Args:
        positions: ``[T, J, 3]``, all joints of the file.
        names: the joint names of the file.
        found: as :func:`find_joints` returns it.

    Returns:
        float64 ``[T, 14, 3]`` in the order of :data:`~stickgen.mocap.projection.BODY_JOINTS`.
    """
    joints = np.array(positions[:, [found[name] for name in BODY_JOINTS]], dtype=np.float64)
    head_base = [index for index, name in enumerate(names) if _plain(name) == "headbase"]
    if not head_base or found["head"] in head_base:
        point = {name: joints[:, index] for index, name in enumerate(BODY_JOINTS)}
        leg = sum(
            float(np.median(np.linalg.norm(point[a] - point[b], axis=1)))
            for a, b in (("left_hip", "left_knee"), ("left_knee", "left_ankle"))
        )
        along = point["head"] - point["neck"]
        length = np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        joints[:, BODY_JOINTS.index("head")] += along / length * (_HEAD_PER_LEG * leg)
    return joints


def detect_up_axis(joints: np.ndarray) -> str:
    """Return the axis, "+y" for instance, nearest to the way from the ankles to the neck, over the whole clip.

    Args:
        joints: ``[T, 14, 3]`` in the order of :data:`~stickgen.mocap.projection.BODY_JOINTS`. A body that lies down for
            most of the clip deceives it.
    """
    ankles = (joints[:, BODY_JOINTS.index("left_ankle")] + joints[:, BODY_JOINTS.index("right_ankle")]) / 2
    up = np.median(joints[:, BODY_JOINTS.index("neck")] - ankles, axis=0)
    axis = int(np.abs(up).argmax())
    return ("+" if up[axis] >= 0 else "-") + "xyz"[axis]


def turn_up(joints: np.ndarray, up: str, where: str) -> np.ndarray:
    """Turn joints ``[T, 14, 3]`` so that y points up.

    Args:
        joints: as the file has them.
        up: "auto", or one of :data:`UP_AXES` ("z" is "+z").
        where: the file, for messages.

    Raises:
        DataError: ``up`` is none of these.
    """
    name = detect_up_axis(joints) if up == "auto" else up.lower()
    name = name if name[:1] in "+-" else f"+{name}"
    if name not in UP_AXES:
        raise DataError(f"{where}: up axis {up!r}: auto, {', '.join(UP_AXES)} expected")
    return joints @ np.array(UP_AXES[name], dtype=np.float64).T


def _plain(name: str) -> str:
    name = re.sub(r"^.*[:|]", "", name)
    name = re.sub(r"^bip\d*[ _]+", "", name, flags=re.IGNORECASE)
    # A side at the end, as in "UpperLeg_L", goes to the front.
    name = re.sub(r"^(.+)[ _.](l|r|left|right)$", r"\2_\1", name, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _aliases(joint: str) -> list[str]:
    side, _, part = joint.partition("_")
    if part not in _SIDED_ALIASES:
        return list(_CENTRE_ALIASES[joint])
    return [alias.format(s=side[0], S=side) for alias in _SIDED_ALIASES[part]]
