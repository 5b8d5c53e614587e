import math
from collections.abc import Sequence
from typing import cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stickgen.data.batch import NO_ACTION, collate
from stickgen.data.clips import Clip
from stickgen.evaluation.metrics import ActionAccuracy, PoseMSE, TemporalConsistencyError, motion_metrics
from tests.random_clips import ragged_clips

CLIPS = ragged_clips((9, 2, 5, 12, 3, 7, 4, 2, 20))


def prediction(clip: Clip) -> tuple[Tensor, Tensor]:
    """Poses ``[T - 1, 20]`` and action logits ``[T - 1, 64]`` as a model might give for a clip."""
    random = torch.Generator().manual_seed(1000 + clip.index)
    poses = clip.motion[1:] + 0.1 * torch.randn(clip.length - 1, 20, generator=random)
    logits = torch.randn(clip.length - 1, 64, generator=random)
    if clip.actions is not None:  # right for about half of the frames
        hit = torch.rand(clip.length - 1, generator=random) < 0.5
        logits[hit, clip.actions[1:][hit]] += 20
    return poses, logits


def scores(division: Sequence[Sequence[Clip]], padding: float = 0.0) -> dict[str, float]:
    """Metrics over batches of clips, with predictions and targets in the padding filled with a number."""
    metrics = motion_metrics(64, "")
    for clips in division:
        batch = collate(clips)
        mask = ~batch.padding_mask.T[1:]
        poses, logits = (torch.full((*mask.shape, width), padding) for width in (20, 64))
        for column, clip in enumerate(clips):
            poses[: clip.length - 1, column], logits[: clip.length - 1, column] = prediction(clip)
        target = batch.motion[1:].masked_fill(~mask.unsqueeze(-1), -padding)
        metrics.update(pose=poses, target=target, mask=mask, logits=logits, actions=batch.actions[1:])
    return {name: float(value) for name, value in metrics.compute().items()}


def brute_force(clips: Sequence[Clip]) -> dict[str, float]:
    """The same numbers, entry by entry."""
    squares: list[float] = []
    steps: list[float] = []
    hits: list[bool] = []
    for clip in clips:
        poses, logits = prediction(clip)
        for t in range(1, clip.length):
            for d in range(20):
                squares.append(float(poses[t - 1, d] - clip.motion[t, d]) ** 2)
                if t > 1:
                    moved = float(poses[t - 1, d] - poses[t - 2, d])
                    steps.append((moved - float(clip.motion[t, d] - clip.motion[t - 1, d])) ** 2)
            if clip.actions is not None:
                hits.append(int(logits[t - 1].argmax()) == int(clip.actions[t]))
    return {
        "pose_mse": math.fsum(squares) / len(squares),
        "temporal_consistency_error": math.fsum(steps) / len(steps),
        "action_accuracy": sum(hits) / len(hits),
    }


def test_metrics_equal_brute_force_over_the_real_frames() -> None:
    expected = brute_force(CLIPS)
    assert 0.3 < expected["action_accuracy"] < 0.7
    assert scores([CLIPS]) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(order=st.permutations(range(len(CLIPS))), size=st.integers(1, len(CLIPS)))
def test_batch_size_and_order_do_not_show_in_a_single_bit(order: list[int], size: int) -> None:
    clips = [CLIPS[i] for i in order]
    assert scores([clips[at : at + size] for at in range(0, len(clips), size)]) == scores([CLIPS])


@pytest.mark.parametrize("padding", [1e30, math.inf, math.nan])
def test_what_lies_in_the_padding_does_not_matter(padding: float) -> None:
    assert scores([CLIPS], padding) == scores([CLIPS])


def test_clips_without_actions_count_for_the_poses_only() -> None:
    labelled = [clip for clip in CLIPS if clip.actions is not None]
    assert len(labelled) < len(CLIPS)
    assert scores([CLIPS])["action_accuracy"] == scores([labelled])["action_accuracy"]
    assert scores([CLIPS])["pose_mse"] != scores([labelled])["pose_mse"]


def test_action_accuracy_by_hand() -> None:
    accuracy = ActionAccuracy(4)
    logits = torch.eye(4)[torch.tensor([0, 1, 2, 3, 3])].unsqueeze(1)
    accuracy.update(logits, torch.tensor([0, 1, 0, NO_ACTION, 1]).unsqueeze(1))
    assert float(accuracy.compute()) == 0.5


def test_an_accuracy_of_nothing_is_nan_and_not_zero() -> None:
    accuracy = ActionAccuracy(64)
    accuracy.update(torch.randn(3, 2, 64), torch.full((3, 2), NO_ACTION))
    assert math.isnan(accuracy.compute())
    wrong = ActionAccuracy(4)
    wrong.update(torch.eye(4)[:2].unsqueeze(1), torch.tensor([[1], [0]]))
    assert float(wrong.compute()) == 0


def test_the_temporal_error_is_that_of_first_differences() -> None:
    target = torch.tensor([0.0, 1.0, 3.0, 6.0]).reshape(4, 1, 1)
    mask = torch.ones(4, 1, dtype=torch.bool)

    def error(pose: Tensor, mask: Tensor = mask) -> float:
        metric = TemporalConsistencyError()
        metric.update(pose, target, mask)
        return float(metric.compute())

    assert error(target + 5) == 0, "a constant offset moves as the target does"
    assert error(torch.zeros(4, 1, 1)) == pytest.approx((1 + 4 + 9) / 3)
    last_is_padding = torch.tensor([True, True, True, False]).unsqueeze(1)
    assert error(torch.zeros(4, 1, 1), last_is_padding) == pytest.approx((1 + 4) / 2)


def test_the_pose_error_by_hand() -> None:
    metric = PoseMSE()
    mask = torch.tensor([[True], [False]])
    metric.update(torch.tensor([[[1.0, 2.0]], [[9.0, 9.0]]]), torch.zeros(2, 1, 2), mask)
    assert float(metric.compute()) == pytest.approx((1 + 4) / 2)


def test_errors_of_nothing_are_nan() -> None:
    two = torch.zeros(1, 1, 20)
    metric = TemporalConsistencyError()
    metric.update(two, two, torch.ones(1, 1, dtype=torch.bool))
    assert math.isnan(metric.compute()), "clips of two frames have no pair of targets"


def test_resetting_forgets() -> None:
    metrics = motion_metrics(64, "val/")
    assert set(metrics) == {"val/pose_mse", "val/action_accuracy", "val/temporal_consistency_error"}
    for clips in (CLIPS[:4], CLIPS[4:]):
        batch = collate(clips)
        mask = ~batch.padding_mask.T[1:]
        logits = torch.randn(*mask.shape, 64, generator=torch.Generator().manual_seed(0))
        given = {"pose": batch.motion[:-1], "target": batch.motion[1:], "mask": mask}
        metrics.update(**given, logits=logits, actions=batch.actions[1:])
        values = metrics.compute()
        alone = PoseMSE()
        alone.update(**given)
        assert values["val/pose_mse"] == alone.compute()
        metrics.reset()


def test_sums_are_nearly_as_exact_as_float64_and_need_none() -> None:
    many = 10 ** torch.linspace(-6, 3, 2001, dtype=torch.float64).float()
    one_by_one, halves = PoseMSE(), [PoseMSE(), PoseMSE()]
    for i, value in enumerate(many):
        for metric in (one_by_one, halves[i % 2]):
            metric.update(value.reshape(1, 1, 1), torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool))
    exact = math.fsum(float(value) ** 2 for value in many)
    reduce = one_by_one._reductions["total"]
    assert callable(reduce)
    of_processes = reduce(torch.stack([cast("Tensor", half.total) for half in halves]))
    for total in (one_by_one.total, of_processes):
        assert total.dtype == torch.float32, "MPS has no float64"
        assert float(total.double().sum()) == pytest.approx(exact, rel=1e-12)
