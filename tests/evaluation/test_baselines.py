import dataclasses

import pytest
import torch

from stickgen.data.batch import collate
from stickgen.data.clips import Clip
from stickgen.evaluation.baselines import baseline_metrics, constant_velocity, majority_action, repeat_last_frame
from tests.random_clips import ragged_clips, random_clip

POSE = torch.randn(20, generator=torch.Generator().manual_seed(0))


def moving(frames: int, velocity: float, **changes: object) -> Clip:
    """A clip in which every number grows by the same amount a frame."""
    motion = POSE + velocity * torch.arange(frames).unsqueeze(-1)
    return dataclasses.replace(random_clip(frames), motion=motion, **changes)


def with_actions(*actions: int) -> Clip:
    return dataclasses.replace(random_clip(len(actions)), actions=torch.tensor(actions))


def test_repeating_is_exact_where_nothing_moves() -> None:
    scores = baseline_metrics([collate([moving(5, 0.0), moving(9, 0.0)])], None)
    assert scores["repeat last frame"] == {"pose_mse": 0, "temporal_consistency_error": 0}
    assert scores["constant velocity"] == {"pose_mse": 0, "temporal_consistency_error": 0}


def test_constant_velocity_is_exact_on_linear_motion_but_for_the_first_step() -> None:
    motion = moving(8, 0.25).motion.unsqueeze(1)
    predicted = constant_velocity(motion)
    torch.testing.assert_close(predicted[1:], motion[2:])
    torch.testing.assert_close(predicted[0], motion[0])


def test_the_first_step_of_constant_velocity_repeats_as_that_of_the_model_does() -> None:
    scores = baseline_metrics([collate([moving(9, 0.5)])], None)
    # One target of eight is missed, by 0.5.
    assert scores["constant velocity"]["pose_mse"] == pytest.approx(0.25 / 8, rel=1e-5)
    assert scores["repeat last frame"]["pose_mse"] == pytest.approx(0.25, rel=1e-5)


def test_predictions_come_from_earlier_frames_only() -> None:
    motion = random_clip(9).motion.unsqueeze(1)
    changed = motion.clone()
    changed[5:] += 1
    for predict in (repeat_last_frame, constant_velocity):
        # Entry t of a prediction is for frame t + 1, so entries up to 4 see frames up to 4.
        torch.testing.assert_close(predict(changed)[:5], predict(motion)[:5], rtol=0, atol=0)
        assert len(predict(motion)) == 8


def test_scores_do_not_depend_on_batches_or_padding() -> None:
    clips = ragged_clips()
    whole = baseline_metrics([collate(clips)], 3)
    assert baseline_metrics([collate([clip]) for clip in clips], 3) == whole
    batch = collate(clips)
    padding = batch.padding_mask.T
    spoilt = dataclasses.replace(batch, motion=batch.motion.masked_fill(padding.unsqueeze(-1), float("inf")))
    assert baseline_metrics([spoilt], 3) == whole


def test_the_majority_is_that_of_the_target_frames() -> None:
    # Frame 0 is never a target: action 9 stands there only.
    assert majority_action([with_actions(9, 4), with_actions(9, 4), with_actions(9, 5)]) == 4
    assert majority_action([with_actions(9, 2), random_clip(4, actions=False)]) == 2
    assert majority_action([random_clip(4, actions=False)]) is None


def test_accuracy_of_the_most_frequent_action() -> None:
    batch = collate([with_actions(4, 4, 4), with_actions(4, 1, 4, 2), random_clip(6, actions=False)])
    assert baseline_metrics([batch], 4)["most frequent action"] == {"action_accuracy": pytest.approx(3 / 5)}
    assert baseline_metrics([batch], 7)["most frequent action"] == {"action_accuracy": 0}


def test_without_labels_there_is_no_accuracy() -> None:
    unlabelled = collate([random_clip(4, actions=False)])
    assert "most frequent action" not in baseline_metrics([unlabelled], 4)
    assert "most frequent action" not in baseline_metrics([collate([random_clip(4)])], None)
