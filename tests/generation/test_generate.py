import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.model import ModelOptions, load_model
from stickgen.artifacts.record import BaseRecord
from stickgen.errors import CheckpointError, ConfigError, DataError, GenerationError
from stickgen.generation import Generated, GenerationRequest, generate, one_shot, rollout
from stickgen.model import StickFigureTransformer
from stickgen.motion.actions import ACTIONS
from stickgen.motion.skeleton import rest_pose, skeleton_of, to_stick_5
from stickgen.sample import SAMPLE_INFO
from tests.artifacts.test_model import make_adapter
from tests.runs import make_base

ENCODER = SAMPLE_INFO["text_encoder"]["id"]


class Encoder:
    """Stands in for the text encoder: a unit vector a text."""

    made: ClassVar[list[str]] = []

    def __init__(self, name: str, *, encoder_id: str | None = None) -> None:
        self.made.append(name)
        self.id = encoder_id or name

    @property
    def record(self) -> dict[str, Any]:
        return {"id": self.id, "dim": 384, "padded_to": 1024, "normalized": True, "pooling": "mean"}

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        rows = np.stack([np.random.default_rng(len(text)).normal(size=1024) for text in captions])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> type[Encoder]:
    monkeypatch.setattr(Encoder, "made", [])
    monkeypatch.setattr("stickgen.text.prompts.TextEncoder", Encoder)
    return Encoder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base.safetensors")


def text(*prompts: str) -> torch.Tensor:
    return torch.from_numpy(Encoder(ENCODER).encode(prompts))


def test_it_is_the_rollout_of_the_prompts(base: Path) -> None:
    prompts = ["a person walks", "a person  runs fast "]
    made = generate([str(base)], GenerationRequest(prompts, 7))
    assert [(m.model, m.prompt, m.given) for m in made] == [
        (str(base), "a person walks", 0),
        (str(base), "a person runs fast", 0),
    ]
    wanted = rollout(load_base(base).model.eval(), text("a person walks", "a person runs fast"), 7)
    for clip, one in enumerate(made):
        assert one.motion.shape == (7, 20)
        torch.testing.assert_close(one.motion, wanted[:, clip])
        assert len(one.actions) == 7
    assert not torch.equal(made[0].motion, made[1].motion)


def test_models_stand_beside_each_other_and_share_their_encoder(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    made = generate([f"plain={base}", f"adapted={adapter}"], GenerationRequest(["a walk", "a run"], 5))
    assert [(m.prompt, m.model) for m in made] == [
        ("a walk", "plain"), ("a walk", "adapted"), ("a run", "plain"), ("a run", "adapted"),
    ]  # fmt: skip
    assert Encoder.made == [ENCODER]
    assert not torch.allclose(made[0].motion, made[1].motion)
    alone = generate([str(adapter)], GenerationRequest(["a run"], 5))[0]
    torch.testing.assert_close(made[3].motion, alone.motion)


def test_the_parts_of_a_prompt_continue_each_other(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    prompts = ["a walk [0.8] a run", "a jump"]
    scripted, plain = generate([f"mine={adapter}=1,0"], GenerationRequest(prompts[:1], 36))[0], load_model(base).model
    first = rollout(load_model(adapter).model, text("a walk"), 20)
    second = rollout(plain, text("a run"), 16, first[-10:])
    torch.testing.assert_close(scripted.motion, torch.cat((first, second))[:, 0])
    assert (scripted.prompt, scripted.given, len(scripted.actions)) == (prompts[0], 0, 36)
    # Beside other prompts, parts change nothing.
    both = generate([f"mine={adapter}"], GenerationRequest(prompts, 36))
    torch.testing.assert_close(both[0].motion[:20], first[:, 0])
    (alone,) = generate([f"mine={adapter}"], GenerationRequest(prompts[1:], 36))
    torch.testing.assert_close(both[1].motion, alone.motion)
    with pytest.raises(ConfigError, match=r"mine: has weights for 2 parts, 'a jump' has 1; give a weight for each"):
        generate([f"mine={adapter}=1,0"], GenerationRequest(prompts, 36))


def test_parts_have_their_own_conditions(base: Path) -> None:
    actions = torch.tensor([1] * 5 + [2] * 5)
    (made,) = generate([str(base)], GenerationRequest(["a walk [0.2] a run"], 10, actions=actions))
    model = load_model(base).model
    first = rollout(model, text("a walk"), 5, actions=actions[:1].expand(5, 1))
    second = rollout(model, text("a run"), 5, first, actions=actions[5:6].expand(9, 1))
    torch.testing.assert_close(made.motion, torch.cat((first, second))[:, 0])


def test_given_frames_come_first(base: Path) -> None:
    seed = torch.tensor(rest_pose(20)) + 0.01 * torch.randn(4, 20, generator=torch.Generator().manual_seed(0))
    (made,) = generate([str(base)], GenerationRequest(["a walk"], 6, seed))
    assert made.given == 4
    assert made.motion.shape == (10, 20)
    assert torch.equal(made.motion[:4], seed)
    wanted = rollout(load_base(base).model.eval(), text("a walk"), 6, seed[:, None])
    torch.testing.assert_close(made.motion[4:], wanted[:, 0])
    assert len(made.actions) == 10


def test_the_larger_figure_is_reduced_for_a_model_of_the_smaller(base: Path) -> None:
    seed = torch.tensor(rest_pose(48)).repeat(3, 1)
    (made,) = generate([str(base)], GenerationRequest(["a walk"], 2, seed))
    assert torch.equal(made.motion[:3], to_stick_5(seed))


def test_actions_are_what_the_model_predicts(base: Path) -> None:
    (made,) = generate([str(base)], GenerationRequest(["a walk"], 6))
    motion = torch.cat((torch.tensor(rest_pose(20))[None], made.motion))
    with torch.no_grad():
        outputs = load_base(base).model.eval()(motion[:-1, None], text("a walk"), return_all_outputs=True)
    names = [*ACTIONS, *(f"spare_{index}" for index in range(len(ACTIONS), 64))]
    assert list(made.actions) == [names[int(index)] for index in outputs["action_logits"][:, 0].argmax(-1)]


def test_a_bidirectional_base_generates_in_one_pass(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    base = make_base(tmp_path / "base.safetensors", causal=False)
    with caplog.at_level(logging.WARNING):
        (made,) = generate([str(base)], GenerationRequest(["a walk"], 5))
    wanted = one_shot(load_model(base).model, text("a walk"), 5)
    torch.testing.assert_close(made.motion, wanted[:, 0])
    assert "bidirectional" in caplog.text


@pytest.mark.parametrize(
    ("changes", "mistake", "message"),
    [
        ({"prompts": []}, ConfigError, "prompt: none given"),
        ({"prompts": ["a walk", " \n"]}, ConfigError, "prompt 2 is empty"),
        ({"frames": 0}, GenerationError, r"0 frames \(0 s\): 1 to 15000"),
        ({"frames": 1_000_000}, GenerationError, "1000000 frames"),
        ({"models": []}, ConfigError, "model: none given"),
        ({"models": ["a=one", "a=two"]}, ConfigError, "two models are called 'a'"),
        ({"models": ["gone.safetensors"]}, CheckpointError, "gone.safetensors"),
        (
            {"options": ModelOptions(encoder="org/other")},
            ConfigError,
            f"org/other: the captions of base were embedded by {ENCODER}",
        ),
        (
            {"options": ModelOptions(encoder=ENCODER, encoder_id="mine")},
            ConfigError,
            "text encoder mine: the captions of base",
        ),
        ({"seed_frames": torch.zeros(3, 20), "seed": 1}, ConfigError, "base: seed=1 draws how a motion begins"),
        ({"seed_frames": torch.zeros(3, 21)}, DataError, "21 numbers a frame"),
        (
            {"seed_frames": 1e6 * torch.tensor(rest_pose(20)).repeat(3, 1)},
            GenerationError,
            r"seed_frames: a limb of .* body heights; a figure about 1 high expected",
        ),
        ({"seed_frames": torch.full((3, 20), torch.nan)}, GenerationError, "base: seed_frames: finite"),
    ],
)
def test_mistakes_are_one_line(base: Path, changes: dict[str, Any], mistake: type[Exception], message: str) -> None:
    arguments: dict[str, Any] = {"models": [f"base={base}"], "prompts": ["a walk"], "frames": 2, **changes}
    asked = {name: arguments.pop(name) for name in ("prompts", "frames", "seed_frames", "seed") if name in arguments}
    with pytest.raises(mistake, match=message) as caught:
        generate(request=GenerationRequest(**asked), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 768}, rf"text encoder {ENCODER} \(dim 384\): the captions of mine were embedded by .* \(dim 768\);"),
        ({"pooling": "cls"}, r"\(pooling mean\): .* \(pooling cls\); name that one"),
        ({"normalized": False}, r"\(normalized True\): .* \(normalized False\)"),
        ({"padded_to": 768}, r"\(padded_to 1024\): .* \(padded_to 768\)"),
    ],
)
def test_an_encoder_that_embeds_in_another_way_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    model = StickFigureTransformer(d_model=48, nhead=4, num_layers=1, causal=True)
    record = BaseRecord({}, "causal", {**SAMPLE_INFO["text_encoder"], **changes})
    save_base(model, record, tmp_path / "base.safetensors")
    with pytest.raises(ConfigError, match=message) as caught:
        generate([f"mine={tmp_path / 'base.safetensors'}"], GenerationRequest(["a walk"], 2))
    assert "\n" not in str(caught.value)


def test_a_base_that_names_no_encoder_needs_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = StickFigureTransformer(d_model=48, nhead=4, num_layers=1, causal=True)
    save_base(model, BaseRecord({}, objective="causal"), tmp_path / "base.safetensors")
    with pytest.raises(ConfigError, match=r"does not say which text encoder .* --encoder"):
        generate([str(tmp_path / "base.safetensors")], GenerationRequest(["a walk"], 2))
    (made,) = generate(
        [str(tmp_path / "base.safetensors")], GenerationRequest(["a walk"], 2), ModelOptions(encoder="org/some")
    )
    assert isinstance(made, Generated)


def test_a_figure_that_falls_apart_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 48, "nhead": 4, "num_layers": 1}
    model = StickFigureTransformer(**sizes, causal=True, pose_scale=0.5, pose_output="residual")
    save_base(model, BaseRecord({}, "causal", SAMPLE_INFO["text_encoder"]), tmp_path / "base.safetensors")
    with caplog.at_level(logging.WARNING):
        (made,) = generate([f"wild={tmp_path / 'base.safetensors'}"], GenerationRequest(["a walk"], 50))
    lengths = skeleton_of(20).segment_lengths(made.motion).amax(dim=-1)
    first = int((lengths > 1).nonzero()[0])
    assert f"wild: 'a walk': the figure falls apart after {first / 25:.1f} s" in caplog.text
    caplog.clear()
    generate([f"wild={tmp_path / 'base.safetensors'}"], GenerationRequest(["a walk"], first))
    assert caplog.text == ""


def test_a_motion_that_explodes_is_named_with_its_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = StickFigureTransformer(
        d_model=48, nhead=4, num_layers=1, causal=True, pose_scale=1e38, pose_output="residual"
    )
    save_base(model, BaseRecord({}, "causal", SAMPLE_INFO["text_encoder"]), tmp_path / "base.safetensors")
    with pytest.raises(GenerationError, match="wild: the motion exploded"):
        generate([f"wild={tmp_path / 'base.safetensors'}"], GenerationRequest(["a walk"], 100))
