"""Every metric of a way to continue clips, for tasks and groups, on random clips and constructed motion."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stickgen.data.batch import Batch
from stickgen.data.clips import Clip
from stickgen.errors import DataError
from stickgen.evaluation.examination import ALL, Examination, Scores
from stickgen.evaluation.features import FeatureSpace, features_of
from stickgen.evaluation.retrieval import nearest_caption
from stickgen.evaluation.rollouts import (
    HORIZONS,
    TRIVIAL,
    GoOn,
    RolloutProtocol,
    model_rollout,
    real_clips,
    repeat_last_frame,
)
from stickgen.metrics import REST, SWITCH
from stickgen.motion.actions import action_index
from stickgen.motion.skeleton import rest_pose
from tests.evaluation.test_rollouts import CLIPS, model
from tests.random_clips import ragged_clips, random_clip

PROTOCOL = RolloutProtocol(given=4, max_frames=64, shortest=20, batch_size=2)
REST_POSE = torch.tensor(rest_pose(20))
METRICS = {
    "speed_ratio", "travel_ratio", "root_drift", "jerk_ratio", "foot_contact", "stance_slip", "foot_skating",
    "bone_length_error", "torso_length_error", "exploded", "frechet_distance", "diversity", "clips",
}  # fmt: skip


def report(
    predictors: Mapping[str, GoOn],
    clips: Sequence[Clip] = CLIPS,
    protocol: RolloutProtocol = PROTOCOL,
    reference: Sequence[Clip] | None = None,
) -> dict[str, Scores]:
    examination = Examination(clips, reference or clips, protocol)
    return {name: examination.score(go_on)[ALL] for name, go_on in {**TRIVIAL, **predictors}.items()}


def same(first: Scores, second: Scores) -> bool:
    return first.keys() == second.keys() and all(
        math.isclose(first[name], second[name], rel_tol=1e-4, abs_tol=1e-4)
        or (math.isnan(first[name]) and math.isnan(second[name]))
        for name in first
    )


def moving(action: str, style: str, take: int, *, speed: float, height: float = 0.0, frames: int = 60) -> Clip:
    """A figure at rest that slides along x at a speed a frame, its wrists at a height of their own."""
    motion = (REST_POSE + speed * torch.arange(float(frames))[:, None] * torch.tensor([1.0, 0.0] * 10)).clone()
    motion[:, [15, 19]] += height + 0.01 * torch.sin(torch.arange(float(frames)) / 3 + take)[:, None]
    label = torch.full((frames,), action_index(action))
    embedding = torch.nn.functional.one_hot(torch.tensor(hash_of(action, style)), 32).float()
    changes = {"motion": motion, "actions": label, "embedding": embedding, "style": style}
    return replace(random_clip(frames, seed=take, take=f"{action} {style} {take}"), **changes)


def hash_of(action: str, style: str) -> int:
    return 2 * ["walk", "idle"].index(action) + ["plain", "high"].index(style)


def styled(takes: Sequence[int]) -> list[Clip]:
    return [
        moving(action, style, take, speed=speed, height=height)
        for action, speed in (("walk", 0.03), ("idle", 0.0))
        for style, height in (("plain", 0.0), ("high", 0.3))
        for take in takes
    ]


def test_every_predictor_has_every_metric_of_given_frames_and_from_rest() -> None:
    scores = report({"base": model_rollout(model())})
    assert list(scores) == [*TRIVIAL, "base"]
    for found in scores.values():
        assert {name for name in found if not name.startswith((REST, SWITCH))} == METRICS | set(HORIZONS)
        assert {name for name in found if name.startswith(REST)} - {f"{REST}seed_diversity"} == {
            f"{REST}{name}" for name in METRICS | {"kept_pace"}
        }
    assert {found["clips"] for found in scores.values()} == {5}  # one is too short


def test_the_real_clips_are_the_mark() -> None:
    scores = report({})["real clips"]
    assert all(scores[name] == 0 for name in (*HORIZONS, "bone_length_error", "exploded"))
    ratios = ("speed_ratio", "jerk_ratio", "travel_ratio")
    assert all(scores[prefix + name] == pytest.approx(1) for prefix in ("", REST) for name in ratios)
    assert scores["frechet_distance"] == pytest.approx(0, abs=1e-6)
    assert scores["diversity"] > 0


def test_real_clips_that_go_the_other_way_travel_as_asked_too() -> None:
    turned = [replace(clip, motion=-clip.motion) for clip in CLIPS]
    assert report({}, turned)["real clips"][f"{REST}travel_ratio"] == pytest.approx(1)


def test_the_error_at_the_horizons_is_that_of_the_frame_there() -> None:
    scores = report({})
    for name, frames in HORIZONS.items():
        long = [c.motion for c in CLIPS if c.length >= max(4 + frames, 24)]
        still = torch.stack([(m[3 + frames] - m[3]).square() for m in long]).mean()
        moving_on = torch.stack([(m[3 + frames] - m[3] - frames * (m[3] - m[2])).square() for m in long]).mean()
        assert scores["repeat last frame"][name] == pytest.approx(float(still), rel=1e-5)
        assert scores["constant velocity"][name] == pytest.approx(float(moving_on), rel=1e-5)


def test_from_rest_no_error_is_taken_that_a_place_decides() -> None:
    scores = report({"base": model_rollout(model())}, protocol=replace(PROTOCOL, given=0))
    assert all(name.startswith(REST) for found in scores.values() for name in found)
    assert not any(f"{REST}{name}" in found for found in scores.values() for name in HORIZONS)
    still = scores["repeat last frame"]
    # The figure at rest has other lengths than the people in the clips.
    assert still[f"{REST}bone_length_error"] > 0.1
    assert scores["real clips"][f"{REST}bone_length_error"] == pytest.approx(0, abs=1e-6)
    assert still[f"{REST}travel_ratio"] == still[f"{REST}speed_ratio"] == 0


def test_clips_too_short_to_be_given_frames_of_are_scored_from_rest() -> None:
    scores = report({}, protocol=replace(PROTOCOL, given=30))["real clips"]
    assert (scores["clips"], scores[f"{REST}clips"]) == (3, 5)
    assert "clips" not in report({}, protocol=replace(PROTOCOL, given=60))["real clips"]


def test_batch_size_and_order_do_not_show() -> None:
    base = model()
    found = []
    for clips, size in ((CLIPS, 2), (CLIPS[::-1], 5)):
        examination = Examination(clips, CLIPS, replace(PROTOCOL, batch_size=size))
        found.append(examination.score(model_rollout(base), again=model_rollout(base, seed=1))[ALL])
    assert f"{REST}seed_diversity" in found[0]
    assert same(*found)


def test_each_rollout_is_made_once_and_no_longer_than_needed() -> None:
    made: list[tuple[int, int]] = []
    told: list[None] = []

    def counting(batch: Batch, given: int) -> Tensor:
        made.append((given, len(batch.motion)))
        return batch.motion[given:]

    examination = Examination(CLIPS, CLIPS, replace(PROTOCOL, max_frames=50), by="action")
    examination.score(counting, made=lambda: told.append(None))
    assert len(made) == len(told) == examination.rollouts
    # Of given frames to the end of the longest clip beside, from rest always to the protocol's.
    assert [frames for given, frames in made if given] == [40, 50, 50]
    assert [frames for given, frames in made if not given] == [50, 50, 50]


def test_an_explosion_is_reported_and_does_not_stop_the_others() -> None:
    def exploding(batch: Batch, given: int) -> Tensor:
        return torch.full_like(batch.motion[given:], math.inf)

    scores = report({"exploding": exploding})
    assert scores["exploding"]["exploded"] == scores["exploding"][f"{REST}exploded"] == 1
    assert not math.isfinite(scores["exploding"]["rollout_mse_1000ms"])
    assert math.isnan(scores["exploding"]["frechet_distance"])
    assert scores["repeat last frame"]["exploded"] == 0


def test_the_space_is_that_of_the_reference() -> None:
    reference = ragged_clips([60 + i for i in range(16)], mixed=False)
    own, other = report({}), report({}, reference=reference)
    assert other["repeat last frame"]["frechet_distance"] != own["repeat last frame"]["frechet_distance"]
    assert other["real clips"]["frechet_distance"] == pytest.approx(0, abs=1e-6)


def test_without_a_clip_that_is_long_enough_there_is_nothing_to_score() -> None:
    with pytest.raises(DataError, match="no clip has 75 frames"):
        report({}, protocol=RolloutProtocol(shortest=75))


def test_action_and_style_are_recognised_in_three_tasks() -> None:
    train, test = styled(range(4)), styled((8, 9))
    examination = Examination(test, train, PROTOCOL)
    kinds = ("action_recognised", "style_recognised")
    real, still, nearest = (
        examination.score(go_on)[ALL] for go_on in (real_clips, repeat_last_frame, nearest_caption(train))
    )
    assert all(real[prefix + kind] == nearest[prefix + kind] == 1 for prefix in ("", SWITCH, REST) for kind in kinds)
    # Whoever keeps standing shows the style of the given frames: never the one that the caption asks for.
    assert still["style_recognised"] == 1
    assert still[f"{SWITCH}style_recognised"] == 0
    assert still["action_recognised"] == 0.5
    assert examination.chance()[ALL] == {prefix + kind: 0.5 for prefix in ("", SWITCH, REST) for kind in kinds}


def test_groups_are_the_clips_of_one_label() -> None:
    train, test = styled(range(4)), styled((8, 9))
    examination = Examination(test, train, PROTOCOL, by="action")
    assert examination.groups == ["idle", "walk"]
    scores = examination.score(repeat_last_frame)
    assert (scores["walk"]["action_recognised"], scores["idle"]["action_recognised"]) == (0, 1)
    walks = [clip for clip in test if clip.take.startswith("walk")]
    alone = Examination(walks, train, PROTOCOL).score(repeat_last_frame)[ALL]
    for metric in ("rollout_mse_1000ms", "travel_ratio", f"{REST}root_drift", f"{REST}kept_pace", "diversity", "clips"):
        assert scores["walk"][metric] == pytest.approx(alone[metric], nan_ok=True)


def test_the_diversity_of_a_prompt_is_the_distance_between_its_seeds() -> None:
    train, test = styled(range(4)), styled((8, 9))
    base = model()
    examination = Examination(test, train, PROTOCOL)
    protocol = PROTOCOL.from_rest
    (first, second) = (
        torch.cat(
            [features_of(list(model_rollout(base, seed)(batch, 0).unbind(1))) for batch in protocol.batches(test)]
        )
        for seed in (None, 1)
    )
    space = FeatureSpace.fit(features_of([clip.motion for clip in train]))
    expected = torch.linalg.vector_norm(space.project(first) - space.project(second), dim=1).mean()
    scores = examination.score(model_rollout(base), again=model_rollout(base, seed=1))[ALL]
    assert scores[f"{REST}seed_diversity"] == pytest.approx(float(expected), rel=1e-3)
    # Real clips: each to those of its action in the training clips.
    own = space.project(features_of([clip.motion for clip in protocol.clips(test)]))
    others = space.project(features_of([clip.motion for clip in train]))
    of = [clip.take.split()[0] for clip in protocol.clips(test)]
    means = [
        torch.stack(
            [torch.dist(own[i], others[j]) for j, clip in enumerate(train) if clip.take.startswith(action)]
        ).mean()
        for i, action in enumerate(of)
    ]
    real = examination.score(real_clips)[ALL][f"{REST}seed_diversity"]
    assert real == pytest.approx(float(torch.stack(means).mean()), rel=1e-6)
