from dataclasses import replace

import pytest
import torch

from stickgen.generation.rollout import rollout
from stickgen.model import StickFigureTransformer
from stickgen.model.code_bank import CodeBank
from stickgen.model.motion_code import WIDTH
from stickgen.training import prior
from stickgen.training.prior import FRAMES, prior_clips


def base() -> StickFigureTransformer:
    """A small base with three motion codes of two captions."""
    torch.manual_seed(0)
    sizes = {"d_model": 24, "nhead": 2, "num_layers": 1, "embedding_dim": 8 + WIDTH}
    frame = {"pose_output": "velocity", "pose_frame": "body", "velocity_kept": 0.5, "pose_pull": 0.1}
    model = StickFigureTransformer(**sizes, **frame, causal=True, pose_scale=0.005, motion_code=True).eval()
    texts = torch.eye(8 + WIDTH)
    model.code_bank = CodeBank.of([texts[0], texts[0], texts[1]], list(0.3 * torch.randn(3, WIDTH)))
    return model


def test_the_base_moves_to_its_own_captions() -> None:
    clips = prior_clips(base(), "one", 5, seed=1)
    assert [clip.motion.shape for clip in clips] == [(FRAMES, 20)] * 5
    assert {int(clip.embedding.argmax()) for clip in clips} == {0, 1}
    assert {clip.source for clip in clips} == {"prior"}
    assert len({clip.take for clip in clips}) == 5
    prior_clips(base(), "one", 1)
    again = prior_clips(base(), "one", 5, seed=1)
    assert all(torch.equal(one.motion, other.motion) for one, other in zip(clips, again, strict=True))
    assert not torch.equal(prior_clips(base(), "one", 5, seed=2)[0].motion, clips[0].motion)


def test_motion_that_is_not_finite_is_left_out() -> None:
    model = base()
    with torch.no_grad():
        model.pose_decoder[3].bias.fill_(torch.inf)
    assert prior_clips(model, "exploding", 3) == []


def test_the_next_job_of_a_sweep_finds_them_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made = prior_clips(base(), "one", 2)
    calls = []
    monkeypatch.setattr(prior, "rollout", lambda *args, **kwargs: calls.append(args) or rollout(*args, **kwargs))
    assert [id(clip) for clip in prior_clips(base(), "one", 2)] == [id(clip) for clip in made]
    assert not calls
    other = base()
    other.code_bank = replace(other.code_bank, codes=other.code_bank.codes + 1)
    prior_clips(other, "one", 2)
    prior_clips(other, "another base", 2)
    prior_clips(other, "another base", 2, seed=1)
    prior_clips(other, "another base", 3, seed=1)
    assert len(calls) == 4
