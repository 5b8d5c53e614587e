import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stickgen.config import LossWeights
from stickgen.data.batch import NO_ACTION, Batch, TargetCounts, collate
from stickgen.data.clips import Clip
from stickgen.model.body_frame import BodyFrame
from stickgen.motion.skeleton import FPS, rest_pose
from stickgen.training.losses import (
    PLANTED_SPEED,
    Targets,
    contact_sum,
    loss_terms,
    pose_sum,
    spread_sum,
    temporal_sum,
    total_loss,
)
from stickgen.training.module import MotionModule
from tests.random_clips import ragged_clips, random_clip

CLIPS = ragged_clips((9, 2, 5, 12, 3, 7, 4))
WEIGHTS = {"mse": 1.0, "gravity": 0.3, "momentum": 0.1, "consistency": 0.2}
SCALE = torch.tensor([0.5, 1.0, 2.0, 3.0, 0.7, 1.5])
POSE_SCALE = 0.2
TERMS = ("pose", "temporal", "action", "physics")

Outputs = dict[str, Tensor]


def outputs_of(clip: Clip) -> Outputs:
    """What a model might give for a clip, ``[T - 1, ...]`` each."""
    random = torch.Generator().manual_seed(500 + clip.index)
    widths = {"pose": 20, "action_logits": 64, "physics": 6}
    return {name: torch.randn(clip.length - 1, width, generator=random) for name, width in widths.items()}


def padded_outputs(clips: Sequence[Clip], fill: float = 0.0) -> Outputs:
    frames = max(clip.length for clip in clips) - 1
    outputs = {name: torch.full((frames, len(clips), t.shape[-1]), fill) for name, t in outputs_of(clips[0]).items()}
    for column, clip in enumerate(clips):
        for name, values in outputs_of(clip).items():
            outputs[name][: clip.length - 1, column] = values
    return outputs


def terms_of(batch: Batch, outputs: Outputs, counts: TargetCounts | None = None, **of_body: Any) -> dict[str, Tensor]:
    mask = ~batch.padding_mask.T[1:]
    body_frame = of_body.pop("body_frame", None)
    targets = Targets(
        pose=batch.motion[1:],
        mask=mask,
        actions=batch.actions[1:],
        physics=batch.physics[1:],
        physics_mask=mask & batch.has_physics,
        counts=counts or batch.step_counts,
        **of_body,
    )
    return loss_terms(
        outputs,
        targets,
        gravity=WEIGHTS["gravity"],
        pose_scale=POSE_SCALE,
        physics_scale=SCALE,
        body_frame=body_frame,
    )


def mean(values: list[Tensor]) -> float:
    entries = [entry for value in values for entry in value.flatten().tolist()]
    return math.fsum(entries) / len(entries) if entries else 0.0


def clip_by_clip(clips: Sequence[Clip]) -> dict[str, float]:
    """The terms by their definitions, over clips that are never padded."""
    pose, temporal, action = [], [], []
    parts: dict[str, list[Tensor]] = {name: [] for name in ("mse", "gravity", "momentum", "consistency")}
    for clip in clips:
        outputs = outputs_of(clip)
        pose.append((outputs["pose"] - clip.motion[1:]) ** 2 / POSE_SCALE**2)
        temporal.append(outputs["pose"].diff(dim=0) ** 2 / POSE_SCALE**2)
        if clip.actions is not None:
            chosen = outputs["action_logits"].log_softmax(-1)
            action.append(-chosen[torch.arange(clip.length - 1), clip.actions[1:]])
        if clip.physics is not None:
            p, true = outputs["physics"], clip.physics[1:]
            parts["mse"].append(((p - true) / SCALE) ** 2)
            parts["gravity"].append(((p[:, 3] + 9.8) / SCALE[3]) ** 2)
            parts["momentum"].append(((p[:, 4:].diff(dim=0) / SCALE[4:]) ** 2).sum(-1))
            drift = p[1:, :2] - p[:-1, :2] - p[:-1, 2:4] / 25
            parts["consistency"].append(((drift / SCALE[:2]) ** 2).sum(-1))
    physics = sum(WEIGHTS[name] * mean(values) for name, values in parts.items())
    return {"pose": mean(pose), "temporal": mean(temporal), "action": mean(action), "physics": physics}


def test_terms_of_a_ragged_batch_are_the_means_over_real_targets() -> None:
    terms = terms_of(collate(CLIPS), padded_outputs(CLIPS))
    assert tuple(terms) == TERMS
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(clip_by_clip(CLIPS), rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, len(CLIPS)])
def test_terms_of_the_parts_of_a_step_add_up_to_those_of_the_step(size: int) -> None:
    counts = TargetCounts.of(CLIPS)
    sums = dict.fromkeys(TERMS, 0.0)
    for at in range(0, len(CLIPS), size):
        clips = CLIPS[at : at + size]
        for name, value in terms_of(collate(clips), padded_outputs(clips), counts).items():
            sums[name] += float(value)
    assert sums == pytest.approx(clip_by_clip(CLIPS), rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, len(CLIPS)])
def test_the_gradient_of_the_outputs_does_not_depend_on_the_division(size: int) -> None:
    def gradient(size: int) -> dict[str, Tensor]:
        leaves = {name: value.requires_grad_() for name, value in padded_outputs(CLIPS).items()}
        for at in range(0, len(CLIPS), size):
            clips = CLIPS[at : at + size]
            frames = max(clip.length for clip in clips) - 1
            part = {name: value[:frames, at : at + size] for name, value in leaves.items()}
            terms = terms_of(collate(clips), part, TargetCounts.of(CLIPS))
            total_loss(terms, LossWeights()).backward()
        return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}

    whole, divided = gradient(len(CLIPS)), gradient(size)
    assert set(divided) == {"pose", "action_logits", "physics"}
    for name, expected in whole.items():
        assert expected.any()
        torch.testing.assert_close(divided[name], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("fill", [1e30, math.inf, math.nan])
def test_what_lies_in_the_padding_does_not_matter(fill: float) -> None:
    batch = collate(CLIPS)
    padding = batch.padding_mask.T.unsqueeze(-1)
    spoilt = dataclasses.replace(
        batch, motion=batch.motion.masked_fill(padding, fill), physics=batch.physics.masked_fill(padding, fill)
    )
    expected = terms_of(batch, padded_outputs(CLIPS))
    for name, value in terms_of(spoilt, padded_outputs(CLIPS, fill)).items():
        assert float(value) == float(expected[name])


@pytest.mark.parametrize("fill", [math.inf, math.nan])
def test_what_is_predicted_in_the_padding_gets_no_gradient(fill: float) -> None:
    outputs = {name: value.requires_grad_() for name, value in padded_outputs(CLIPS, 1.0).items()}
    batch = collate(CLIPS)
    padding = batch.padding_mask.T.unsqueeze(-1)
    total_loss(
        terms_of(dataclasses.replace(batch, motion=batch.motion.masked_fill(padding, fill)), outputs), LossWeights()
    ).backward()
    for name, value in outputs.items():
        assert value.grad is not None
        assert bool(torch.isfinite(value.grad).all()), name
        assert not value.grad.masked_select(padding[1:].expand_as(value.grad)).any(), name


def test_a_clip_without_labels_drops_out_of_its_own_term_only() -> None:
    full = [random_clip(6, seed=0), random_clip(4, seed=1)]
    lone = terms_of(collate(full[:1]), padded_outputs(full[:1]))
    both = terms_of(collate(full), padded_outputs(full))
    for missing, term in (("actions", "action"), ("physics", "physics")):
        clips = [full[0], dataclasses.replace(full[1], **{missing: None})]
        terms = terms_of(collate(clips), padded_outputs(clips))
        for name in TERMS:
            assert float(terms[name]) == pytest.approx(float((lone if name == term else both)[name]), rel=1e-6), name


def test_a_step_without_any_labels_gives_zero_and_not_nan() -> None:
    clips = [random_clip(n, seed=i, actions=False, physics=False) for i, n in enumerate((4, 2, 6))]
    outputs = {name: value.requires_grad_() for name, value in padded_outputs(clips).items()}
    terms = terms_of(collate(clips), outputs)
    assert terms["action"].item() == 0
    assert terms["physics"].item() == 0
    total_loss(terms, LossWeights()).backward()
    assert outputs["pose"].grad is not None
    for name, value in outputs.items():
        assert value.grad is None or bool(torch.isfinite(value.grad).all()), name


def test_clips_of_two_frames_have_no_pairs_and_no_nan() -> None:
    clips = [random_clip(2, seed=i) for i in range(3)]
    terms = terms_of(collate(clips), padded_outputs(clips))
    assert float(terms["temporal"]) == 0
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(clip_by_clip(clips), rel=1e-5)


def test_pose_errors_are_in_units_of_the_pose_scale() -> None:
    pose, target = torch.full((3, 1, 20), 0.06), torch.zeros(3, 1, 20)
    mask = torch.ones(3, 1, dtype=torch.bool)
    assert float(pose_sum(pose, target, mask, 0.03)) == pytest.approx(3 * 4)
    assert float(pose_sum(pose, target, mask, 1.0)) == pytest.approx(3 * 0.0036)


def test_the_temporal_term_is_the_mean_of_squared_first_differences_of_the_prediction() -> None:
    pose = torch.tensor([0.0, 1.0, 3.0, 6.0]).reshape(4, 1, 1).expand(4, 1, 20)
    mask = torch.ones(4, 1, dtype=torch.bool)
    assert float(temporal_sum(pose, mask, 1.0)) == pytest.approx(1 + 4 + 9)
    assert float(temporal_sum(pose, mask, 0.5)) == pytest.approx(4 * (1 + 4 + 9))
    mask[3] = False
    assert float(temporal_sum(pose, mask, 1.0)) == pytest.approx(1 + 4)


def test_the_total_is_the_weighted_sum() -> None:
    terms = {name: torch.tensor(value) for name, value in zip(TERMS, (1.0, 10.0, 100.0, 1000.0), strict=True)}
    weights = LossWeights(pose=1.0, temporal=0.1, action=0.2, physics=0.25)
    assert float(total_loss(terms, weights)) == pytest.approx(1 + 1 + 20 + 250)


def test_cross_entropy_ignores_what_has_no_label() -> None:
    logits, labels = torch.randn(4, 1, 64), torch.tensor([3, NO_ACTION, 5, 7]).unsqueeze(1)
    clips = [dataclasses.replace(random_clip(5), actions=torch.tensor([0, 3, 1, 5, 7]))]
    batch = collate(clips)
    batch = dataclasses.replace(batch, actions=torch.cat((batch.actions[:1], labels)))
    outputs = {**padded_outputs(clips), "action_logits": logits}
    expected = F.cross_entropy(logits[[0, 2, 3], 0], torch.tensor([3, 5, 7]), reduction="sum")
    assert float(terms_of(batch, outputs)["action"]) == pytest.approx(float(expected) / 4, rel=1e-5)


# The same through the module: what the optimizer gets after a step, however the step was cut.


def step_gradients(
    module: MotionModule, gradients: Callable[[MotionModule], dict[str, Tensor]], clips: Sequence[Clip], size: int
) -> dict[str, Tensor]:
    """Gradients as Lightning accumulates them: each loss divided by ``accumulate_grad_batches``."""
    module.zero_grad(set_to_none=True)
    counts = TargetCounts.of(clips)
    for at in range(0, len(clips), size):
        batch = collate(clips[at : at + size], step_counts=counts, ends_step=at + size >= len(clips))
        (module.training_step(batch, at // size) / module.trainer.accumulate_grad_batches).backward()
    return gradients(module)


@pytest.mark.parametrize("lora", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.usefixtures("one_thread")
def test_the_gradient_of_a_step_does_not_depend_on_micro_batches(
    module: Callable[..., MotionModule], gradients: Callable[..., dict[str, Tensor]], lora: bool, causal: bool
) -> None:
    whole = module(lora=lora, accumulate=1, settings={"causal": causal})
    expected = step_gradients(whole, gradients, CLIPS, len(CLIPS))
    assert expected
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for size in (1, 2, 3):
        # 7 does not go into 8: the last step of an epoch is divided by the same number as a full one.
        divided = module(lora=lora, accumulate=8, settings={"causal": causal})
        found = step_gradients(divided, gradients, CLIPS, size)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5 * largest, msg=name)
        assert len(divided.steps) == 1
        assert divided.steps[0] == pytest.approx(whole.steps[0], rel=1e-5)


def test_the_logged_loss_is_that_of_the_whole_step(module: Callable[..., MotionModule]) -> None:
    motion_module = module(accumulate=4)
    counts = TargetCounts.of(CLIPS)
    total = 0.0
    for at in range(0, len(CLIPS), 2):
        batch = collate(CLIPS[at : at + 2], step_counts=counts, ends_step=at + 2 >= len(CLIPS))
        total += motion_module.training_step(batch, at // 2).item() / 4
    (logged,) = motion_module.steps
    assert logged["train/loss"] == pytest.approx(total, rel=1e-5)
    weights = LossWeights()
    assert logged["train/loss"] == pytest.approx(
        sum(getattr(weights, name) * logged[f"train/{name}"] for name in TERMS), rel=1e-5
    )


@pytest.mark.parametrize("fill", [1e30, math.inf, math.nan])
@pytest.mark.parametrize("causal", [True, False])
def test_padding_of_any_kind_leaves_the_gradient_as_it_is(
    module: Callable[..., MotionModule], gradients: Callable[..., dict[str, Tensor]], fill: float, causal: bool
) -> None:
    batch = collate(CLIPS)
    padding = batch.padding_mask.T.unsqueeze(-1)
    spoilt = dataclasses.replace(
        batch, motion=batch.motion.masked_fill(padding, fill), physics=batch.physics.masked_fill(padding, fill)
    )
    found = []
    for given in (batch, spoilt):
        motion_module = module(settings={"causal": causal})
        motion_module.training_step(given, 0).backward()
        found.append(gradients(motion_module))
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-7, msg=name)


# Terms of a base with pose_frame=body


def test_a_foot_is_asked_to_be_planted_where_it_is_slow() -> None:
    motion = torch.tensor(rest_pose(20)).repeat(4, 1, 1)
    x, slow, fast = 6, 0.9 * PLANTED_SPEED / FPS, 1.1 * PLANTED_SPEED / FPS
    motion[1:, 0, x] += slow
    motion[2:, 0, x] += fast
    logits = torch.tensor([[9.0, 9.0], [-9.0, 9.0], [9.0, 9.0]])[:, None]
    mask = torch.ones(3, 1, dtype=torch.bool)
    assert float(contact_sum(logits, motion.diff(dim=0), mask)) == pytest.approx(3 * math.log1p(math.exp(-9)), rel=1e-3)
    assert float(contact_sum(-logits, motion.diff(dim=0), mask)) > 20
    mask[1:] = False
    assert float(contact_sum(-logits, motion.diff(dim=0), mask)) == pytest.approx(9, rel=1e-3)


def test_a_spread_is_best_where_it_is_the_size_of_the_errors_and_leaves_the_mean_alone() -> None:
    error = torch.full((2, 1, 20), 0.3, requires_grad=True)
    spread = torch.full((2, 1, 20), 0.3, requires_grad=True)
    mask = torch.tensor([[True], [False]])
    value = spread_sum(error, spread, mask)
    assert float(value) == pytest.approx(0.5 + math.log(0.3), rel=1e-5)
    value.backward()
    assert error.grad is None
    assert spread.grad is not None
    torch.testing.assert_close(spread.grad, torch.zeros_like(spread), atol=1e-5, rtol=0)
    assert float(spread_sum(error, 2 * spread, mask)) > float(value)
    assert float(spread_sum(error, spread / 2, mask)) > float(value)


def test_the_spread_is_fitted_where_frames_are_read_as_they_are() -> None:
    batch = collate([random_clip(9, seed=1), random_clip(9, seed=2)])
    outputs = padded_outputs([random_clip(9, seed=1), random_clip(9, seed=2)])
    outputs |= {"contact": torch.zeros(8, 2, 2), "spread": torch.full((8, 2, 20), 0.5)}
    frame = BodyFrame(20, 1.0, POSE_SCALE)

    def spread_of(undisturbed: Tensor | bool) -> float:
        return float(
            terms_of(batch, outputs, steps=batch.motion.diff(dim=0), body_frame=frame, undisturbed=undisturbed)[
                "spread"
            ]
        )

    assert "spread" not in terms_of(batch, outputs)
    both, first, second = (
        spread_of(True),
        spread_of(torch.tensor([True, False])),
        spread_of(torch.tensor([False, True])),
    )
    assert first != pytest.approx(second)
    assert both == pytest.approx(first + second, rel=1e-5)
