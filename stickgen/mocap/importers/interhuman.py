"""Reading InterHuman: two people who move together, who become actors of one clip."""

from pathlib import Path
from typing import Any

import numpy as np

from stickgen.data.clips import checked_text
from stickgen.errors import DataError
from stickgen.mocap.importers.arrays import check_joints, npy_shape, pair_of, read_npy, recording_of
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.pickles import arrays_in, read_pickle
from stickgen.mocap.importers.smpl import JOINT_NAMES, smpl_joints
from stickgen.mocap.projection import Recording

_WIDTH = 492
"""Numbers a frame of ``motions_processed``: 62 joint positions and 51 rotations of 6."""

_FPS = 30.0


def read_interhuman(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a pair of InterHuman as one recording of two bodies.

    Captions are the lines of ``annots/<name>.txt`` beside the folder of the motions. Of ``motions_processed`` the file
    of the first person is read together with that of the second; the second's alone gives no recording.

    Args:
        path: a pickle of ``motions``: dicts ``person1`` and ``person2`` with ``trans [T, 3]``, ``root_orient [T, 3]``
            and ``pose_body [T, 63]`` (SMPL-H, by forward kinematics with average bones), and ``mocap_framerate``; or a
            file ``[T, 492]`` of ``motions_processed/person1``, 30 fps. Metres, z up.
        options: ``up`` is used, and ``fps`` where the file has no rate.

    Raises:
        DataError: a file is damaged, not as described, or its partner is missing.
    """
    if path.suffix.lower() == ".npy" or path.parent.name.startswith("person"):
        if path.parent.name == "person2" and (path.parent.parent / "person1" / path.name).is_file():
            return []
        bodies, fps = [_positions(file) for file in _both(path)], options.fps or _FPS
        texts = path.parents[2] / "annots" / f"{path.stem}.txt"
    else:
        content = read_pickle(path)
        people = [content.get(f"person{number}") if isinstance(content, dict) else None for number in (1, 2)]
        bodies = [_body(person, f"{path}: person{number}", path) for number, person in enumerate(people, start=1)]
        fps = _rate(content, path, options)
        texts = path.parents[1] / "annots" / f"{path.stem}.txt"
    if len(bodies[0]) != len(bodies[1]):
        raise DataError(f"{path}: {len(bodies[0])} frames of the first person, {len(bodies[1])} of the second")
    # Names are bare numbers, which other data sets have too.
    facts: dict[str, Any] = {"take": f"interhuman/{path.stem}", "captions": _captions(texts), "source": "interhuman"}
    people_read = [recording_of(body, JOINT_NAMES, fps, path, options, up="z", **facts) for body in bodies]
    return [pair_of(people_read)]


def _both(path: Path) -> list[Path]:
    files = [path.parent.parent / person / path.name for person in ("person1", "person2")]
    for file in files:
        if not file.is_file():
            raise DataError(f"{path}: no {file} beside it; a pair has one file in each of the two folders")
    return files


def _positions(path: Path) -> np.ndarray:
    array = read_npy(path)
    if array.ndim != 2 or array.shape[1] != _WIDTH:
        raise DataError(f"{path}: shape [T, {_WIDTH}] expected, {list(array.shape)} found")
    return array[:, : 3 * len(JOINT_NAMES)].reshape(-1, len(JOINT_NAMES), 3)


def _body(person: object, where: str, path: Path) -> np.ndarray:
    try:
        arrays = arrays_in(person, path, trans=(None, 3), root_orient=(None, 3), pose_body=(None, 63))
    except DataError as error:
        raise DataError(f"{where}{str(error).removeprefix(str(path))}") from None
    frames = {len(array) for array in arrays.values()}
    if len(frames) != 1:
        raise DataError(f"{where}: arrays of one number of frames expected, {sorted(frames)} found")
    poses = np.concatenate([arrays["root_orient"], arrays["pose_body"]], axis=1)
    check_joints(poses, where)
    return smpl_joints(poses, arrays["trans"])


def _rate(content: object, path: Path, options: ImportOptions) -> float:
    rate = content.get("mocap_framerate") if isinstance(content, dict) else None
    if rate is None:
        return options.fps or _FPS
    try:
        return float(rate)
    except (TypeError, ValueError):
        raise DataError(f"{path}: mocap_framerate: a number expected, {type(rate).__name__} found") from None


def _captions(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        return ()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: captions cannot be read: {error}") from None
    return tuple(checked_text(line.strip(), str(path)) for line in lines if line.strip())


def _recognises(path: Path, head: bytes) -> bool:
    shape = npy_shape(head)
    if shape is not None:
        return len(shape) == 2 and shape[1] == _WIDTH
    return head[:1] in (b"\x80", b"(") and b"person1" in head


def _beside(path: Path) -> list[Path]:
    folder = path.parent.parent
    captions = [above / "annots" / f"{path.stem}.txt" for above in (folder, folder.parent)]
    return [folder / "person2" / path.name, *captions]


INTERHUMAN = Importer(
    "InterHuman (.pkl, .npy)", "Two people as actors of one clip, captions in annots/ beside", _recognises,
    read_interhuman, _beside,
)  # fmt: skip
