"""Letting models go on with clips, or set off from rest, to be looked at beside each other."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stickgen.data.batch import STILL_CAMERA, Batch, collate
from stickgen.data.clips import Clip, ClipInfo
from stickgen.generation.rollout import generator_for, until_exploded
from stickgen.generation.seed import standing
from stickgen.model import StickFigureTransformer

EXPLODED = " · exploded"
"""What a picture's label says of such motion."""


def choose_clips(infos: Sequence[ClipInfo], count: int, shortest: int, *, repeat: bool = True) -> list[int]:
    """Return the positions of at most ``count`` clips of at least so many frames, those of other captions first.

    Args:
        infos: the clips.
        count: how many are wanted.
        shortest: fewest frames.
        repeat: whether a caption may come again where there are too few of them.
    """
    long = [index for index, info in enumerate(infos) if info.length >= shortest]
    by_caption: dict[str, int] = {}
    for index in long:
        by_caption.setdefault(infos[index].description, index)
    first = list(by_caption.values())
    others = [index for index in long if index not in set(first)]
    if len(first) < count:
        return first + others[: count - len(first)] * repeat
    return [first[step * len(first) // count] for step in range(count)]


def go_on(model: StickFigureTransformer, batch: Batch, given: int, seed: int | None = None) -> Tensor:
    """Go on from the first frames of a batch's motion ``[T, B, D]`` and its captions; action labels are withheld.

    Args:
        model: rolled out frame by frame where it is causal, else read once.
        batch: the clips.
        given: how many frames are given; 0: none, the figures set out from the rest pose.
        seed: of what the model leaves to chance; of one that leaves nothing to it, from rest, of how the figures stand
            at first, all alike. None: the most typical motion.

    Returns:
        the other frames ``[T − given, B, D]``, as the batch's in kind and place.
    """
    clips, dim = batch.motion.shape[1:]
    start = None if model.leaves_to_chance else standing(dim, 1, seed).expand(-1, clips, -1)
    made = generator_for(model)(
        model,
        batch.embedding,
        len(batch.motion) - given,
        batch.motion[:given] if given else start,
        cameras=batch.camera,
        partners=batch.partner,
        seed=seed,
        check=False,
    )
    return made.to(batch.motion)


def continue_clips(
    model: StickFigureTransformer, clips: Sequence[Clip], given: int, conditions: Sequence[str] = ()
) -> list[tuple[Tensor, bool]]:
    """Go on from the first frames of clips and their captions, to each clip's length.

    Args:
        model: rolled out frame by frame where it is causal, else read once.
        clips: of at least ``given + 1`` frames.
        given: how many frames are given; 0: none, the models set out from the rest pose.
        conditions: "camera" and "partner" where the model takes them.

    Returns:
        for each clip float32 ``[T, D]`` on the CPU, the given frames first, and whether the motion exploded, after
        which it is held (:func:`~stickgen.generation.rollout.until_exploded`).
    """
    batch = collate(clips, conditions).to(next(model.parameters()).device)
    motions = torch.cat((batch.motion[:given], go_on(model, batch, given))).cpu()
    return [until_exploded(motions[: clip.length, index]) for index, clip in enumerate(clips)]


def move_from_rest(
    model: StickFigureTransformer, embedding: Tensor, frames: int, conditions: Sequence[str] = ()
) -> list[tuple[Tensor, bool]]:
    """Move to prompts from the rest pose, alone and under a still camera.

    Args:
        model: rolled out frame by frame where it is causal, else read once.
        embedding: of the prompts ``[B, E]``.
        frames: how many are made.
        conditions: "camera" and "partner" where the model takes them.

    Returns:
        for each prompt float32 ``[frames, D]`` on the CPU, and whether it exploded, as :func:`continue_clips`.
    """
    clips, dim = len(embedding), model.settings["input_dim"]
    made = generator_for(model)(
        model,
        embedding.to(next(model.parameters()).device),
        frames,
        cameras=torch.tensor(STILL_CAMERA).expand(frames, clips, 3) if "camera" in conditions else None,
        partners=torch.zeros(frames, clips, dim) if "partner" in conditions else None,
        check=False,
    )
    return [until_exploded(made[:, clip].float().cpu()) for clip in range(clips)]
