from dataclasses import replace

import numpy as np
import pytest
import torch

from stickgen.config import AugmentConfig
from stickgen.data.augment import Variation, mirrored, vary
from stickgen.data.clips import Clip
from stickgen.data.variations import Varying, rest_start
from stickgen.motion.skeleton import STICK_5
from stickgen.sample import sample_sequences
from tests.random_clips import random_clip

EVERYTHING = AugmentConfig(
    mirror=0.5, swap_sides=0.5, speed=1.25, scale=1.2, shift=2.0, loop=0.5, crop=0.5, rest_start=0.5
)


def test_a_draw_depends_on_seed_epoch_and_position_alone() -> None:
    clip = random_clip(50)
    varying = Varying(EVERYTHING, 250, drop_text=0.5, input_noise=0.01, seed=3)
    first = varying.draw(clip, 7, 2)
    torch.manual_seed(99)
    np.random.seed(99)
    assert varying.draw(clip, 7, 2) == first
    others = [varying.draw(clip, 8, 2), varying.draw(clip, 7, 3), replace(varying, seed=4).draw(clip, 7, 2)]
    assert all(other != first for other in others)


def test_a_setting_does_not_move_the_draws_of_the_others() -> None:
    clip = random_clip(50)
    with_all = Varying(EVERYTHING, 250, input_noise=0.01).draw(clip, 0, 0)
    with_one = Varying(AugmentConfig(shift=2.0), 250).draw(clip, 0, 0)
    assert with_one == Variation(frames=250, shift=with_all.shift, noise_seed=with_all.noise_seed)


@pytest.mark.parametrize("name", ["mirror", "swap_sides", "crop", "rest_start"])
def test_shares_are_kept(name: str) -> None:
    clip = random_clip(60)
    field = {"crop": "start", "rest_start": "rest"}.get(name, name)
    varying = Varying(AugmentConfig(**{name: 0.3}), 250)
    changed = np.mean([bool(getattr(varying.draw(clip, i, 0), field)) for i in range(2000)])
    assert changed == pytest.approx(0.3, abs=0.04)
    nothing, always = Varying(AugmentConfig(), 250), Varying(AugmentConfig(**{name: 1.0}), 250)
    assert not any(getattr(nothing.draw(clip, i, 0), field) for i in range(50))
    assert np.mean([bool(getattr(always.draw(clip, i, 0), field)) for i in range(50)]) > 0.9


def test_factors_and_shifts_fill_their_range() -> None:
    clip = random_clip(60)
    varying = Varying(AugmentConfig(speed=1.25, scale=1.1, shift=0.5), 250)
    drawn = [varying.draw(clip, i, 0) for i in range(500)]
    for name, low, high in (("speed", 0.8, 1.25), ("scale", 1 / 1.1, 1.1), ("shift", -0.5, 0.5)):
        values = [getattr(v, name) for v in drawn]
        assert low <= min(values) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < max(values) <= high


def test_half_of_the_clips_have_a_clean_input() -> None:
    varying = Varying(AugmentConfig(), 250, input_noise=0.02, input_drift=0.2)
    drawn = [varying.draw(random_clip(30), i, 0) for i in range(1000)]
    sizes = np.array([variation.noise for variation in drawn])
    assert [variation.drift for variation in drawn] == pytest.approx(list(10 * sizes))
    assert np.mean(sizes == 0) == pytest.approx(0.5, abs=0.05)
    assert 0.0195 < sizes.max() <= 0.02
    assert sizes[sizes > 0].mean() == pytest.approx(0.01, rel=0.1)


def test_a_caption_that_names_a_side_keeps_it() -> None:
    clip = random_clip(40, description="A person waves the Left hand.")
    varying = Varying(AugmentConfig(mirror=1.0, swap_sides=1.0), 250)
    assert not any((v := varying.draw(clip, i, 0)).mirror or v.swap_sides for i in range(20))
    assert varying.draw(random_clip(40, description="A person is bright."), 0, 0).mirror


def walk(frames: int = 80) -> Clip:
    """A clip that walks to +x."""
    motion = sample_sequences(1, actions=["walk"], styles=["neutral"], frames=(frames, frames))[0]["motion"]
    pelvis = STICK_5.to_joints(motion)[:, STICK_5.joint("pelvis"), 0]
    return replace(random_clip(frames), motion=motion if pelvis[-1] > pelvis[0] else mirrored(motion))


@pytest.mark.parametrize("turned", [False, True])
def test_from_rest_there_is_one_way_to_set_off(turned: bool) -> None:
    clip = walk()
    if turned:
        clip = replace(clip, motion=mirrored(clip.motion))
    start, back = rest_start(clip.motion, 40)
    assert back == turned
    varied = vary(clip, Variation(start=start, mirror=back, frames=250))
    joints = STICK_5.to_joints(varied.motion)[..., 0]
    left, right, pelvis = (joints[:, STICK_5.joint(name)] for name in ("left_ankle", "right_ankle", "pelvis"))
    assert float(pelvis[-1] - pelvis[0]) > 0.3
    stride = (left - right).abs().amax()
    assert float(left[0] - right[0]) > 0.8 * float(stride)


def test_clips_that_start_from_rest_are_drawn_so() -> None:
    clip = walk()
    varying = Varying(AugmentConfig(mirror=1.0, swap_sides=1.0, crop=1.0, loop=0.01, rest_start=1.0), 250)
    drawn = [varying.draw(clip, 0, epoch) for epoch in range(30)]
    assert {(v.start, v.mirror, v.swap_sides) for v in drawn} == {(drawn[0].start, False, False)}
    assert all(v.rest and v.loop for v in drawn), "gait goes on, or a late start would leave little of it"
    assert all(v.length(clip.length) >= clip.length for v in drawn)
    still = replace(random_clip(80), motion=walk().motion[:1].expand(80, -1))
    assert Varying(AugmentConfig(rest_start=1.0), 250).draw(still, 0, 0).start == 0, "what stays begins as it does"
    short = Varying(AugmentConfig(rest_start=1.0), 250).draw(random_clip(26), 0, 0)
    assert short.start <= 1, "a short clip is not cut away"


def test_a_fixed_number_of_variants_returns_in_turn() -> None:
    clip = random_clip(50)
    endless = Varying(EVERYTHING, 250, drop_text=0.5, input_noise=0.01, seed=3)
    three = replace(endless, augment=replace(EVERYTHING, variants=3))
    assert (endless.variants, three.variants) == (None, 3)
    first = [endless.draw(clip, 7, epoch) for epoch in range(3)]
    assert [three.draw(clip, 7, epoch) for epoch in range(9)] == 3 * first
    unvaried = Varying(AugmentConfig(variants=3), 250)
    assert not unvaried.active
    assert unvaried.variants == 1
