import math
from dataclasses import replace

import pytest
import torch

from stickgen.data.batch import Batch, collate
from stickgen.data.clips import Clip
from stickgen.errors import DataError
from stickgen.evaluation.rollouts import (
    HORIZONS,
    TRIVIAL,
    RolloutProtocol,
    constant_velocity,
    model_rollout,
    repeat_last_frame,
    rollout_report,
)
from stickgen.generation import one_shot, rollout
from stickgen.lora import adapted_layers, inject_lora_adapters
from stickgen.model import StickFigureTransformer
from stickgen.skeleton import rest_pose
from tests.random_clips import ragged_clips

CLIPS = ragged_clips((70, 12, 40, 64, 55, 38), camera=True, partner=True)
PROTOCOL = RolloutProtocol(given=4, frames=60, shortest=20, batch_size=2)
METRICS = {
    "rollout_mse_400ms", "rollout_mse_1000ms", "rollout_mse_2000ms", "speed_ratio", "travel_ratio", "jerk_ratio",
    "foot_skating", "bone_length_error", "torso_length_error", "exploded", "frechet_distance", "diversity", "clips",
}  # fmt: skip


def model(*, adapters: bool = False, causal: bool = True) -> StickFigureTransformer:
    torch.manual_seed(0)
    made = StickFigureTransformer(
        d_model=48, nhead=4, num_layers=2, embedding_dim=32, causal=causal, pose_output="residual", pose_scale=0.01
    )
    if adapters:
        inject_lora_adapters(made, rank=4)
        with torch.no_grad():
            for layer in adapted_layers(made).values():
                layer.lora_B.fill_(0.05)
    return made.eval()


def same(first: dict[str, float], second: dict[str, float]) -> bool:
    return first.keys() == second.keys() and all(
        math.isclose(first[name], second[name], rel_tol=1e-4, abs_tol=1e-9)
        or (math.isnan(first[name]) and math.isnan(second[name]))
        for name in first
    )


def test_every_predictor_has_every_metric() -> None:
    report = rollout_report({"base": model_rollout(model())}, CLIPS, protocol=PROTOCOL)
    assert list(report) == [*TRIVIAL, "base"]
    assert all(scores.keys() == METRICS for scores in report.values())
    assert {scores["clips"] for scores in report.values()} == {5}  # one is too short


def test_the_real_clips_are_the_mark() -> None:
    scores = rollout_report({}, CLIPS, protocol=PROTOCOL)["real clips"]
    zero = ("rollout_mse_400ms", "rollout_mse_1000ms", "rollout_mse_2000ms", "bone_length_error", "exploded")
    assert all(scores[name] == 0 for name in zero)
    assert scores["speed_ratio"] == scores["jerk_ratio"] == 1
    assert scores["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert scores["diversity"] > 0


def test_the_error_at_the_horizons_is_that_of_the_frame_there() -> None:
    report = rollout_report({}, CLIPS, protocol=PROTOCOL)
    for name, frames in (("rollout_mse_400ms", 10), ("rollout_mse_1000ms", 25), ("rollout_mse_2000ms", 50)):
        long = [c.motion for c in CLIPS if c.length >= max(4 + frames, 24)]
        still = torch.stack([(m[3 + frames] - m[3]).square() for m in long]).mean()
        moving = torch.stack([(m[3 + frames] - m[3] - frames * (m[3] - m[2])).square() for m in long]).mean()
        assert report["repeat last frame"][name] == pytest.approx(float(still), rel=1e-5)
        assert report["constant velocity"][name] == pytest.approx(float(moving), rel=1e-5)


@pytest.mark.parametrize("go_on", [repeat_last_frame, constant_velocity])
def test_the_trivial_ways_look_at_the_given_frames_alone(go_on: object) -> None:
    batch = collate(CLIPS[:2])
    other = replace(batch, motion=batch.motion.clone())
    other.motion[4:] = 99.0
    assert torch.equal(go_on(batch, 4), go_on(other, 4))  # type: ignore[operator]
    assert go_on(batch, 4).shape == (66, 2, 20)  # type: ignore[operator]
    assert torch.equal(go_on(batch, 1)[5], batch.motion[0])  # type: ignore[operator]


def test_a_model_goes_on_from_caption_given_frames_and_conditions() -> None:
    base, batch = model(), collate(CLIPS[2:4], ("camera", "partner"))
    made = model_rollout(base)(batch, 4)
    assert batch.camera is not None
    expected = rollout(base, batch.embedding, 60, batch.motion[:4], cameras=batch.camera, partners=batch.partner)
    assert torch.equal(made, expected)
    unseen = replace(batch, motion=batch.motion.clone(), actions=batch.actions * 0)
    unseen.motion[4:] = 99.0
    assert torch.equal(model_rollout(base)(unseen, 4), made)


def test_a_bidirectional_base_goes_on_in_one_pass() -> None:
    base, batch = model(causal=False), collate(CLIPS[2:4])
    assert torch.equal(model_rollout(base)(batch, 4), one_shot(base, batch.embedding, 60, batch.motion[:4]))


def test_from_rest_a_model_has_the_caption_and_the_rest_pose() -> None:
    base, batch = model(), collate(CLIPS[2:4])
    made = model_rollout(base)(batch, 0)
    at_rest = torch.tensor(rest_pose(20)).expand(1, 2, 20)
    assert torch.equal(made, rollout(base, batch.embedding, len(batch.motion), at_rest))
    elsewhere = replace(batch, motion=batch.motion + 99)
    assert torch.equal(model_rollout(base)(elsewhere, 0), made)
    for trivial in (repeat_last_frame, constant_velocity):
        assert torch.equal(trivial(elsewhere, 0), at_rest.expand(len(batch.motion), -1, -1))


def test_from_rest_no_error_is_taken_that_a_place_decides() -> None:
    report = rollout_report({"base": model_rollout(model())}, CLIPS, protocol=replace(PROTOCOL, given=0))
    assert all(scores.keys() == METRICS - set(HORIZONS) for scores in report.values())
    still = report["repeat last frame"]
    # The figure at rest keeps its own lengths, which are not those of the people in the clips.
    assert still["bone_length_error"] == pytest.approx(0, abs=1e-6)
    assert report["real clips"]["bone_length_error"] > 0.01
    assert still["travel_ratio"] == still["speed_ratio"] == 0
    assert report["real clips"]["travel_ratio"] == report["real clips"]["speed_ratio"] == 1


def test_batch_size_and_order_do_not_show() -> None:
    predictors = {"base": model_rollout(model())}
    report = rollout_report(predictors, CLIPS, protocol=PROTOCOL)
    other = rollout_report(predictors, CLIPS[::-1], protocol=replace(PROTOCOL, batch_size=5))
    assert all(same(report[name], other[name]) for name in report)


def test_no_more_frames_are_made_than_asked_for() -> None:
    made: list[int] = []

    def counting(batch: Batch, given: int) -> torch.Tensor:
        made.append(len(batch.motion) - given)
        return batch.motion[given:]

    protocol = replace(PROTOCOL, frames=30)
    report = rollout_report({"counting": counting}, CLIPS, protocol=protocol)
    assert max(made) == 30
    assert math.isnan(report["counting"]["rollout_mse_2000ms"])


def test_an_explosion_is_reported_and_does_not_stop_the_others() -> None:
    def exploding(batch: Batch, given: int) -> torch.Tensor:
        return torch.full_like(batch.motion[given:], math.inf)

    report = rollout_report({"exploding": exploding}, CLIPS, protocol=PROTOCOL)
    assert report["exploding"]["exploded"] == 1
    assert not math.isfinite(report["exploding"]["rollout_mse_1000ms"])
    assert math.isnan(report["exploding"]["frechet_distance"])
    assert report["repeat last frame"]["exploded"] == 0


def test_the_space_is_that_of_the_reference() -> None:
    reference: list[Clip] = ragged_clips([60 + i for i in range(16)], mixed=False)
    own = rollout_report({}, CLIPS, protocol=PROTOCOL)
    other = rollout_report({}, CLIPS, reference=reference, protocol=PROTOCOL)
    assert other["repeat last frame"]["frechet_distance"] != own["repeat last frame"]["frechet_distance"]
    assert other["real clips"]["frechet_distance"] == pytest.approx(0, abs=1e-6)


def test_without_a_clip_that_is_long_enough_there_is_nothing_to_score() -> None:
    with pytest.raises(DataError, match="no clip has 100 frames, 75 to give and 25"):
        rollout_report({}, CLIPS, protocol=RolloutProtocol(given=75))
