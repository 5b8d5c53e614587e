"""Baselines that retrieve training clips: that of the nearest caption, replayed, and motion matching.

A model that generates has to beat what a look-up in its training clips makes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from stickgen.data.batch import Batch
from stickgen.data.clips import Clip
from stickgen.motion.skeleton import FPS, skeleton_of

NEAREST_CAPTION = "nearest caption"
MOTION_MATCHING = "motion matching"

REACH = 0.2
"""Seconds over which a difference in velocity counts as much as the difference in place that it leads to."""

LEAST_LEFT = 13
"""Fewest frames, half a second, that a clip still has after the frame that motion matching jumps to."""


def nearest_caption(reference: Sequence[Clip]) -> Callable[[Batch, int], Tensor]:
    """Return a way to continue a batch: replay the training clip whose caption is nearest to that of each clip.

    Nearest is the largest cosine of the text embeddings; of equal ones the longest clip is taken. It is replayed from
    the frame after as many frames as are given, else from its start, shifted along x so that its pelvis continues
    where the given frames end, or starts at 0. A clip that is too short starts again where it ended.

    Args:
        reference: training clips, of the batch's figure and width of embeddings.
    """
    by_length = sorted(reference, key=lambda clip: -clip.length)
    motions = [clip.motion for clip in by_length]
    embeddings = _unit(torch.stack([clip.embedding for clip in by_length]))

    def replay(batch: Batch, given: int) -> Tensor:
        # Rounded, so that equal captions tie however their products were summed.
        nearest = (_unit(batch.embedding) @ embeddings.T).mul(1e5).round().argmax(dim=1)
        frames = len(batch.motion) - given
        columns = []
        for column, place in enumerate(nearest.tolist()):
            at = float(_pelvis_x(batch.motion[given - 1, column])) if given else 0.0
            columns.append(_replayed(motions[place], given, frames, at))
        return torch.stack(columns, dim=1)

    return replay


def motion_matching(reference: Sequence[Clip]) -> Callable[[Batch, int], Tensor]:
    """Return a way to continue a batch: from the training frame with the nearest pose and velocity.

    The frame is the one with the smallest ``|Δpose|² + REACH² |Δvelocity|²``, poses relative to the pelvis' x, as in
    motion matching for games (Clavet 2016, "Motion matching and the road to next-gen animation"). Its clip is followed
    to the end, shifted along x, and then the search is repeated. Captions are not read.

    Args:
        reference: training clips; those of fewer than 15 frames are never matched.

    Raises:
        ValueError: no training clip is long enough, or fewer than two frames are given.
    """
    motions = [clip.motion for clip in reference if clip.length >= LEAST_LEFT + 2]
    if not motions:
        raise ValueError(f"motion matching: no clip of {LEAST_LEFT + 2} frames")
    known = torch.cat([_pose_and_velocity(motion)[:-LEAST_LEFT] for motion in motions])
    places = [(clip, t) for clip, motion in enumerate(motions) for t in range(1, len(motion) - LEAST_LEFT)]

    def match(batch: Batch, given: int) -> Tensor:
        if given < 2:
            raise ValueError(f"motion matching: 2 given frames expected, {given} given")
        columns = []
        for column in range(batch.motion.shape[1]):
            made = batch.motion[:given, column]
            while len(made) < len(batch.motion):
                query = _pose_and_velocity(made[-2:])
                clip, t = places[int((known - query).square().sum(dim=1).argmin())]
                made = torch.cat(
                    (made, _moved(motions[clip], _pelvis_x(made[-1]) - _pelvis_x(motions[clip][t]))[t + 1 :])
                )
            columns.append(made[given : len(batch.motion)])
        return torch.stack(columns, dim=1)

    return match


def _replayed(motion: Tensor, first: int, frames: int, at: float) -> Tensor:
    """Return so many frames from frame ``first`` of a clip on, with the pelvis of the frame before them at x."""
    start = first if first < len(motion) else 0
    parts, left = [], frames
    while left > 0:
        anchor = _pelvis_x(motion[max(start - 1, 0)])
        part = _moved(motion[start : start + left], at - anchor)
        parts.append(part)
        left -= len(part)
        start, at = 0, float(_pelvis_x(part[-1]))
    return torch.cat(parts)


def _pose_and_velocity(motion: Tensor) -> Tensor:
    """Return the description ``[T − 1, 2 D]`` of frames 1 to T − 1 that is compared."""
    pose = motion.clone()
    pose[:, 0::2] -= _pelvis_x(motion)[:, None]
    return torch.cat((pose[1:], REACH * FPS * motion.diff(dim=0)), dim=1)


def _pelvis_x(motion: Tensor) -> Tensor:
    skeleton = skeleton_of(motion.shape[-1])
    return torch.as_tensor(skeleton.to_joints(motion)[..., skeleton.joint("pelvis"), 0])


def _moved(motion: Tensor, by: Tensor | float) -> Tensor:
    moved = motion.clone()
    moved[..., 0::2] += by
    return moved


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors.double(), dim=-1)
