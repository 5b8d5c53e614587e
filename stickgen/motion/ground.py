"""The ground that figures stand on: no foot goes below it."""

import functools

import torch
from torch import Tensor

from stickgen.motion.skeleton import Skeleton, skeleton_of


def ground_of(motion: Tensor) -> Tensor:
    """Return the height ``[...]`` of the ground under motion ``[T, ..., D]``: 0, or that of an ankle below."""
    feet = motion[..., _heights_of_feet(skeleton_of(motion.shape[-1])).to(motion.device)]
    return feet.amin(dim=(0, -1)).clamp(max=0)


def above_ground(frames: Tensor, ground: Tensor | float) -> Tensor:
    """Return frames ``[..., D]`` whose ankles are lifted to the ground, of height ``[...]``, where they are below."""
    floor = torch.as_tensor(ground, device=frames.device)[..., None]
    is_foot = _heights_of_feet(skeleton_of(frames.shape[-1])).to(frames.device)
    return torch.where(is_foot, torch.maximum(frames, floor.to(frames)), frames)


@functools.cache
def _heights_of_feet(skeleton: Skeleton) -> Tensor:
    """Return which numbers of a frame are heights of ankles, bool ``[D]``."""
    ends = [joint for segment in skeleton.segments for joint in (segment.start, segment.end)]
    return torch.tensor([height and joint.endswith("_ankle") for joint in ends for height in (False, True)])
