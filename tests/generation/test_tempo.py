import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from stickgen.generation import rollout
from stickgen.generation.tempo import GAINS, STILL, Tempo
from stickgen.model import StickFigureTransformer
from stickgen.model.motion_code import WIDTH, CodeBank, limb_speed, motion_code
from stickgen.skeleton import FPS, rest_pose, skeleton_of

REST = torch.tensor(rest_pose(20))


def gliding(*speeds: float, frames: int = 40) -> torch.Tensor:
    """Figures that glide along x at speeds in body heights a second, ``[frames, B, 20]``."""
    motion = REST.expand(frames, len(speeds), 20).clone()
    motion[..., 0::2] += torch.arange(frames)[:, None, None] * torch.tensor(speeds)[:, None] / FPS
    return motion


def test_a_code_tells_the_speed_of_the_limbs() -> None:
    codes = torch.stack([motion_code(motion) for motion in gliding(0.5, 1.5).unbind(1)])
    torch.testing.assert_close(limb_speed(codes), torch.tensor([0.5, 1.5]))


def test_steps_grow_where_a_clip_is_slower_than_its_code_and_shrink_where_it_is_faster() -> None:
    codes = torch.stack([motion_code(motion) for motion in gliding(1.0, 1.0, 1.0, 1.0).unbind(1)])
    tempo = Tempo(codes)
    assert tempo.gain().tolist() == [[[1.0]] * 4]
    made = gliding(0.2, 0.95, 1.0, 1.1, frames=200)
    for before, frame in pairwise(made):
        tempo.see(before, frame)
    slow, slower, equal, fast = tempo.gain().flatten().tolist()
    assert slow == pytest.approx(GAINS[1])
    assert slower == pytest.approx(1.02, abs=1e-3)
    assert equal == pytest.approx(1, abs=1e-3)
    assert fast == pytest.approx(0.96, abs=1e-3)


def test_a_code_that_stands_still_does_not_freeze_its_clip() -> None:
    tempo = Tempo(motion_code(gliding(0.0)[:, 0])[None])
    made = gliding(STILL, frames=100)
    for before, frame in pairwise(made):
        tempo.see(before, frame)
    assert tempo.gain().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dim", [20, 48])
def test_a_rollout_that_loses_speed_keeps_more_of_it(
    build: Callable[..., StickFigureTransformer], dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A figure that glides and loses a fiftieth of its speed in every frame.
    model = build(
        pose_output="velocity", pose_frame="body", velocity_kept=0.98, input_dim=dim, output_dim=dim,
        embedding_dim=8 + WIDTH,
    )  # fmt: skip
    last = model.pose_decoder[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    head = torch.arange(dim, dtype=last.bias.dtype)
    last.bias.data[model.body_frame.contact(head).long()] = -30.0
    monkeypatch.setattr(sys.modules["stickgen.generation.rollout"], "DEPARTURE", 0.0)

    given = torch.tensor(rest_pose(dim)).expand(2, 1, dim).clone()
    given[1, :, 0::2] += 1.0 / FPS
    pelvis = skeleton_of(dim).joint("pelvis")

    def speed_at_the_end() -> float:
        x = skeleton_of(dim).to_joints(rollout(model, torch.zeros(1, 8 + WIDTH), 75, given))[:, 0, pelvis, 0]
        return float(x[-1] - x[-2]) * FPS

    assert speed_at_the_end() < 0.3
    model.code_bank = CodeBank.of([torch.zeros(8 + WIDTH)], [motion_code(gliding(1.0)[:, 0])])
    assert 0.9 < speed_at_the_end() < 1
