"""Each metric against a loop over clips, frames and segments, and on motion whose score is known."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric

from stickgen.data.batch import collate
from stickgen.data.clips import Clip
from stickgen.evaluation.motion_quality import (
    BoneLengthError,
    ExplodedShare,
    FootContact,
    FootSkating,
    HorizonMSE,
    JerkRatio,
    KeptPace,
    RootDrift,
    SpeedRatio,
    StanceSlip,
    TorsoLengthError,
    TravelRatio,
)
from stickgen.motion.skeleton import STICK_5, rest_pose
from tests.random_clips import ragged_clips

CLIPS = ragged_clips((9, 6, 5, 12, 7, 20), mixed=False)
REST = torch.tensor(rest_pose(20))
X = torch.tensor([1.0, 0.0] * 10)


def generated(clip: Clip) -> Tensor:
    """What a model might make instead of a clip."""
    noise = torch.randn(clip.motion.shape, generator=torch.Generator().manual_seed(100 + clip.index))
    return 1.1 * clip.motion + 0.05 * noise


def score(metric: Metric, division: Sequence[Sequence[Clip]], padding: float = 0.0) -> float:
    for clips in division:
        batch = collate(clips)
        mask = ~batch.padding_mask.T
        pose = torch.full_like(batch.motion, padding)
        for column, clip in enumerate(clips):
            pose[: clip.length, column] = generated(clip)
        target = batch.motion.masked_fill(~mask.unsqueeze(-1), padding)
        add(metric, pose, target, mask)
    return float(metric.compute())


def add(metric: Metric, pose: Tensor, real: Tensor, mask: Tensor) -> None:
    """Update a metric with what it takes of these."""
    kwargs = {"pose": pose, "target": real, "mask": mask, "long": pose, "long_mask": mask}
    metric.update(**metric._filter_kwargs(**kwargs))


def ends(motion: Tensor, t: int) -> list[tuple[float, float]]:
    numbers = motion[t].tolist()
    return list(zip(numbers[0::2], numbers[1::2], strict=True))


def distances(first: list[tuple[float, float]], second: list[tuple[float, float]]) -> list[float]:
    return [math.dist(a, b) for a, b in zip(first, second, strict=True)]


def lengths(motion: Tensor, segment: int) -> list[float]:
    return [math.dist(motion[t, 4 * segment :][:2], motion[t, 4 * segment + 2 :][:2]) for t in range(len(motion))]


def quantile(values: list[float], share: float) -> float:
    """Between order statistics, linearly."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def horizon_mse(horizon: int) -> float:
    squares = [
        float(d) ** 2 for c in CLIPS if c.length >= horizon for d in generated(c)[horizon - 1] - c.motion[horizon - 1]
    ]
    return math.fsum(squares) / len(squares)


def speed_ratio(window: int) -> float:
    def total(of: Callable[[Clip], Tensor]) -> float:
        steps = [(of(c), t) for c in CLIPS for t in range(1, c.length) if c.length - t <= window]
        return math.fsum(d for m, t in steps for d in distances(ends(m, t), ends(m, t - 1)))

    return total(generated) / total(lambda clip: clip.motion)


def travel_ratio() -> float:
    def way(motion: Tensor) -> float:
        return float(motion[-1, 2].double() - motion[0, 2].double())  # the torso's lower end

    pairs = [(way(generated(c)), way(c.motion)) for c in CLIPS]
    return math.fsum(made * math.copysign(1, real) for made, real in pairs) / math.fsum(abs(real) for _, real in pairs)


def jerk_ratio() -> float:
    def total(of: Callable[[Clip], Tensor]) -> float:
        sizes = []
        for c in CLIPS:
            for t in range(3, c.length):
                m = of(c)
                third = m[t] - 3 * m[t - 1] + 3 * m[t - 2] - m[t - 3]
                sizes += [math.hypot(*pair) for pair in third.reshape(-1, 2).tolist()]
        return math.fsum(sizes)

    return total(generated) / total(lambda clip: clip.motion)


def foot_skating() -> float:
    speeds = []
    for c in CLIPS:
        m = generated(c)
        for t in range(1, c.length):
            for segment in (1, 2):  # left leg, right leg
                x, y = 4 * segment + 2, 4 * segment + 3
                if m[t, y] < 0.03 and m[t - 1, y] < 0.03:
                    speeds.append(25 * abs(float(m[t, x].double() - m[t - 1, x].double())))
    assert len(speeds) > 20
    return math.fsum(speeds) / len(speeds)


def ankle_steps() -> list[list[tuple[float, float]]]:
    """Horizontal speed and greater height of both ankles, step by step."""
    steps = []
    for c in CLIPS:
        m = generated(c).double()
        for t in range(1, c.length):
            feet = [(4 * segment + 2, 4 * segment + 3) for segment in (1, 2)]
            steps.append([(25 * abs(float(m[t, x] - m[t - 1, x])), float(max(m[t, y], m[t - 1, y]))) for x, y in feet])
    return steps


def stance_slip() -> float:
    slips = [min(s for s, y in feet if y < 0.03) for feet in ankle_steps() if any(y < 0.03 for _, y in feet)]
    assert len(slips) > 15
    return math.fsum(slips) / len(slips)


def foot_contact() -> float:
    planted = [any(y < 0.05 and speed < 0.2 for speed, y in feet) for feet in ankle_steps()]
    assert 0 < sum(planted) < len(planted)
    return sum(planted) / len(planted)


def bone_length_error() -> float:
    errors = []
    for c in CLIPS:
        made = [quantile(lengths(generated(c), s), 0.9) for s in range(5)]
        real = [quantile(lengths(c.motion, s), 0.9) for s in range(5)]
        errors.append(sum(abs(a - b) for a, b in zip(made, real, strict=True)) / sum(real))
    return math.fsum(errors) / len(errors)


def torso_length_error() -> float:
    errors = []
    for c in CLIPS:
        own = quantile(lengths(c.motion, 0), 0.9)
        errors += [abs(length / own - 1) for length in lengths(generated(c), 0)]
    return math.fsum(errors) / len(errors)


CASES = {
    "horizon 1": (lambda: HorizonMSE(1), lambda: horizon_mse(1)),
    "horizon 7": (lambda: HorizonMSE(7), lambda: horizon_mse(7)),
    "speed ratio": (lambda: SpeedRatio(6), lambda: speed_ratio(6)),
    "travel ratio": (TravelRatio, travel_ratio),
    "jerk ratio": (JerkRatio, jerk_ratio),
    "foot skating": (FootSkating, foot_skating),
    "stance slip": (StanceSlip, stance_slip),
    "foot contact": (FootContact, foot_contact),
    "bone length error": (BoneLengthError, bone_length_error),
    "torso length error": (TorsoLengthError, torso_length_error),
}


@pytest.mark.parametrize("name", CASES)
def test_equal_to_brute_force(name: str) -> None:
    metric, expected = CASES[name]
    assert score(metric(), [CLIPS]) == pytest.approx(expected(), rel=1e-5)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("padding", [1e30, math.inf, math.nan])
def test_padding_and_the_division_into_batches_do_not_show(name: str, padding: float) -> None:
    metric = CASES[name][0]
    whole = score(metric(), [CLIPS])
    assert score(metric(), [CLIPS], padding) == whole
    assert score(metric(), [CLIPS[4:], CLIPS[:1], CLIPS[1:4]], padding) == pytest.approx(whole, rel=1e-7)


def update(metric: Metric, pose: Tensor, target: Tensor) -> float:
    add(metric, pose, target, torch.ones(pose.shape[:2], dtype=torch.bool))
    return float(metric.compute())


def test_real_motion_scores_as_it_should() -> None:
    motion = CLIPS[-1].motion.unsqueeze(1)
    assert update(SpeedRatio(), motion, motion) == 1
    assert update(JerkRatio(), motion, motion) == 1
    assert update(BoneLengthError(), motion, motion) == 0
    assert update(HorizonMSE(3), motion, motion) == 0


def test_a_figure_that_froze_has_no_speed_and_no_jerk() -> None:
    motion = CLIPS[-1].motion.unsqueeze(1)
    still = motion[:1].expand_as(motion)
    assert update(SpeedRatio(), still, motion) == 0
    assert update(JerkRatio(), still, motion) == 0


def test_only_the_end_of_a_clip_counts_for_the_speed() -> None:
    time = torch.arange(20.0)[:, None, None]
    real = (REST + 0.01 * time * X).expand(-1, 1, -1)
    late = (REST + 0.01 * (time + (time - 15).clamp(min=0)) * X).expand(-1, 1, -1)  # twice as fast from frame 15
    assert update(SpeedRatio(4), late, real) == pytest.approx(2, rel=1e-4)
    assert update(SpeedRatio(19), late, real) == pytest.approx((15 + 8) / 19, rel=1e-4)


def test_who_goes_the_other_way_travels_less_than_nothing() -> None:
    steps = torch.arange(9.0)[:, None, None] * X
    left, right = (REST + speed * steps for speed in (-0.02, 0.04))
    real = torch.cat((left, right), dim=1)
    assert update(TravelRatio(), real, real) == 1
    assert update(TravelRatio(), -0.5 * real, real) == pytest.approx(-0.5)
    assert update(TravelRatio(), torch.cat((left, -right), dim=1), real) == pytest.approx((0.02 - 0.04) / 0.06)


def test_a_standing_figure_that_slides_skates_at_its_speed() -> None:
    slide = (REST + 0.02 * torch.arange(10.0)[:, None, None] * X).expand(-1, 1, -1)
    assert update(FootSkating(), slide, slide) == pytest.approx(0.5, rel=1e-4)


def standing(frames: int, speed: float = 0.0) -> Tensor:
    """A figure at rest that glides along x at a speed a frame: ``[T, 1, D]``."""
    return (REST + speed * torch.arange(float(frames))[:, None, None] * X).expand(-1, 1, -1)


def stepping(frames: int, stride: float) -> Tensor:
    """A walk: the body moves by a stride a frame, and each foot in turn stands while the other is lifted."""
    motion = standing(frames, stride).clone()
    for t in range(1, frames):
        stance, swing = ((6, 7), (10, 11)) if (t - 1) // 10 % 2 == 0 else ((10, 11), (6, 7))
        motion[t, :, stance[0]] = motion[t - 1, :, stance[0]]
        motion[t, :, swing[0]] = motion[t - 1, :, swing[0]] + 2 * stride
        motion[t, :, swing[1]] += 0.1 * math.sin(math.pi * ((t - 1) % 10 + 1) / 11)
    return motion


def test_a_gliding_figure_has_no_foot_on_the_ground_that_stands() -> None:
    glide, walk, still = standing(50, 0.04), stepping(50, 0.04), standing(50)
    assert [update(FootContact(), motion, motion) for motion in (glide, walk, still)] == [0, 1, 1]
    assert update(StanceSlip(), glide, glide) == pytest.approx(1.0, rel=1e-4)
    assert update(StanceSlip(), walk, walk) == pytest.approx(0.0, abs=1e-5)


def test_a_swinging_foot_close_to_the_ground_is_no_stance_foot() -> None:
    walk = stepping(50, 0.04)
    walk[..., [7, 11]] = 0.0
    assert update(FootSkating(), walk, walk) == pytest.approx(1.0, rel=1e-3)  # the mean of 0 and 2
    assert update(StanceSlip(), walk, walk) == pytest.approx(0.0, abs=1e-5)


def test_flight_neither_slips_nor_is_contact() -> None:
    leap = standing(40, 0.04).clone()
    leap[10:30, :, 1::2] += 0.3
    leap[:10, :, 0::2] = leap[0, :, 0::2]
    leap[30:, :, 0::2] = leap[30, :, 0::2]
    assert update(StanceSlip(), leap, leap) == 0
    assert update(FootContact(), leap, leap) == pytest.approx((9 + 9) / 39)


def test_drift_is_that_of_clips_in_place_after_five_seconds() -> None:
    real = torch.cat((standing(60), standing(60, 0.004), standing(60, 0.1)), dim=1)  # 0, 0.24 and 5.9 in all
    made = torch.cat((standing(200, -0.01), standing(200, 0.002), standing(200)), dim=1)
    metric = RootDrift()
    mask, long_mask = torch.ones(60, 3, dtype=torch.bool), torch.ones(200, 3, dtype=torch.bool)
    metric.update(long=made, long_mask=long_mask, target=real, mask=mask)
    assert metric.compute() == pytest.approx((1.24 + 0.248) / 2, rel=1e-4)
    assert update(RootDrift(), real, real) == pytest.approx((0 + 0.004 * 59) / 2, rel=1e-3)
    assert update(RootDrift(), real[:30], real[:30]) == pytest.approx((0 + 0.004 * 29) / 2, rel=1e-3)


def test_who_only_walks_in_place_at_first_is_not_in_place() -> None:
    real = standing(100).clone()
    real[60:] = standing(40, 0.05)
    assert math.isnan(update(RootDrift(), real, real))
    # What comes after five seconds is not looked at.
    late = torch.cat((standing(130), standing(40, 0.05)))
    assert update(RootDrift(), late, late) == 0


def test_pace_is_kept_by_those_who_travel_and_still_move_at_the_end() -> None:
    real = torch.cat([standing(50, speed) for speed in (0.04, 0.04, 0.04, 0.0)], dim=1)
    made = torch.cat([standing(200, speed) for speed in (0.03, 0.09, 0.04, 0.0)], dim=1)
    made[149:, 2] = made[149, 2]  # stands still in the last two seconds
    metric = KeptPace()
    mask, long_mask = torch.ones(50, 4, dtype=torch.bool), torch.ones(200, 4, dtype=torch.bool)
    metric.update(long=made, long_mask=long_mask, target=real, mask=mask)
    assert metric.compute() == pytest.approx(1 / 3)
    assert update(KeptPace(), real, real) == 1
    assert math.isnan(update(KeptPace(), standing(50), standing(50)))


def test_feet_in_the_air_do_not_skate() -> None:
    flight = (REST + 0.1 + 0.02 * torch.arange(10.0)[:, None, None] * X).expand(-1, 1, -1)
    assert math.isnan(update(FootSkating(), flight, flight))


def test_a_figure_that_grew_has_longer_bones_by_so_much() -> None:
    real = REST.expand(9, 1, -1)
    assert update(BoneLengthError(), 1.05 * real, real) == pytest.approx(0.05, rel=1e-4)
    assert update(TorsoLengthError(), 0.9 * real, real) == pytest.approx(0.1, rel=1e-4)


def test_bending_is_no_bone_length_error() -> None:
    """A leg that bends for half of the time has the length it has when straight."""
    real = REST.expand(20, 1, -1)
    bent = real.clone()
    bent[:10, :, 7] = 0.2  # the left ankle is lifted towards the pelvis
    assert STICK_5.segment_lengths(bent)[0, 0, 1] < 0.3
    assert update(BoneLengthError(), bent, real) == 0


def test_exploded_clips_are_counted_once_each() -> None:
    pose = REST.expand(6, 4, -1).clone()
    pose[3:, 1, 5] = math.nan
    pose[2, 2, 0] = 4.0
    assert update(ExplodedShare(), pose, pose) == 0.5
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[2:, 1:3] = False
    metric = ExplodedShare()
    metric.update(pose=pose, target=pose, mask=mask)
    assert metric.compute() == 0


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize("metric", [BoneLengthError, TorsoLengthError])
def test_lengths_of_a_figure_that_is_not_finite_have_no_error(metric: type[Metric], number: float) -> None:
    real = REST.expand(20, 2, -1)
    pose = real.clone()
    pose[3, 1, 3] = number  # one coordinate of one torso, in a frame that the quantile could do without
    assert math.isnan(update(metric(), pose, real))
    mask = torch.ones(20, 2, dtype=torch.bool)
    mask[3:, 1] = False
    unseen = metric()
    unseen.update(pose=pose, target=real, mask=mask)
    assert unseen.compute() == 0
