"""Clips as the model itself would go on with them: what it has to learn from is then what it will meet.

Training on the states that a policy reaches, with the teacher's answers (Ross et al. 2011, arXiv:1011.0686, DAgger).
"""

import torch
from torch import Tensor

from stickgen.data.batch import Batch
from stickgen.data.disturb import asked_of
from stickgen.generation.stepping import stepping_copy
from stickgen.model import KeyValueCache, StickFigureTransformer

GIVEN_FRAMES = 4
"""Frames of the clip before the model's own begin: enough to tell how it moves, too few to show how a rest ends."""

LEASH = 0.05
"""Share of the way back to the clip that every own frame is taken: errors add up over twenty frames, and phase and
place do not slip so far that the clip's next frame would be no answer to them."""


def own_frames(model: StickFigureTransformer, batch: Batch, feed_actions: bool) -> tuple[Tensor, Tensor]:
    """Let the model go on with the clips of a batch on a leash, frame by frame and without gradients.

    Returns:
        two offsets ``[T, B, D]`` as :class:`~stickgen.data.batch.Batch` has them, in the place of its own. What is read
        is the model's own frame; what is asked for is the clip's next, with nine tenths of what the own frame was off
        by, so that it is undone over some frames (:func:`~stickgen.data.disturb.asked_of`).
    """
    given = batch.motion
    own = given.clone()
    frames = len(own)
    with torch.no_grad(), torch.autocast(own.device.type, enabled=False):
        stepping = stepping_copy(model)
        cache = KeyValueCache(capacity=frames + 1)
        start, end = 0, min(GIVEN_FRAMES, frames)
        while end < frames:
            at = slice(start, end)
            predicted = stepping(
                own[at],
                batch.embedding,
                action_sequence=batch.actions[at].clamp(min=0) if feed_actions else None,
                camera_data=None if batch.camera is None else batch.camera[at],
                partner_motion=None if batch.partner is None else batch.partner[at],
                cache=cache,
            )[-1]
            own[end] = torch.lerp(predicted, given[end], LEASH)
            start, end = end, end + 1
        off = own - batch.motion
        place = torch.zeros_like(off)
        place[..., 0::2] = off[..., 0::2].mean(dim=-1, keepdim=True)
        return off, asked_of(off - place, place)
