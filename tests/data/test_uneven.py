"""Clips read at an uneven pace: what is read, and what is asked for."""

import pytest
import torch
from torch import Tensor

from stickgen.data.uneven import KEPT, PACES, even, uneven
from tests.random_clips import random_clip

FRAMES = 400


def clock(frames: int = FRAMES, dim: int = 20) -> Tensor:
    """A clip whose every number is the frame's own."""
    return torch.arange(float(frames))[:, None].expand(-1, dim)


def test_an_even_pace_changes_nothing() -> None:
    clip = random_clip(30).motion
    read, asked, steps = even(clip)
    assert torch.equal(read, clip)
    assert not asked.any()
    assert torch.equal(steps[:-1], clip.diff(dim=0))
    assert not steps[-1].any()


@pytest.mark.parametrize("seed", range(5))
def test_what_is_read_are_the_clips_own_frames_in_their_order(seed: int) -> None:
    read = uneven(clock(), seed).read
    assert read.shape == (FRAMES, 20)
    assert torch.equal(read, read[:, :1].expand(-1, 20)), "the whole figure keeps one pace"
    pace = read[:, 0].diff()
    assert float(pace.min()) >= 0
    assert float(pace.max()) <= PACES[1] + 1e-4
    assert (pace == 1).float().mean() > 0.4


def test_some_stretches_stand_still_some_are_slow_and_some_hurry() -> None:
    paces = torch.cat([uneven(clock(), seed).read[:, 0].diff() for seed in range(40)])
    assert (paces == 0).float().mean() > 0.05
    assert ((paces > 0.05) & (paces < 0.95)).float().mean() > 0.1
    assert (paces > 1.05).float().mean() > 0.03


def test_what_is_asked_for_comes_back_to_the_clips_own_pace() -> None:
    read, asked, steps = (track[:, 0].double() for track in uneven(clock(), 3))
    assert steps[:-1].unique().tolist() == [1.0], "at its own pace the clip goes on by one frame"
    step = (read + asked)[1:] - read[:-1]
    before = torch.cat((steps[:1], read.diff()))[:-1]
    torch.testing.assert_close(step, KEPT * before + (1 - KEPT), atol=1e-4, rtol=0)
    own = torch.cat((torch.tensor([True]), before[1:] == 1)) & (read.diff() == 1)
    assert own.float().mean() > 0.4
    assert not asked[1:][own].any(), "nothing but the next frame, to the last digit"


def test_the_pace_is_the_seeds() -> None:
    clip = random_clip(200).motion
    assert all(torch.equal(a, b) for a, b in zip(uneven(clip, 1), uneven(clip, 1), strict=True))
    assert not torch.equal(uneven(clip, 1).read, uneven(clip, 2).read)


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_short_clips_are_read_too(frames: int) -> None:
    for seed in range(20):
        read, asked, steps = uneven(random_clip(frames, seed=seed).motion, seed)
        assert len(read) == len(asked) == len(steps) == frames
        assert bool(torch.isfinite(torch.cat((read, asked, steps))).all())
