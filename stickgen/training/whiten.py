"""A better start for a base's first layer."""

from collections.abc import Iterable
from itertools import islice
from typing import cast

import torch
from torch import Tensor, nn

from stickgen.data.batch import Batch
from stickgen.model import StickFigureTransformer

FLOOR = 0.02
"""Standard deviation, in body heights, below which a direction is not stretched further: noise must stay noise."""

BATCHES = 64
"""Batches that mean and covariance are taken from."""


def whiten_input(model: StickFigureTransformer, batches: Iterable[Batch]) -> None:
    """Fold the whitening of frames into the first layer of the motion embedding.

    The numbers of a frame hardly differ from each other but by where the figure stands, which says little and varies
    by body heights; a stride is a few tenths, and what a next frame has to be told from thousandths. After the layer
    norm of the embedding nearly all frames then look the same, and it takes hundreds of steps to learn otherwise. A
    layer that sees ``(frame − mean) · covariance^(−1/2)`` instead (Desjardins et al. 2015, arXiv:1507.00210, who keep
    it so) begins with all directions at one size. It is the same layer with other weights: nothing else has to know.

    Args:
        model: with new weights.
        batches: of training clips, varied as they will be.
    """
    frames = torch.cat([_read_frames(model, batch) for batch in islice(batches, BATCHES)]).double()
    mean = frames.mean(dim=0)
    variances, directions = torch.linalg.eigh(torch.cov(frames.T))
    stretch = directions / variances.clamp(min=FLOOR**2).sqrt() @ directions.T
    first = cast("nn.Linear", model.motion_embedding[0])
    with torch.no_grad():
        weight = first.weight.double() @ stretch
        first.bias.sub_((weight @ mean).to(first.bias))
        first.weight.copy_(weight)


def _read_frames(model: StickFigureTransformer, batch: Batch) -> Tensor:
    """Return what the first layer reads of a batch's real frames, ``[N, D]``."""
    motion = batch.motion
    before = torch.cat((motion[:1], motion[:-1]))
    return model.read_frames(motion, before)[~batch.padding_mask.T]
