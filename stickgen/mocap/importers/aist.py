"""Reading AIST++: dances as SMPL joint rotations in pickles."""

from pathlib import Path

from stickgen.errors import DataError
from stickgen.mocap.importers.arrays import check_joints, recording_of
from stickgen.mocap.importers.file_labels import file_labels
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.pickles import arrays_in, read_pickle
from stickgen.mocap.importers.smpl import JOINT_NAMES, smpl_joints
from stickgen.mocap.projection import Recording

_FPS = 60.0


def read_aist(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a motion of AIST++ as one recording, by forward kinematics with average bones.

    Genre, dancer and take are read from the file's name (``gBR_sBM_cAll_d04_mBR0_ch01``).

    Args:
        path: a pickled dict of ``smpl_poses [T, 72]``, ``smpl_trans [T, 3]`` and ``smpl_scaling [1]``: the place in
            metres is ``smpl_trans / smpl_scaling``, y up, 60 fps.
        options: ``up`` is used, and ``fps`` instead of 60.

    Raises:
        DataError: the file is damaged, not as described, or holds anything but plain values and arrays.
    """
    arrays = arrays_in(read_pickle(path), path, smpl_poses=(None, 3 * 24), smpl_trans=(None, 3), smpl_scaling=(1,))
    for array in arrays.values():
        check_joints(array, str(path))
    scaling = float(arrays["smpl_scaling"][0])
    frames = len(arrays["smpl_poses"])
    if scaling <= 0:
        raise DataError(f"{path}: smpl_scaling: a positive number expected, {scaling:g} found")
    if len(arrays["smpl_trans"]) != frames:
        raise DataError(f"{path}: smpl_trans: {frames} frames expected, {len(arrays['smpl_trans'])} found")
    joints = smpl_joints(arrays["smpl_poses"], arrays["smpl_trans"] / scaling)
    labels = file_labels(path.stem)
    return [
        recording_of(joints, JOINT_NAMES, options.fps or _FPS, path, options, up="y", **{"source": "aist", **labels})
    ]


def _recognises(path: Path, head: bytes) -> bool:
    return head[:1] in (b"\x80", b"(") and b"smpl_" in head and (b"smpl_poses" in head or b"smpl_loss" in head)


AIST = Importer("AIST++ (.pkl)", "SMPL joint rotations of dances, by forward kinematics", _recognises, read_aist)
