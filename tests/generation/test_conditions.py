import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.artifacts.base import load_base
from stickgen.artifacts.model import LoadedModel, load_model
from stickgen.config import BaseConfig, LoRAConfig, ObjectiveConfig, TrainConfig
from stickgen.errors import ConfigError
from stickgen.generation import rollout
from stickgen.generation.conditions import read_actions, read_cameras
from stickgen.generation.generate import generate_with
from stickgen.generation.request import GenerationRequest
from stickgen.motion.actions import action_index
from stickgen.motion.skeleton import rest_pose
from tests.generation.test_generate import Encoder, text
from tests.runs import make_base

WALK, WAVE = action_index("walk"), action_index("wave")


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stickgen.text.prompts.TextEncoder", Encoder)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base.safetensors")


def conditioned(base: Path, *conditions: str) -> LoadedModel:
    one = load_model(base)
    return replace(one, record=replace(one.record, conditions=list(conditions)))


def made(one: LoadedModel, frames: int = 6, seed: torch.Tensor | None = None, **conditions: Any) -> torch.Tensor:
    (motion,) = generate_with([("mine", one)], GenerationRequest(["a walk"], frames, seed, **conditions))
    return motion.motion[motion.given :]


def test_actions_follow_each_other() -> None:
    assert read_actions("walk", 3).tolist() == [WALK] * 3
    assert read_actions("walk:0.08, wave:0.04,walk", 6).tolist() == [WALK, WALK, WAVE, WALK, WALK, WALK]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("fly", "'fly' is none; there are idle, walk"),
        ("", "walk, or walk:2,wave:1,walk expected"),
        ("walk:0.2,", "walk, or walk:2,wave:1,walk expected"),
        ("walk:9,wave", "wave would begin after the 0.36 s that are generated"),
        ("walk:0.01,wave", "walk for 0.01 s is less than a frame of 0.04 s"),
        ("walk,wave", "seconds of each but the last"),
        ("walk:2", "seconds of each but the last"),
        ("walk:-1,wave", "'-1' is no number above 0"),
        ("walk:soon,wave", "'soon' is no number above 0"),
        ("walk:inf,wave", "'inf' is no number"),
    ],
)
def test_what_is_no_action_is_refused(written: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"action={written}: .*{message}"):
        read_actions(written, 9)


def test_a_camera_stands_or_moves() -> None:
    assert read_cameras("1,0.5,2", 2).tolist() == [[1, 0.5, 2]] * 2
    moving = read_cameras("0,0,1..2,-1,1", 5)
    torch.testing.assert_close(moving[:, 0], torch.tensor([0, 0.5, 1, 1.5, 2]))
    assert moving[-1].tolist() == [2, -1, 1]


@pytest.mark.parametrize("written", ["1,2", "a,0,1", "0,0,nan", "0,0,1..1,1", "0,0,1..0,0,1..0,0,1", "0,0,inf", ""])
def test_what_is_no_camera_is_refused(written: str) -> None:
    with pytest.raises(ConfigError, match="filmed="):
        read_cameras(written, 3)


def test_frames_are_read_with_their_own_action_as_in_training(base: Path) -> None:
    actions = read_actions("walk:0.12,wave", 6)
    seed = torch.tensor(rest_pose(20)).repeat(3, 1)
    model = load_base(base).model.eval()
    # Given frames 0 to 2 and the first generated ones walk; the last one is not read.
    track = torch.tensor([WALK] * 3 + [WALK] * 3 + [WAVE] * 2)[:, None]
    wanted = rollout(model, text("a walk"), 6, seed[:, None], actions=track)[:, 0]
    torch.testing.assert_close(made(load_model(base), seed=seed, actions=actions), wanted)
    plain = made(load_model(base), seed=seed)
    assert not torch.allclose(plain, wanted)


def test_a_camera_reaches_a_model_that_was_trained_with_one(base: Path) -> None:
    one = conditioned(base, "camera")
    moving = read_cameras("0,0,1..2,0,1", 6)
    wanted = rollout(one.model, text("a walk"), 6, cameras=torch.cat((moving[:1], moving))[:-1, None])[:, 0]
    torch.testing.assert_close(made(one, cameras=moving), wanted)
    # Without one it has what clips without one had in its training.
    still = made(one, cameras=read_cameras("0,0,1", 6))
    torch.testing.assert_close(made(one), still)
    assert not torch.allclose(still, wanted)
    assert not torch.allclose(still, made(conditioned(base)))


def test_a_partner_is_absent(base: Path) -> None:
    one = conditioned(base, "partner")
    wanted = rollout(one.model, text("a walk"), 6, partners=torch.zeros(6, 1, 20))[:, 0]
    torch.testing.assert_close(made(one), wanted)
    assert not torch.allclose(wanted, made(conditioned(base)))


def test_what_a_model_does_not_know_is_refused_or_told(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="mine: was trained without a camera; leave it out"):
        made(conditioned(base), cameras=read_cameras("0,0,1", 6))
    with pytest.raises(ConfigError, match="actions: one for each of 6 frames expected, 5 found"):
        made(conditioned(base), actions=read_actions("walk", 5))
    run = TrainConfig(BaseConfig(from_scratch=True), LoRAConfig(enabled=False))
    with caplog.at_level(logging.WARNING):
        made(replace(load_model(base), run=run), actions=read_actions("walk", 6))
        assert "mine: was never fed actions in training" in caplog.text
        caplog.clear()
        fed = replace(run, objective=ObjectiveConfig(feed_actions=0.5))
        made(replace(load_model(base), run=fed), actions=read_actions("walk", 6))
    assert "fed actions" not in caplog.text
