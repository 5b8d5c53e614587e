"""Reading the joint rotations of AMASS and of archives in its form (BABEL, Motion-X, …)."""

import zipfile
from pathlib import Path

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.importers.arrays import check_joints, recording_of
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.npz import read_arrays
from stickgen.mocap.importers.smpl import JOINT_NAMES, smpl_joints
from stickgen.mocap.projection import Recording

_RATES = ("mocap_framerate", "mocap_frame_rate", "fps", "frame_rate")
_ENDINGS = ("_poses", "_stageii", "_stagei")
"""What AMASS adds to the names of the takes."""


def read_amass(path: Path, options: ImportOptions) -> list[Recording]:
    """Read an archive of AMASS as one recording.

    The body is computed by forward kinematics with average bones (:mod:`stickgen.mocap.importers.smpl`); no body model
    is needed, and ``betas`` and ``gender`` are not used. The take is the subject's folder and the file's name without
    AMASS's ending.

    Args:
        path: an ``.npz`` with ``poses [T, ≥ 66]`` (or ``root_orient [T, 3]`` and ``pose_body [T, 63]``), ``trans
            [T, 3]`` in metres, z up, and ``mocap_framerate`` or ``mocap_frame_rate``.
        options: ``up`` is used, and ``fps`` where the file has no rate.

    Raises:
        DataError: the file is damaged or not as described.
    """
    # Other arrays may hold Python objects, as those of SMPL-X's markers do.
    content = read_arrays(path, ("poses", "root_orient", "pose_body", "trans", *_RATES))
    if "poses" in content:
        poses = content["poses"]
    else:
        poses = np.concatenate([_frames(content, key, path) for key in ("root_orient", "pose_body")], axis=1)
    trans = content.get("trans", np.zeros(0))
    for name, array, width in (("poses", poses, 3 * len(JOINT_NAMES)), ("trans", trans, 3)):
        if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating) or array.shape[1] < width:
            raise DataError(
                f"{path}: {name}: floats of shape [T, {width} or more] expected, {array.dtype} {list(array.shape)} "
                "found"
            )
    if len(poses) != len(trans) or trans.shape[1] != 3:
        raise DataError(f"{path}: trans: shape [{len(poses)}, 3] expected, {list(trans.shape)} found")
    check_joints(trans, str(path))
    check_joints(poses, str(path))
    stem = path.stem
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    return [
        recording_of(
            smpl_joints(poses, trans),
            JOINT_NAMES,
            _rate(content, path, options),
            path,
            options,
            up="z",
            take=f"{path.parent.name}/{stem}" if path.parent.name else stem,
            clip_id=f"{path.parent.name}/{stem}" if path.parent.name else stem,
            source="amass",
            subject=path.parent.name,
        )
    ]


def _frames(content: dict[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    if key not in content or content[key].ndim != 2:
        raise DataError(f"{path}: no array 'poses', nor {key} of shape [T, …] in its place")
    return content[key]


def _rate(content: dict[str, np.ndarray], path: Path, options: ImportOptions) -> float:
    for key in _RATES:
        if key in content:
            rate = content[key]
            if rate.size != 1 or not np.issubdtype(rate.dtype, np.number):
                raise DataError(f"{path}: {key}: one number expected, {rate.dtype} {list(rate.shape)} found")
            return float(rate.reshape(-1)[0])
    if options.fps is None:
        raise DataError(f"{path}: no {' or '.join(_RATES[:2])}; give the frames a second (--fps)")
    return options.fps


def array_names(path: Path, head: bytes) -> set[str]:
    """Return the names of the arrays of a NumPy archive without reading them; {} of anything else."""
    if not head.startswith(b"PK"):
        return set()
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError, LookupError, ValueError):
        return set()


def _recognises(path: Path, head: bytes) -> bool:
    names = array_names(path, head)
    return "trans" in names and ("poses" in names or {"root_orient", "pose_body"} <= names)


AMASS = Importer(
    "AMASS and BABEL (.npz)", "SMPL joint rotations, by forward kinematics with average bones", _recognises, read_amass
)
