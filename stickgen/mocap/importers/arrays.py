"""What importers of arrays share: reading .npy files within limits, checks of joints, recordings made of them."""

import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.joints import body_joints, find_joints, turn_up
from stickgen.mocap.projection import Recording, body_height, floor_height
from stickgen.untrusted import check_fps


def npy_shape(head: bytes) -> tuple[int, ...] | None:
    """Return the shape of a .npy file by its first bytes; None where it is none."""
    try:
        file = io.BytesIO(head)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
        shape, _, _ = read(file)
    except Exception:  # of damaged headers the parser raises what it likes, tokenizer errors too
        return None
    return tuple(shape)


def read_npy(path: Path) -> np.ndarray:
    """Read a .npy file of numbers as float64.

    Raises:
        DataError: it is damaged, shorter than its header says, or holds anything but real numbers.
    """
    try:
        # Mapped first: a header may promise more than the file holds, and memory would be asked for.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: not a .npy file that can be read: {reason}") from None
    if not (np.issubdtype(mapped.dtype, np.floating) or np.issubdtype(mapped.dtype, np.integer)):
        raise DataError(f"{path}: real numbers expected, {mapped.dtype} found")
    return np.asarray(mapped, dtype=np.float64)


def check_joints(joints: np.ndarray, where: str) -> None:
    """Refuse joints ``[T, ..., 3]`` that cannot be used.

    Raises:
        DataError: there are no frames, or one is not finite.
    """
    if not len(joints):
        raise DataError(f"{where}: no frames; remove the file")
    if not np.isfinite(joints).all():
        frame = int(np.argwhere(~np.isfinite(joints))[0, 0])
        raise DataError(f"{where}: frame {frame}: NaN or infinity found; remove or repair the frame")


def checked_fps(fps: float, where: str) -> float:
    """Return a rate that a recording can have.

    Raises:
        DataError: it cannot.
    """
    try:
        check_fps(fps)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    return float(fps)


def recording_of(
    positions: np.ndarray,
    names: Sequence[str],
    fps: float,
    path: Path,
    options: ImportOptions,
    *,
    up: str = "auto",
    take: str = "",
    **facts: Any,
) -> Recording:
    """Make a recording of the joints of a body.

    Args:
        positions: ``[T, J, 3]`` in any unit.
        names: J names.
        fps: frames a second.
        path: the file.
        options: as the importer was given them.
        up: the format's own up axis, used where the options leave it to the file.
        take: the take; "": the file's stem.
        facts: further fields of the recording.

    Raises:
        DataError: there are no frames, numbers that are not finite, joints missing, or a rate that cannot be.
    """
    where = str(facts.get("where") or path)
    check_joints(positions, where)
    joints = body_joints(positions, names, find_joints(names, where, options.joint_map))
    joints = turn_up(joints, up if options.up == "auto" else options.up, where)
    try:
        height, floor = body_height(joints), floor_height(joints)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None
    defaults = {"clip_id": path.stem, "where": where, "height": height, "floor": floor}
    return Recording(joints=joints, fps=checked_fps(fps, where), take=take or path.stem, **{**defaults, **facts})


def pair_of(people: Sequence[Recording]) -> Recording:
    """Return one recording of several people who are recorded together, in the same frames."""
    heights = [person.height for person in people if person.height is not None]
    floors = [person.floor for person in people if person.floor is not None]
    return replace(
        people[0],
        joints=np.stack([person.joints for person in people], axis=1),
        height=float(np.mean(heights)),
        floor=min(floors),
    )


def fill_gaps(joints: np.ndarray, most: int) -> list[tuple[int, np.ndarray]]:
    """Close short gaps in time and cut a recording at the long ones.

    Args:
        joints: ``[T, J, 3]``, NaN where a joint is missing.
        most: frames of a gap that is filled, by a straight line between the places before and after.

    Returns:
        the stretches in which every joint is known, each with its first frame.
    """
    filled = joints.copy()
    for joint in range(joints.shape[1]):
        known = np.flatnonzero(np.isfinite(joints[:, joint]).all(axis=1))
        for before, after in pairwise(known.tolist()):
            if 1 < after - before <= most + 1:
                share = (np.arange(before + 1, after) - before)[:, None] / (after - before)
                step = joints[after, joint] - joints[before, joint]
                filled[before + 1 : after, joint] = joints[before, joint] + share * step
    whole = np.isfinite(filled).all(axis=(1, 2))
    bounds = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(int))).reshape(-1, 2)
    return [(int(start), filled[start:end]) for start, end in bounds]
