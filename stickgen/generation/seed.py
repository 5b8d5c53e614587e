"""Frames for a motion to go on from: out of a file, or a figure at rest."""

from pathlib import Path

import torch
from torch import Tensor

from stickgen.data.file import open_clips
from stickgen.errors import GenerationError
from stickgen.motion.resampling import resample
from stickgen.motion.skeleton import rest_pose, skeleton_of

DISTURBANCE = 0.01
"""Standard deviation of a drawn start's joints, in body heights: enough for another pace, too little to fall over."""


def read_seed_frames(path: Path, frames: int = 10, clip: int = 0) -> Tensor:
    """Read the first frames of a motion.

    Args:
        path: a ``.motion`` file, or a data file (docs/data.md).
        frames: how many, at 25 a second; a ``.motion`` file of another rate is interpolated.
        clip: which sequence of a data file, as ``stickgen inspect`` numbers them; of several actors the first.

    Returns:
        float32 ``[frames, D]``.

    Raises:
        DataError: the file is missing, damaged or neither.
        GenerationError: there are not so many frames or clips in it.
    """
    if path.suffix.lower() == ".motion":
        # Here, since training needs this room too, and no painter.
        from stickgen.render.motion_file import read_motion

        if clip:
            raise GenerationError(f"{path}: clip {clip}: a .motion file holds one motion; leave --seed-clip out")
        file = read_motion(path)
        motion = torch.from_numpy(resample(file.motion[:, None], file.fps)[:, 0]).float()
    else:
        store, _ = open_clips(path)
        place = next((place for place, info in enumerate(store.infos) if info.index == clip), None)
        if place is None:
            raise GenerationError(f"{path}: clip {clip}: 0 to {store.sequences - 1} expected")
        motion = store.load(place).motion
    if not 1 <= frames <= len(motion):
        raise GenerationError(f"{path}: {frames} frames to go on from: 1 to {len(motion)} expected")
    return motion[:frames]


def check_seed(seed: int | None) -> None:
    """Refuse what cannot be a seed.

    Raises:
        GenerationError: it is negative, or too large.
    """
    if seed is not None and not 0 <= seed < 2**63:
        raise GenerationError(f"seed={seed}: a whole number from 0 to 2**63 - 1 expected")


def standing(dim: int, clips: int, seed: int | None = None) -> Tensor:
    """Return a frame of figures at rest, for motion to set off from.

    A model is deterministic, so it is the start that is drawn: small differences grow to other paces and poses.

    Args:
        dim: numbers a frame.
        clips: how many figures.
        seed: of the disturbance of their joints, each figure's own; None: all stand as :func:`rest_pose` has it.

    Returns:
        float32 ``[1, clips, dim]``.

    Raises:
        GenerationError: the seed cannot be one.
    """
    frame = torch.tensor(rest_pose(dim)).expand(1, clips, dim)
    if seed is None:
        return frame
    check_seed(seed)
    skeleton = skeleton_of(dim)
    joints = skeleton.to_joints(frame)
    generator = torch.Generator().manual_seed(seed)
    # Figure by figure, so that a prompt's does not depend on how many follow it.
    noise = torch.stack([torch.randn(joints.shape[-2:], generator=generator) for _ in range(clips)])
    return skeleton.from_joints(joints + DISTURBANCE * noise)
