"""Reading Acclaim motion capture: a motion in an .amc file, its skeleton in an .asf file beside it."""

import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.importers.arrays import recording_of
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.projection import BODY_JOINTS, Recording

_FPS = 120.0
"""Of CMU's files; an .amc does not record its rate."""

_BONES: dict[str, str] = {
    "neck": "thorax", "head": "upperneck", "shoulder": "clavicle", "elbow": "humerus", "wrist": "radius",
    "hip": "hipjoint", "knee": "femur", "ankle": "tibia",
}  # fmt: skip
"""Bones whose ends are a figure's joints; those of the sides begin with l or r."""

_TURNS, _SHIFTS = ("rx", "ry", "rz"), ("tx", "ty", "tz")


@dataclass
class _Bone:
    """A bone at rest.

    Attributes:
        offset: ``[3]``, from its start to its end.
        frame: ``[3, 3]``, from the bone's axes to the skeleton's.
        dof: its channels, in the order of the motion's numbers.
        parent: the bone it hangs on.
    """

    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    frame: np.ndarray = field(default_factory=lambda: np.eye(3))
    dof: tuple[str, ...] = ()
    parent: str = ""


def read_amc(path: Path, options: ImportOptions) -> list[Recording]:
    """Read an ``.amc`` file as one recording without captions.

    The skeleton is ``<name>.asf``, or that of the subject (``02.asf`` of ``02_01.amc``), or the folder's only one.

    Args:
        path: the motion.
        options: ``joint_map`` (from ours to the bones at whose ends the joints are) and ``up`` are used, and ``fps``
            instead of CMU's 120.

    Raises:
        DataError: a file is damaged, the skeleton is missing, or the two do not fit each other.
    """
    skeleton = _skeleton_path(path)
    bones = _read_asf(skeleton)
    frames = _read_amc(path, bones)
    ends = _ends(bones, frames)
    joints = {joint: _bone_of(joint) for joint in BODY_JOINTS} | dict(options.joint_map)
    for joint, bone in joints.items():
        if bone not in ends:
            raise DataError(
                f"{skeleton}: no bone {bone!r}, at whose end {joint} is; the file has {', '.join(bones)}; name another "
                "in a joint map (--joint-map)"
            )
    positions = np.stack([ends[joints[joint]] for joint in BODY_JOINTS], axis=1)
    plain = replace(options, joint_map={})
    return [recording_of(positions, BODY_JOINTS, options.fps or _FPS, path, plain)]


def _bone_of(joint: str) -> str:
    side, _, part = joint.partition("_")
    return f"{side[0]}{_BONES[part]}" if part else _BONES[joint]


def _skeletons_beside(path: Path) -> list[Path]:
    return [file for file in sorted(path.parent.iterdir()) if file.suffix.lower() == ".asf"]


def _skeleton_path(path: Path) -> Path:
    folder = _skeletons_beside(path)
    for stem in (path.stem, path.stem.rpartition("_")[0]):
        for file in folder:
            if file.stem == stem:
                return file
    if len(folder) == 1:
        return folder[0]
    raise DataError(f"{path}: no skeleton {path.stem}.asf beside it; put it there")


def _read_asf(path: Path) -> dict[str, _Bone]:
    """Return the bones by name, parents before children; the root is one of no length."""
    sections = _sections(path)
    radians = any(line.lower().split() == ["angle", "rad"] for line in sections.get("units", ()))
    unit = 1.0 if radians else math.pi / 180
    root = {words[0].lower(): words[1:] for words in map(str.split, sections.get("root", ()))}
    order = [*(root.get("axis") or ["XYZ"]), "XYZ"][0]
    bones = {
        "root": _Bone(
            frame=_turn(_numbers(root.get("orientation", ["0", "0", "0"]), 3, path, "orientation") * unit, order, path),
            dof=_channels(root.get("order", [*_SHIFTS, *_TURNS]), (*_SHIFTS, *_TURNS), path),
        )
    }
    entry: dict[str, list[str]] = {}
    for words in map(str.split, sections.get("bonedata", ())):
        if words[0].lower() == "begin":
            entry = {}
        elif words[0].lower() != "end":
            entry[words[0].lower()] = words[1:]
            continue
        if "name" not in entry or not entry["name"]:
            continue
        axis = entry.get("axis", ["0", "0", "0", "XYZ"])
        bones[entry["name"][0]] = _Bone(
            offset=_numbers(entry.get("direction", []), 3, path, "direction")
            * _numbers(entry.get("length", []), 1, path, "length"),
            frame=_turn(_numbers(axis[:3], 3, path, "axis") * unit, [*axis[3:], "XYZ"][0], path),
            dof=_channels(entry.get("dof", []), _TURNS, path),
        )
    known = ["root"]
    for words in map(str.split, sections.get("hierarchy", ())):
        if words[0].lower() in ("begin", "end"):
            continue
        for name in words[1:]:
            if words[0] not in known or name not in bones or name in known:
                raise DataError(
                    f"{path}: hierarchy: {' '.join(words)[:80]!r}: each bone once, after its parent, expected"
                )
            bones[name].parent = words[0]
            known.append(name)
    return {name: bones[name] for name in known}


def _read_amc(path: Path, bones: dict[str, _Bone]) -> dict[str, np.ndarray]:
    """Return the numbers ``[T, channels]`` of every bone that has some, angles in radians."""
    found: dict[str, list[list[str]]] = {}
    unit, frames = math.pi / 180, 0
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            unit = 1.0 if words[0].upper() == ":RADIANS" else unit
        elif len(words) == 1 and words[0].isdigit():
            frames += 1
        elif frames == 0 or words[0] not in bones:
            raise DataError(f"{path}: line {number}: {words[0][:40]!r} is no bone of the skeleton")
        else:
            of_bone = found.setdefault(words[0], [])
            of_bone.append(words[1:])
            if len(words) - 1 != len(bones[words[0]].dof):
                _numbers(words[1:], len(bones[words[0]].dof), path, f"line {number}")
            if len(of_bone) != frames:
                raise DataError(f"{path}: line {number}: {words[0]} in some frames only; the file is damaged")
    motion: dict[str, np.ndarray] = {}
    for name, rows in found.items():
        if len(rows) != frames:
            raise DataError(f"{path}: {name} has {len(rows)} of {frames} frames; the file is truncated")
        flat = _numbers([word for row in rows for word in row], frames * len(bones[name].dof), path, name)
        to_radians = [unit if channel in _TURNS else 1.0 for channel in bones[name].dof]
        motion[name] = flat.reshape(frames, -1) * to_radians
    for name, bone in bones.items():
        if bone.dof and name not in motion:
            raise DataError(f"{path}: no numbers of {name} in {frames} frames; the file is truncated")
    return motion


def _ends(bones: dict[str, _Bone], motion: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the end ``[T, 3]`` of every bone.

    A bone turns about its own axes: ``R = R_parent · C · M · Cᵀ``, where C is its frame and M the product of its
    channels' rotations, the first one applied first; its end is at ``p_parent + R · offset`` (the Acclaim
    specification, as Lander, *Working with Motion Capture File Formats*, Game Developer 1998, explains it).
    """
    frames = len(motion["root"])
    turned: dict[str, np.ndarray] = {}
    ends: dict[str, np.ndarray] = {}
    for name, bone in bones.items():
        local = np.broadcast_to(np.eye(3), (frames, 3, 3))
        shift = np.zeros((frames, 3))
        for index, channel in enumerate(bone.dof if name in motion else ()):
            values = motion[name][:, index]
            if channel in _TURNS:
                local = _about(_TURNS.index(channel), values) @ local
            else:
                shift[:, _SHIFTS.index(channel)] = values
        local = bone.frame @ local @ bone.frame.T
        turned[name] = turned[bone.parent] @ local if bone.parent else local
        ends[name] = ends[bone.parent] + turned[name] @ bone.offset if bone.parent else shift
    return ends


def _about(axis: int, angles: np.ndarray) -> np.ndarray:
    """Return rotations ``[T, 3, 3]`` about one axis."""
    cosine, sine = np.cos(angles), np.sin(angles)
    turns = np.zeros((len(angles), 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    turns[:, axis, axis] = 1
    turns[:, i, i] = turns[:, j, j] = cosine
    turns[:, i, j], turns[:, j, i] = -sine, sine
    return turns


def _turn(angles: np.ndarray, order: str, path: Path) -> np.ndarray:
    """Return the rotation of three angles, the first of the order applied first."""
    if sorted(order.upper()) != ["X", "Y", "Z"]:
        raise DataError(f"{path}: axis: an order like XYZ expected, {order[:40]!r} found")
    turn = np.eye(3)
    for angle, axis in zip(angles, order.upper(), strict=True):
        turn = _about("XYZ".index(axis), np.array([angle]))[0] @ turn
    return turn


def _channels(words: list[str], known: tuple[str, ...], path: Path) -> tuple[str, ...]:
    channels = tuple(word.lower() for word in words)
    for channel in channels:
        if channel not in known or channels.count(channel) > 1:
            raise DataError(f"{path}: channel {channel[:40]!r}: {', '.join(known)}, each once, expected")
    return channels


def _numbers(words: list[str], count: int, path: Path, what: str) -> np.ndarray:
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.array([])
    if len(values) != count or not np.isfinite(values).all():
        raise DataError(f"{path}: {what}: {count} numbers expected, {' '.join(words)[:80]!r} found")
    return values


def _sections(path: Path) -> dict[str, list[str]]:
    """Return the lines of an .asf by the name of their section."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in _lines(path):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            lines = sections.setdefault(words[0][1:].lower(), [])
        else:
            lines.append(line)
    for name in ("bonedata", "hierarchy"):
        if name not in sections:
            raise DataError(f"{path}: not an .asf file: no section :{name}")
    return sections


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def _recognises(path: Path, head: bytes) -> bool:
    lines = [line for line in head.split(b"\n") if line.strip() and not line.startswith(b"#")]
    return bool(lines) and re.match(rb":(FULLY-SPECIFIED|DEGREES|RADIANS)\b", lines[0], re.IGNORECASE) is not None


AMC = Importer(
    "Acclaim (.amc with .asf)", "A motion and the skeleton beside it, 120 fps", _recognises, read_amc, _skeletons_beside
)
