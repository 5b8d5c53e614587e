"""Reading what ``stickgen generate`` and the reference system write: motion that is a stick figure already."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.data.clips import checked_text
from stickgen.errors import DataError
from stickgen.mocap.importers.amass import array_names
from stickgen.mocap.importers.arrays import checked_fps
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.npz import read_arrays
from stickgen.mocap.projection import Recording
from stickgen.motion.skeleton import FPS, SKELETONS
from stickgen.render.motion_file import read_motion


def read_motion_file(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a ``.motion`` file as one recording; its caption is the description.

    Raises:
        DataError: the file is damaged.
    """
    content = read_motion(path)
    actions = set(content.actions)
    return [
        Recording(
            joints=_joints(content.motion, str(path)),
            fps=content.fps,
            take=path.stem,
            captions=(content.description,) if content.description else (),
            action=actions.pop() if len(actions) == 1 else "",
            **_facts(path, path.stem),
        )
    ]


def read_motions(path: Path, options: ImportOptions) -> list[Recording]:
    """Read an ``.npz`` of ``stickgen generate``: a recording of every motion in it.

    Args:
        path: ``motion [N, T, D]`` or ``[N, T, A, D]``, and where known ``caption [N]`` and ``fps``.
        options: ``fps`` is used where the file has no rate.

    Raises:
        DataError: the file is damaged or not as described.
    """
    content = read_arrays(path, ("motion", "caption", "fps"))
    motion = content.get("motion", np.zeros(0))
    if motion.ndim not in (3, 4) or motion.shape[-1] not in SKELETONS or not np.issubdtype(motion.dtype, np.floating):
        raise DataError(
            f"{path}: motion: floats of shape [N, T, D] or [N, T, A, D] with D = {' or '.join(map(str, SKELETONS))} "
            f"expected, {motion.dtype} {list(motion.shape)} found"
        )
    rate = content.get("fps", np.array(options.fps or FPS))
    if rate.size != 1 or not np.issubdtype(rate.dtype, np.number):
        raise DataError(f"{path}: fps: one number expected, {rate.dtype} {list(rate.shape)} found")
    captions = np.atleast_1d(content.get("caption", np.array([""] * len(motion))))
    if captions.shape != (len(motion),):
        raise DataError(f"{path}: caption: {len(motion)} entries expected, one a motion; {list(captions.shape)} found")
    return [
        Recording(
            joints=_joints(one, f"{path}: motion {index}"),
            fps=checked_fps(float(rate.reshape(-1)[0]), str(path)),
            take=f"{path.stem}_{index:04d}",
            captions=tuple(filter(None, [checked_text(str(caption), f"{path}: caption")])),
            **_facts(path, f"{path.stem}_{index:04d}"),
        )
        for index, (one, caption) in enumerate(zip(motion, captions, strict=True))
    ]


def _facts(path: Path, name: str) -> dict[str, Any]:
    # A figure is in body heights and stands at 0 already, so nothing is to be estimated.
    return {"clip_id": name, "source": "generated", "where": str(path), "height": 1.0, "floor": 0.0}


def _joints(motion: np.ndarray, where: str) -> np.ndarray:
    """Return the joints ``[T, (A,) J, 2]`` of frames ``[T, (A,) D]``; actors that never move are left out."""
    if motion.ndim == 3:
        moving = [actor for actor in range(motion.shape[1]) if motion[:, actor].any()]
        motion = motion[:, moving[0]] if len(moving) == 1 else motion[:, moving]
    if 0 in motion.shape:
        raise DataError(f"{where}: no figure in it; remove it")
    return np.asarray(SKELETONS[motion.shape[-1]].to_joints(motion), dtype=np.float64)


def _is_motion_file(path: Path, head: bytes) -> bool:
    return head.lstrip()[:1] == b"{" and re.search(rb'"input_dim"|"joint_format"', head) is not None


def _is_archive(path: Path, head: bytes) -> bool:
    names = array_names(path, head)
    return "motion" in names and "joints" not in names


MOTION_FILE = Importer(
    "motion file (.motion)", "The reference system's JSON of one stick figure", _is_motion_file, read_motion_file
)
MOTIONS = Importer("generated motion (.npz)", "Stick figures of `stickgen generate`", _is_archive, read_motions)
