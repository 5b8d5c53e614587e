"""First frames for a motion to go on from, out of a file."""

from pathlib import Path

import torch
from torch import Tensor

from stickgen.data.file import open_clips
from stickgen.errors import GenerationError


def read_seed_frames(path: Path, frames: int = 10, clip: int = 0) -> Tensor:
    """Read the first frames of a motion.

    Args:
        path: a ``.motion`` file, or a data file (docs/data.md).
        frames: how many.
        clip: which clip of a data file.

    Returns:
        float32 ``[frames, D]``.

    Raises:
        DataError: the file is missing, damaged or neither.
        GenerationError: there are not so many frames or clips in it.
    """
    if path.suffix == ".motion":
        # Here, since training needs this room too, and no painter.
        from stickgen.render.motion_file import read_motion

        motion = torch.from_numpy(read_motion(path).motion)
    else:
        store, _ = open_clips(path)
        if not 0 <= clip < len(store.infos):
            raise GenerationError(f"{path}: clip {clip}: 0 to {len(store.infos) - 1} expected")
        motion = store.load(clip).motion
    if not 1 <= frames <= len(motion):
        raise GenerationError(f"{path}: {frames} frames to go on from: 1 to {len(motion)} expected")
    return motion[:frames]
