from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stickgen.errors import GenerationError
from stickgen.generation import generator_for, one_shot, rollout
from stickgen.generation.rollout import DEPARTURE
from stickgen.generation.stepping import FEW_ROWS
from stickgen.lora import adapters_disabled
from stickgen.model import POSE_OUTPUTS, StickFigureTransformer
from stickgen.model.code_bank import CodeBank
from stickgen.model.motion_code import WIDTH, with_code
from stickgen.motion.skeleton import rest_pose

Build = Callable[..., StickFigureTransformer]

RANDOM = torch.Generator().manual_seed(1)
TEXT = torch.randn(3, 32, generator=RANDOM)
SEED = 0.3 * torch.randn(4, 3, 20, generator=RANDOM)
TRACKS = {
    "actions": torch.randint(0, 64, (12, 3), generator=RANDOM),
    "cameras": torch.randn(12, 3, 3, generator=RANDOM),
    "partners": torch.randn(12, 3, 20, generator=RANDOM),
}
ARGUMENTS = {"actions": "action_sequence", "cameras": "camera_data", "partners": "partner_motion"}


def uncached(model: StickFigureTransformer, frames: int, seed: Tensor = SEED, **tracks: Tensor) -> Tensor:
    """The same motion, with the whole sequence read again for every frame."""
    motion = seed
    with torch.no_grad():
        for _ in range(frames):
            conditions = {ARGUMENTS[name]: track[: len(motion)] for name, track in tracks.items()}
            motion = torch.cat((motion, model(motion, TEXT, **conditions)[-1:]))
    return motion[len(seed) :]


@pytest.mark.parametrize("pose_output", POSE_OUTPUTS)
@pytest.mark.parametrize("adapters", [False, True], ids=["base", "adapted"])
@pytest.mark.parametrize("names", [(), ("actions",), ("cameras",), ("actions", "cameras", "partners")])
def test_a_rollout_reads_its_own_predictions(
    build: Build, pose_output: str, adapters: bool, names: tuple[str, ...]
) -> None:
    model = build(adapters=adapters, pose_output=pose_output)
    tracks = {name: TRACKS[name] for name in names}
    made = rollout(model, TEXT, 8, SEED, **tracks)
    assert made.shape == (8, 3, 20)
    torch.testing.assert_close(made, uncached(model, 8, **tracks), rtol=1e-4, atol=1e-5)


def test_a_long_rollout_does_not_drift_from_the_uncached_one(build: Build) -> None:
    model = build(pose_output="velocity", pose_scale=0.005)
    torch.testing.assert_close(rollout(model, TEXT, 60, SEED), uncached(model, 60), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.bfloat16, 0.03)])
def test_it_computes_in_the_models_dtype(build: Build, dtype: torch.dtype, tolerance: float) -> None:
    model = build(pose_output="residual", pose_scale=0.01).to(dtype)
    made = rollout(model, TEXT, 8, SEED)
    assert made.dtype == dtype
    motion = SEED.to(dtype)
    with torch.no_grad():
        for _ in range(8):
            motion = torch.cat((motion, model(motion, TEXT.to(dtype))[-1:]))
    torch.testing.assert_close(made, motion[4:], rtol=0, atol=tolerance)


def test_clips_do_not_see_each_other(build: Build) -> None:
    model = build(pose_output="residual")
    together = rollout(model, TEXT, 6, SEED)
    for b in range(3):
        alone = rollout(model, TEXT[b : b + 1], 6, SEED[:, b : b + 1])
        torch.testing.assert_close(alone, together[:, b : b + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dim", [20, 48])
def test_without_given_frames_it_starts_from_rest(build: Build, dim: int) -> None:
    model = build(pose_output="velocity", input_dim=dim, output_dim=dim)
    rest = torch.tensor(rest_pose(dim)).expand(1, 3, dim)
    assert torch.equal(rollout(model, TEXT, 5), rollout(model, TEXT, 5, rest))


def test_it_is_deterministic_and_leaves_the_model_in_its_mode(build: Build) -> None:
    model = build(adapters=True, pose_output="velocity", dropout=0.3).train()
    first = rollout(model, TEXT, 5, SEED)
    assert model.training
    assert torch.equal(rollout(model, TEXT, 5, SEED), first)
    assert not first.is_inference()
    assert not first.requires_grad


def test_with_adapters_switched_off_it_is_the_bases(build: Build) -> None:
    model = build(adapters=True, pose_output="velocity")
    with adapters_disabled(model):
        frozen = rollout(model, TEXT, 6, SEED)
    torch.testing.assert_close(frozen, rollout(build(pose_output="velocity"), TEXT, 6, SEED))
    assert not torch.allclose(frozen, rollout(model, TEXT, 6, SEED), atol=1e-3)


def test_one_action_for_a_clip_is_that_action_throughout(build: Build) -> None:
    model, actions = build(pose_output="residual"), torch.tensor([3, 9, 40])
    made = rollout(model, TEXT, 5, SEED, actions=actions)
    assert torch.equal(made, rollout(model, TEXT, 5, SEED, actions=actions.expand(8, 3)))
    assert not torch.allclose(made, rollout(model, TEXT, 5, SEED), atol=1e-4)


def test_an_explosion_is_named_and_not_returned(build: Build) -> None:
    model = build(pose_output="velocity", pose_scale=1e30)
    with pytest.raises(GenerationError, match=r"exploded: frame \d+ \(\d+\.\d s\) of clip \d"):
        rollout(model, TEXT, 60, SEED)
    assert not torch.isfinite(rollout(model, TEXT, 60, SEED, check=False)).all()


# A single pass


def test_a_bidirectional_model_reads_the_last_given_frame_held(build: Build) -> None:
    model = build(causal=False)
    made = one_shot(model, TEXT, 5, SEED, actions=TRACKS["actions"])
    with torch.no_grad():
        read = torch.cat((SEED, SEED[-1:].expand(4, -1, -1)))
        expected = model(read, TEXT, action_sequence=TRACKS["actions"][:8])[3:]
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-5)
    assert one_shot(model, TEXT, 3).shape == (3, 3, 20)
    assert one_shot(model, TEXT, 1, SEED).shape == (1, 3, 20)


def test_the_first_frame_of_one_pass_is_that_of_a_rollout_where_the_model_is_causal(build: Build) -> None:
    model = build(pose_output="velocity")
    torch.testing.assert_close(one_shot(model, TEXT, 4, SEED)[0], rollout(model, TEXT, 4, SEED)[0])


def test_each_model_has_its_way(build: Build) -> None:
    assert generator_for(build()) is rollout
    assert generator_for(build(causal=False)) is one_shot


# Errors


def test_a_bidirectional_model_cannot_roll_out(build: Build) -> None:
    with pytest.raises(GenerationError, match="bidirectional and cannot go on frame by frame; use one_shot"):
        rollout(build(causal=False), TEXT, 5, SEED)


@pytest.mark.parametrize("generate", [rollout, one_shot])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, "frames=0: at least 1"),
        ({"text_embedding": TEXT[:, :8]}, r"text_embedding: shape \[B, 32\] expected, \[3, 8\]"),
        ({"text_embedding": TEXT / 0}, "text_embedding: finite"),
        ({"seed_frames": SEED[:0]}, r"seed_frames: shape \[T0, 3, 20\]"),
        ({"seed_frames": SEED[:, :2]}, r"seed_frames: shape \[T0, 3, 20\] expected, \[4, 2, 20\]"),
        ({"seed_frames": SEED * torch.nan}, "seed_frames: finite"),
        ({"actions": TRACKS["actions"][:7]}, r"actions: shape \[T, 3\] with T ≥ 8 expected, \[7, 3\]"),
        ({"actions": torch.full((3,), 64)}, "actions: classes 0 to 63"),
        ({"actions": torch.ones(3)}, r"actions: class indices, int64, expected, torch\.float32 found"),
        ({"actions": torch.ones(3, dtype=torch.bool)}, r"actions: class indices, int64, expected, torch\.bool found"),
        ({"cameras": TRACKS["cameras"][..., :2]}, r"cameras: shape \[T, 3, 3\]"),
        ({"partners": TRACKS["partners"][:, :1]}, r"partners: shape \[T, 3, 20\]"),
    ],
)
def test_arguments_that_do_not_fit(
    build: Build, generate: Callable[..., Tensor], changes: dict[str, Any], message: str
) -> None:
    arguments = {"text_embedding": TEXT, "frames": 5, "seed_frames": SEED, **changes}
    with pytest.raises(GenerationError, match=message):
        generate(build(causal=generate is rollout), **arguments)


def test_the_threads_of_a_step_change_no_bit(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    used: list[int] = []

    class InTurn:
        """Steps on one thread and on two, in turn."""

        @contextmanager
        def step(self) -> Iterator[None]:
            used.append(1 + len(used) % 2)
            torch.set_num_threads(used[-1])
            yield
            torch.set_num_threads(2)

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setitem(rollout.__globals__, "ThreadChoice", InTurn)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = rollout(model, TEXT, 8, SEED)
        torch.set_num_threads(2)
        paced = rollout(model, TEXT, 8, SEED)
        count = len(used)
        rollout(model, TEXT[:1].expand(FEW_ROWS + 1, -1), 4)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone, paced)
    assert count == 14
    assert len(used) == count, "rows beyond few are multiplied otherwise, and keep their threads"


# Models that leave something to chance


def coded(build: Build) -> StickFigureTransformer:
    """A model with two motion codes of one caption."""
    model = build(embedding_dim=8 + WIDTH, motion_code=True)
    text = torch.eye(8 + WIDTH)[0]
    model.code_bank = CodeBank.of([text, text], [torch.full((WIDTH,), value) for value in (-1.0, 1.0)])
    return model


def test_a_seed_draws_what_the_caption_leaves_open(build: Build) -> None:
    model, text = coded(build), torch.eye(8 + WIDTH)[:1]
    made = {seed: rollout(model, text, 6, seed=seed) for seed in range(8)}
    kinds = {tuple(motion.flatten().tolist()) for motion in made.values()}
    assert len(kinds) == 2
    assert torch.equal(rollout(model, text, 6, seed=3), made[3])
    given = model(torch.tensor(rest_pose(20))[None, None], with_code(text, model.code_bank.codes[:1]))
    assert any(torch.allclose(motion[:1], given, atol=1e-5) for motion in made.values()), "the code is read"


def test_given_frames_are_a_beginning_of_their_own(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    model, text = coded(build), torch.eye(8 + WIDTH)[:1]
    read: list[Tensor] = []
    forward = StickFigureTransformer.forward

    def watched(self: StickFigureTransformer, motion: Tensor, text: Tensor, *others: Any, **named: Any) -> Any:
        read.append(text)
        return forward(self, motion, text, *others, **named)

    monkeypatch.setattr(StickFigureTransformer, "forward", watched)
    rollout(model, text, 2, seed=0)
    assert read[0][0, -2:].tolist() == [1.0, 1.0]
    rollout(model, text, 2, SEED[:, :1], seed=0)
    assert read[-1][0, -2:].tolist() == [1.0, 0.0]


def test_given_frames_that_are_not_finite_are_refused_before_a_code_is_drawn(build: Build) -> None:
    broken = SEED[:, :1].clone()
    broken[0, 0, 3] = float("nan")
    with pytest.raises(GenerationError, match="seed_frames: finite numbers expected"):
        rollout(coded(build), torch.eye(8 + WIDTH)[:1], 2, broken, seed=0)


def test_frames_depart_from_their_mean_by_a_share_of_the_predicted_spread(build: Build) -> None:
    model = build(pose_output="velocity", pose_frame="body")
    drawn = rollout(model, TEXT, 6, SEED, seed=2)
    torch.testing.assert_close(drawn, departing(model, 6, seed=2), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(drawn, uncached(model, 6), atol=1e-3), "they do depart"
    assert torch.equal(rollout(model, TEXT, 6, SEED, seed=2), drawn)
    assert not torch.allclose(rollout(model, TEXT, 6, SEED, seed=3), drawn, atol=1e-3)
    assert torch.equal(rollout(model, TEXT, 6, SEED), rollout(model, TEXT, 6, SEED, seed=0))
    alone = rollout(model, TEXT[:1], 6, SEED[:, :1], seed=2)
    torch.testing.assert_close(alone, drawn[:, :1], rtol=1e-3, atol=1e-4)


def departing(model: StickFigureTransformer, frames: int, seed: int) -> Tensor:
    """The motion of a seed, with the whole sequence read again for every frame."""
    noise = []
    for clip in range(SEED.shape[1]):
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, clip]).generate_state(1)[0]))
        noise.append(
            torch.cat([torch.randn(n, SEED.shape[2], generator=generator) for n in (len(SEED), *[1] * frames)])
        )
    draws, motion = DEPARTURE * torch.stack(noise, dim=1), SEED
    with torch.no_grad():
        for _ in range(frames):
            motion = torch.cat((motion, model(motion, TEXT, noise=draws[: len(motion)])[-1:]))
    return motion[len(SEED) :]
