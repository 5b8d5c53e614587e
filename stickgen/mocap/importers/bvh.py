"""Reading BVH motion capture through pybvh (the extra ``bvh``)."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError, StickgenError
from stickgen.files import missing_file, temporary_folder
from stickgen.mocap.importers.bvh_layout import canonical_bvh
from stickgen.mocap.importers.file_labels import file_labels
from stickgen.mocap.importers.hundred_styles import TABLE, frame_cut, tables_beside
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.joints import body_joints, find_joints, turn_up
from stickgen.mocap.projection import Recording, body_height, floor_height
from stickgen.untrusted import check_fps


def read_bvh(path: Path, options: ImportOptions | None = None) -> list[Recording]:
    """Read a BVH file as one recording, whose take is the file's name.

    Caption, labels and take are read from the name where it is one of a known data set
    (:mod:`stickgen.mocap.importers.file_labels`); else there is no caption. Of 100STYLE, only the frames that its table
    keeps are read.

    The unit of length does not matter, since figures are scaled to their own height.

    Args:
        path: the file.
        options: ``joint_map``, ``up`` and ``skip_seconds`` are used.

    Raises:
        DataError: the file is missing, damaged, has not all the joints of a figure, or is over before
            ``skip_seconds``.
        StickgenError: pybvh is not installed.
    """
    options = options or ImportOptions()
    names, positions, frame_time = read_positions(path)
    if not (math.isfinite(frame_time) and frame_time > 0):
        raise DataError(f"{path}: Frame Time: a positive number expected, {frame_time:g} found")
    try:
        check_fps(1 / frame_time)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: Frame Time: {frame_time:g} s are {error}") from None
    if not np.isfinite(positions).all():
        frame = int(np.argwhere(~np.isfinite(positions))[0, 0])
        raise DataError(f"{path}: frame {frame}: NaN or infinity found; remove or repair the frame")
    skipped = round(options.skip_seconds / frame_time)
    if skipped >= len(positions):
        raise DataError(
            f"{path}: {len(positions)} frames of {frame_time:g} s are over before the {options.skip_seconds:g} s that "
            "are dropped at the start"
        )
    labels = file_labels(path.stem)
    kept = frame_cut(path) if labels.get("source") == "100style" else slice(None)
    positions = positions[skipped:] if kept.start is None else positions[kept]
    if not len(positions):
        raise DataError(f"{path}: no frames from {kept.start} to {kept.stop}, which its {TABLE} keeps")
    joints = body_joints(positions, names, find_joints(names, str(path), options.joint_map))
    joints = turn_up(joints, options.up, str(path))
    try:
        height = body_height(joints)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return [
        Recording(
            joints=joints,
            fps=1 / frame_time,
            clip_id=path.stem,
            where=str(path),
            height=height,
            floor=floor_height(joints),
            **{"take": path.stem, **labels},
        )
    ]


def read_positions(path: Path) -> tuple[list[str], np.ndarray, float]:
    """Read the place of every joint in every frame.

    Returns:
        the joint names, without End Sites; float64 ``[T, J, 3]`` in the unit and axes of the file; seconds a frame.

    Raises:
        DataError: the file is missing or damaged.
        StickgenError: pybvh is not installed.
    """
    try:
        import pybvh
    except ImportError:
        raise StickgenError(f"{path}: pybvh is not installed; pip install 'stickgen[bvh]'") from None
    if not path.is_file():
        raise DataError(missing_file(path))
    text = path.read_text(encoding="utf-8", errors="replace")
    canonical = canonical_bvh(text, str(path))
    with temporary_folder() as folder:
        scratch = folder / "canonical.bvh"
        scratch.write_text(text if canonical is None else canonical[0], encoding="utf-8")
        try:
            # A given up axis spares pybvh's own guess, which is not used here.
            motion: Any = pybvh.read_bvh_file(scratch, world_up="+y")
        except (
            ValueError,
            LookupError,
            TypeError,
            ArithmeticError,
        ) as error:  # it takes words without counting them
            reason = (str(error).strip() or "unreadable").splitlines()[0].replace(str(scratch), path.name)
            raise DataError(f"{path}: not a BVH file that can be read: {reason}") from None
    joints = [index for index, node in enumerate(motion.nodes) if not node.is_end_site()]
    if canonical is not None and canonical[1]:
        positions = _place(motion, {joints[number]: moved for number, moved in canonical[1].items()})
    else:
        positions = motion.node_positions()
    return [motion.nodes[index].name for index in joints], positions[:, joints], float(motion.frame_time)


def _place(motion: Any, translations: dict[int, np.ndarray]) -> np.ndarray:
    """Forward kinematics with bones that move: ``[T, N, 3]``.

    Args:
        motion: a ``pybvh.Bvh``.
        translations: for a node, its place relative to its parent, ``[T, 3]``.
    """
    from pybvh.rotations import euler_to_rotmat

    topology = motion.fk_topology
    local = euler_to_rotmat(motion.joint_angles, topology.euler_orders)
    frames, nodes = len(local), len(topology.offsets)
    turned = np.empty((frames, nodes, 3, 3))
    positions = np.empty((frames, nodes, 3))
    for node, (parent, joint) in enumerate(zip(topology.parent_idx, topology.joint_idx, strict=True)):
        if parent < 0:
            positions[:, node], turned[:, node] = motion.root_pos, local[:, joint]
            continue
        offset = translations.get(node, np.broadcast_to(topology.offsets[node], (frames, 3)))
        positions[:, node] = positions[:, parent] + np.einsum("tij,tj->ti", turned[:, parent], offset)
        if joint >= 0:
            turned[:, node] = turned[:, parent] @ local[:, joint]
    return positions


def _recognises(path: Path, head: bytes) -> bool:
    return re.match(rb"(\xef\xbb\xbf)?\s*HIERARCHY\b", head, re.IGNORECASE) is not None


BVH = Importer(
    "BVH", "One skeleton a file, any rotation order, channel order and unit", _recognises, read_bvh, tables_beside
)
