from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stickgen.data.batch import NO_ACTION, TargetCounts, collate
from tests.random_clips import ragged_clips, random_clip


def test_clips_lie_side_by_side_padded_at_the_end() -> None:
    clips = ragged_clips((5, 2, 4), mixed=False)
    batch = collate(clips)
    assert batch.motion.shape == (5, 3, 20)
    assert batch.embedding.shape == (3, 32)
    assert batch.padding_mask.shape == (3, 5)
    assert batch.padding_mask.dtype == torch.bool
    assert batch.padding_mask.sum(dim=1).tolist() == [0, 3, 1]
    for i, clip in enumerate(clips):
        assert not batch.padding_mask[i, : clip.length].any()
        assert batch.padding_mask[i, clip.length :].all()
        torch.testing.assert_close(batch.motion[: clip.length, i], clip.motion, rtol=0, atol=0)
        torch.testing.assert_close(batch.physics[: clip.length, i], clip.physics, rtol=0, atol=0)
        torch.testing.assert_close(batch.actions[: clip.length, i], clip.actions, rtol=0, atol=0)
        torch.testing.assert_close(batch.embedding[i], clip.embedding, rtol=0, atol=0)
        assert not batch.motion[clip.length :, i].any()
        assert not batch.physics[clip.length :, i].any()
        assert (batch.actions[clip.length :, i] == NO_ACTION).all()
    assert batch.has_physics.tolist() == [True] * 3


def test_missing_labels_are_marked_for_their_clip_only() -> None:
    clips = [random_clip(4, seed=0), random_clip(4, seed=1, actions=False), random_clip(4, seed=2, physics=False)]
    batch = collate(clips)
    assert (batch.actions[:, 1] == NO_ACTION).all()
    assert (batch.actions[:, [0, 2]] >= 0).all()
    assert batch.actions.dtype == torch.int64
    assert batch.has_physics.tolist() == [True, True, False]
    assert not batch.physics[:, 2].any()
    assert batch.physics[:, :2].any()


def test_conditions_that_are_not_asked_for_are_left_out() -> None:
    batch = collate([random_clip(camera=True, partner=True)])
    assert batch.camera is None
    assert batch.partner is None


def test_a_clip_without_camera_or_partner_gets_the_neutral_one() -> None:
    clips = [random_clip(4, seed=0, camera=True, partner=True), random_clip(3, seed=1)]
    batch = collate(clips, ("camera", "partner"))
    assert batch.camera is not None
    assert batch.partner is not None
    torch.testing.assert_close(batch.camera[:, 0], clips[0].camera)
    torch.testing.assert_close(batch.partner[:, 0], clips[0].partner)
    assert batch.camera[:3, 1].tolist() == [[0.0, 0.0, 1.0]] * 3, "at the origin, zoom 1"
    assert not batch.partner[:, 1].any()


def test_one_condition_alone() -> None:
    batch = collate([random_clip(camera=True)], ["camera"])
    assert batch.camera is not None
    assert batch.partner is None


labels = st.tuples(st.integers(2, 9), st.booleans(), st.booleans())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(labels, min_size=1, max_size=6))
def test_counts_are_those_of_the_masks(drawn: list[tuple[int, bool, bool]]) -> None:
    clips = [
        random_clip(frames, seed=i, actions=actions, physics=physics)
        for i, (frames, actions, physics) in enumerate(drawn)
    ]
    batch = collate(clips)
    real = ~batch.padding_mask.T[1:]
    pairs = real[1:] & real[:-1]
    assert batch.step_counts == TargetCounts(
        frames=int(real.sum()),
        pairs=int(pairs.sum()),
        action_frames=int((batch.actions[1:] != NO_ACTION).sum()),
        physics_frames=int((real & batch.has_physics).sum()),
        physics_pairs=int((pairs & batch.has_physics).sum()),
    )


def test_counts_by_hand() -> None:
    clips = [random_clip(2), random_clip(5, actions=False), random_clip(3, physics=False)]
    assert TargetCounts.of(clips) == TargetCounts(
        frames=1 + 4 + 2, pairs=0 + 3 + 1, action_frames=1 + 2, physics_frames=1 + 4, physics_pairs=0 + 3
    )
    assert TargetCounts.of([]) == TargetCounts()


def test_a_part_of_a_step_carries_the_counts_of_the_whole() -> None:
    clips = ragged_clips()
    counts = TargetCounts.of(clips)
    batch = collate(clips[:2], step_counts=counts, ends_step=False, feed_actions=True)
    assert batch.step_counts == counts
    assert not batch.ends_step
    assert batch.feed_actions
    alone = collate(clips[:2])
    assert alone.step_counts == TargetCounts.of(clips[:2])
    assert alone.ends_step
    assert not alone.feed_actions


def test_moving_a_batch_moves_every_tensor_and_keeps_the_rest() -> None:
    batch = collate(ragged_clips(), ("camera", "partner"), ends_step=False, feed_actions=True)
    moved = batch.to("meta")
    for field in fields(batch):
        before, after = getattr(batch, field.name), getattr(moved, field.name)
        if isinstance(before, Tensor):
            assert after.device.type == "meta", field.name
            assert (after.shape, after.dtype) == (before.shape, before.dtype)
        else:
            assert after == before
    assert batch.motion.device.type == "cpu"


def test_a_batch_without_conditions_can_be_moved() -> None:
    assert collate([random_clip()]).to("meta").camera is None


def test_collating_does_not_change_the_clips() -> None:
    clips = ragged_clips()
    before = [clip.motion.clone() for clip in clips]
    collate(clips).motion.fill_(7)
    for clip, motion in zip(clips, before, strict=True):
        torch.testing.assert_close(clip.motion, motion, rtol=0, atol=0)


def test_clips_of_two_widths_do_not_go_together() -> None:
    with pytest.raises(RuntimeError):
        collate([random_clip(dim=20), random_clip(dim=48)])
