from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stickgen.config import AugmentConfig
from stickgen.data.augment import BLEND_FRAMES, Variation, mirrored, sides_swapped, vary
from stickgen.data.clips import Clip
from stickgen.data.loops import Loop
from stickgen.data.variations import Varying
from stickgen.motion.bones import at_rest, bone_shares
from stickgen.motion.physics import body_physics
from stickgen.motion.skeleton import SKELETONS, STICK_12
from stickgen.sample import sample_sequences
from tests.random_clips import random_clip

EVERYTHING = AugmentConfig(
    mirror=0.5, swap_sides=0.5, speed=1.25, scale=1.2, shift=2.0, loop=0.5, crop=0.5, rest_start=0.5
)


def walk(frames: int = 60, dim: int = 20, **fields: object) -> Clip:
    """A clip that crosses the picture, as smooth as motion is; its physics are those of its motion."""
    sequence = sample_sequences(1, actions=["walk"], styles=["neutral"], dim=dim, frames=(frames, frames))[0]
    return replace(random_clip(frames, dim=dim, **fields), motion=sequence["motion"], physics=sequence["physics"])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    frames=st.integers(2, 90), dim=st.sampled_from(sorted(SKELETONS)), epoch=st.integers(0, 5), seed=st.integers(0, 9)
)
def test_a_varied_clip_is_as_long_as_was_said_and_whole(frames: int, dim: int, epoch: int, seed: int) -> None:
    clip = random_clip(frames, seed=seed, dim=dim, camera=seed % 2 > 0, partner=seed % 3 > 0)
    variation = Varying(EVERYTHING, max_frames=80).draw(clip, seed, epoch)
    varied = vary(clip, variation)
    assert varied.length == variation.length(frames) >= 2
    assert varied.length <= 80
    for name in ("motion", "actions", "physics", "camera", "partner"):
        before, after = getattr(clip, name), getattr(varied, name)
        assert (before is None) == (after is None)
        if after is not None:
            assert after.shape == (varied.length, *before.shape[1:])
            assert after.dtype == before.dtype
            assert bool(torch.isfinite(after.double()).all())
    np.testing.assert_allclose(varied.physics, body_physics(varied.motion.numpy()), atol=1e-4)


def test_nothing_asked_for_returns_the_clip_itself() -> None:
    clip = random_clip(40, camera=True)
    varying = Varying(AugmentConfig(), 250)
    assert not varying.active
    assert vary(clip, varying.draw(clip, 0, 0)) is clip


@pytest.mark.parametrize("dim", sorted(SKELETONS))
def test_a_mirror_turns_x_and_exchanges_the_limbs(dim: int) -> None:
    skeleton = SKELETONS[dim]
    motion = walk(30, dim).motion
    joints, image = skeleton.to_joints(motion), skeleton.to_joints(mirrored(motion))
    for name in skeleton.joints:
        other = name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        expected = joints[:, skeleton.joint(other)] * torch.tensor([-1.0, 1.0])
        torch.testing.assert_close(image[:, skeleton.joint(name)], expected)
    assert torch.equal(mirrored(mirrored(motion)), motion)
    torch.testing.assert_close(sides_swapped(mirrored(motion))[:, 0::2], -motion[:, 0::2])


def test_a_mirrored_pelvis_still_runs_from_left_to_right() -> None:
    at = 4 * [segment.name for segment in STICK_12.segments].index("pelvis_width")
    frame = torch.arange(48.0)
    assert sides_swapped(frame)[at : at + 4].tolist() == [at + 2, at + 3, at, at + 1]


@pytest.mark.parametrize("speed", [0.8, 1.25, 2.0])
def test_pace_scales_velocities_and_keeps_the_path(speed: float) -> None:
    clip = walk(80, actions=True)
    varied = vary(clip, Variation(speed=speed, frames=250))
    assert varied.length == pytest.approx(80 / speed, abs=1)
    at = torch.arange(varied.length) * speed
    low = at.long().clamp(max=78)
    straight = torch.lerp(clip.motion[low], clip.motion[low + 1], (at - low)[:, None])
    assert float((varied.motion - straight).abs().max()) < 0.01  # a curve through the frames, not far from the chords
    assert float(varied.physics[:, 0].mean() / clip.physics[:, 0].mean()) == pytest.approx(speed, rel=0.05)
    assert torch.equal(varied.actions, clip.actions[at.round().long()])


def test_size_and_place() -> None:
    clip = walk(40, camera=True)
    varied = vary(clip, Variation(scale=1.5, shift=-3.0, frames=250))
    torch.testing.assert_close(varied.motion[:, 0::2], 1.5 * clip.motion[:, 0::2] - 3)
    torch.testing.assert_close(varied.motion[:, 1::2], 1.5 * clip.motion[:, 1::2])
    torch.testing.assert_close(varied.physics, 1.5 * clip.physics, atol=2e-3, rtol=1e-4)
    # The camera goes with the figure: in the picture only the size differs.
    torch.testing.assert_close(varied.camera[:, 0], 1.5 * clip.camera[:, 0] - 3)
    torch.testing.assert_close(varied.camera[:, 2], clip.camera[:, 2])


def test_a_crop_keeps_the_rest_of_the_clip() -> None:
    clip = random_clip(60, camera=True)
    varied = vary(clip, Variation(start=20, frames=250))
    for name in ("motion", "actions", "camera"):
        assert torch.equal(getattr(varied, name), getattr(clip, name)[20:])
    short = random_clip(20)
    assert Varying(AugmentConfig(crop=1.0), 250).draw(short, 0, 0).start == 0


@pytest.mark.parametrize("dim", sorted(SKELETONS))
def test_a_start_from_rest_leads_smoothly_into_the_clip(dim: int) -> None:
    clip = walk(50, dim)
    varied = vary(clip, Variation(rest=6, frames=250))
    start = 6 + BLEND_FRAMES
    assert torch.equal(varied.motion[start:], clip.motion)
    assert torch.equal(varied.motion[:6], varied.motion[:1].expand(6, -1))
    skeleton = SKELETONS[dim]
    standing = skeleton.to_joints(at_rest(dim, bone_shares(clip.motion)))
    pelvis = skeleton.joint("pelvis")
    first = skeleton.to_joints(varied.motion[0])
    torch.testing.assert_close(first - first[pelvis], standing - standing[pelvis])
    steps = varied.motion.diff(dim=0).abs().amax(dim=1)
    assert float(steps[:start].max()) < 3 * float(steps[start:].max())
    assert torch.equal(varied.actions[:start], clip.actions[:1].expand(start))


def test_gait_goes_on_with_its_labels() -> None:
    clip = random_clip(30)
    variation = Variation(loop=Loop(5, 25), loop_frames=70, frames=250)
    varied = vary(clip, variation)
    assert varied.length == variation.length(30) == 70
    assert torch.equal(varied.actions[:25], clip.actions[:25])
    assert torch.equal(varied.actions[25:45], clip.actions[5:25])
    assert torch.equal(varied.actions[45:65], clip.actions[5:25])


def test_dropped_text_is_zero_and_the_rest_as_it_was() -> None:
    clip = random_clip(20)
    varied = vary(clip, Variation(drop_text=True, frames=250))
    assert not varied.embedding.any()
    assert clip.embedding.any()
    same = [f.name for f in fields(Clip) if f.name != "embedding"]
    assert all(getattr(varied, name) is getattr(clip, name) for name in same)
