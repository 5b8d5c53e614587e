from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from stickgen.data.loader import StepPlan, make_loader
from stickgen.model import StickFigureTransformer
from stickgen.training.whiten import FLOOR, whiten_input
from tests.random_clips import random_clip

Model = Callable[..., StickFigureTransformer]


def stretched(model: StickFigureTransformer, before: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """What the first layer does to frames, in the terms of the layer it was."""
    first = model.motion_embedding[0]
    return torch.linalg.lstsq(before.double(), (first.weight @ (frames - frames.mean(0)).T).double()).solution.T


def test_the_first_layer_sees_white_frames(model: Model) -> None:
    mixing = torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
    clips = [random_clip(n, seed=n) for n in (40, 70, 25, 90, 55)]
    clips = [replace(clip, motion=clip.motion @ mixing + 7) for clip in clips]
    made = model()
    first = made.motion_embedding[0]
    weight, bias = first.weight.detach().clone(), first.bias.detach().clone()
    whiten_input(made, make_loader(StepPlan(clips, 2, 2), clips))
    frames = torch.cat([clip.motion for clip in clips])
    white = stretched(made, weight, frames)
    torch.testing.assert_close(torch.cov(white.T), torch.eye(20).double(), atol=2e-3, rtol=0)
    # The mean frame is what the layer answers with its old bias.
    torch.testing.assert_close(first(frames.mean(0)), bias, atol=1e-3, rtol=0)


def test_what_hardly_varies_is_not_blown_up(model: Model) -> None:
    clip = random_clip(200)
    motion = clip.motion.clone()
    motion[:, 3] = 0.5  # constant
    motion[:, 4] = motion[:, 6]  # a joint that two segments share
    clip = replace(clip, motion=motion)
    made = model()
    weight = made.motion_embedding[0].weight.detach().clone()
    whiten_input(made, make_loader(StepPlan([clip], 1), [clip]))
    first = made.motion_embedding[0]
    assert torch.isfinite(first.weight).all()
    assert float(first.weight.detach().norm()) < 1.01 / FLOOR * float(weight.norm())
    torch.testing.assert_close(first.weight[:, 3], weight[:, 3] / FLOOR, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("padding", [0.0, 1e6])
def test_padding_does_not_count(model: Model, padding: float) -> None:
    clips = [random_clip(30, seed=1), random_clip(60, seed=2)]
    batch = next(iter(make_loader(StepPlan(clips, 2), clips)))
    filled = torch.where(batch.padding_mask.T[..., None], padding, batch.motion)
    made = [model(), model()]
    whiten_input(made[0], [batch])
    whiten_input(made[1], [replace(batch, motion=filled)])
    assert torch.equal(made[0].motion_embedding[0].weight, made[1].motion_embedding[0].weight)
