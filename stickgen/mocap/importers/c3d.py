"""Reading C3D, the format of marker-based motion capture, through ezc3d (the extra ``c3d``)."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError, StickgenError
from stickgen.mocap.importers.arrays import fill_gaps, recording_of
from stickgen.mocap.importers.c3d_layout import check_c3d
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.projection import BODY_JOINTS, Recording

_LONGEST_GAP = 0.25
"""Seconds that a marker may be hidden for; it is filled in along a straight line."""

# Names end in these, without a subject's prefix ("liu:LFHD"); the first that a file has are taken, their middle where
# several belong together. Joint centres of the Conventional Gait Model come first, then Plug-in Gait's bones, then
# markers on the skin.
_CENTRES: dict[str, tuple[tuple[str, ...], ...]] = {
    "hip": (("{s}HJC",), ("{s}FEP",)),
    "knee": (("{s}KJC",), ("{s}FEO",), ("{s}KNE", "{s}KNM"), ("{s}KNE", "{s}MKNE"), ("{s}KNE",)),
    "ankle": (("{s}AJC",), ("{s}TIO",), ("{s}ANK", "{s}ANM"), ("{s}ANK", "{s}MANK"), ("{s}ANK",)),
    "shoulder": (("{s}SJC",), ("{s}HUP",), ("{s}CLO",), ("{s}SHO",)),
    "elbow": (("{s}EJC",), ("{s}HUO",), ("{s}ELB", "{s}ELBM"), ("{s}ELB", "{s}MELB"), ("{s}ELB",)),
    "wrist": (("{s}WJC",), ("{s}RAO",), ("{s}WRA", "{s}WRB"), ("{s}WRI",)),
    "neck": (("C7", "CLAV"), ("TRXO",), ("LSHO", "RSHO")),
    "head": (("LFHD", "RFHD", "LBHD", "RBHD"), ("HEDO",), ("LFHD", "RFHD"), ("ARIEL",)),
}
_PELVES = (("LASI", "RASI", "LPSI", "RPSI"), ("LFWT", "RFWT", "LBWT", "RBWT"), ("LASI", "RASI", "SACR", "SACR"))
"""Front and back of the pelvis, left and right, from which hip joints are estimated."""


def read_c3d(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a ``.c3d`` file as one recording, or several where markers are hidden for longer than a quarter of a second.

    Joints are, in this order: points named as joints (:func:`~stickgen.mocap.importers.joints.find_joints`, or by the
    joint map), joint centres of the Conventional Gait Model (``LHJC``) or Plug-in Gait's bones (``LFEP``), middles of
    markers on both sides of a joint, single markers of the Plug-in Gait set. Hip joints are estimated from the pelvis'
    markers where they have to be. A single marker lies on the skin, some centimetres off the joint.

    Args:
        path: the file.
        options: ``joint_map`` and ``up`` are used.

    Raises:
        DataError: the file is damaged, or has not the markers of a figure.
        StickgenError: ezc3d is not installed.
    """
    try:
        import ezc3d
    except ImportError:
        raise StickgenError(f"{path}: ezc3d is not installed; pip install 'stickgen[c3d]'") from None
    check_c3d(path)
    try:
        content: Any = ezc3d.c3d(str(path))
        points = np.asarray(content["data"]["points"], dtype=np.float64)[:3].transpose(2, 1, 0)
        parameters = content["parameters"]["POINT"]
        labels = [name.rpartition(":")[2].strip() for name in _all_labels(parameters)]
        fps = float(parameters["RATE"]["value"][0])
    except (RuntimeError, ValueError, LookupError, TypeError, OSError, MemoryError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: not a C3D file that can be read: {reason}") from None
    points[(points == 0).all(axis=2)] = np.nan  # how some programs write a hidden marker
    places = {name: points[:, index] for index, name in reversed(list(enumerate(labels[: points.shape[1]])))}
    joints = _joints(places, options.joint_map, path)
    pieces = fill_gaps(joints, round(_LONGEST_GAP * max(fps, 1)))
    if not pieces:
        raise DataError(f"{path}: no frame in which all markers of a figure are seen or can be filled in")
    plain = ImportOptions(up=options.up)
    return [
        recording_of(
            piece,
            _NAMES,
            fps,
            path,
            plain,
            take=path.stem,
            clip_id=path.stem + (f"_{start:04d}" if len(pieces) > 1 else ""),
        )
        for start, piece in pieces
    ]


_NAMES = (*BODY_JOINTS, "head_base")
"""What :func:`_joints` returns: markers are round the middle of the skull, so the head stays where it is."""


def _joints(places: Mapping[str, np.ndarray], joint_map: Mapping[str, str], path: Path) -> np.ndarray:
    """Return ``[T, 15, 3]``, NaN where a marker is hidden."""
    joints: list[np.ndarray] = []
    missing: list[str] = []
    for joint in BODY_JOINTS:
        place = _joint(joint, places, joint_map)
        if place is None:
            missing.append(joint)
        else:
            joints.append(place)
    if missing:
        raise DataError(
            f"{path}: no marker found for {', '.join(missing)}; the file has {', '.join(places)}; name it in a joint "
            "map (--joint-map)"
        )
    by_name = dict(zip(BODY_JOINTS, joints, strict=True))
    return np.stack([*joints, (by_name["neck"] + by_name["head"]) / 2], axis=1)


def _joint(joint: str, places: Mapping[str, np.ndarray], joint_map: Mapping[str, str]) -> np.ndarray | None:
    if joint in joint_map:
        return places.get(joint_map[joint])
    if joint in places:
        return places[joint]
    side, _, part = joint.rpartition("_")
    for names in _CENTRES[part]:
        wanted = [name.format(s=side[:1].upper()) for name in names]
        if all(name in places for name in wanted):
            return np.asarray(np.mean([places[name] for name in wanted], axis=0))
    if part == "hip":
        for pelvis in _PELVES:
            if all(name in places for name in pelvis):
                return _hip(side, [places[name] for name in pelvis])
    return None


def _hip(side: str, pelvis: list[np.ndarray]) -> np.ndarray:
    """Estimate a hip joint from the markers of the pelvis.

    From the middle of the front markers it lies 24 % of the pelvis' depth behind, 30 % of its width below and 33 % to
    the side (Harrington and others, *Prediction of the hip joint centre in adults, children, and patients with cerebral
    palsy based on magnetic resonance imaging*, 2007; the constant millimetres are left out, since units are not known).
    """
    left, right, back_left, back_right = pelvis
    front, back = (left + right) / 2, (back_left + back_right) / 2
    across = left - right
    width = np.linalg.norm(across, axis=1, keepdims=True)
    ahead = front - back
    ahead = ahead - across * (ahead * across).sum(axis=1, keepdims=True) / np.maximum(width**2, 1e-12)
    depth = np.linalg.norm(ahead, axis=1, keepdims=True)
    up = np.cross(ahead, across) / np.maximum(depth * width, 1e-12)
    sign = 1.0 if side == "left" else -1.0
    return front - 0.24 * ahead - 0.30 * width * up + sign * 0.33 * across


def _all_labels(parameters: Any) -> list[str]:
    """Return the names of all points; LABELS2, LABELS3, … hold those beyond the 255th."""
    names = list(parameters["LABELS"]["value"])
    number = 2
    while f"LABELS{number}" in parameters:
        names += parameters[f"LABELS{number}"]["value"]
        number += 1
    return names


def _recognises(path: Path, head: bytes) -> bool:
    # The second byte is 0x50; the first is the number of a 512-byte block, and the file has that many.
    if len(head) < 512 or head[1] != 0x50 or head[0] < 2:
        return False
    points, scale = struct.unpack_from("<H", head, 2)[0], head[12:16]
    return 0 < points < 5000 and scale != b"\0\0\0\0"


C3D = Importer("C3D (.c3d)", "Markers or joint centres of Plug-in Gait; needs the extra c3d", _recognises, read_c3d)
