from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from stickgen.data.batch import Batch, collate
from stickgen.data.disturb import asked_of
from stickgen.training.module import MotionModule
from stickgen.training.own_frames import GIVEN_FRAMES, LEASH, own_frames
from tests.random_clips import ragged_clips

Build = Callable[..., MotionModule]

CLIPS = ragged_clips((18, 15, 12), mixed=False)


def batch_of(own: bool = True, conditions: tuple[str, ...] = ()) -> Batch:
    return collate(CLIPS, conditions, own_frames=own)


@pytest.mark.parametrize("feed", [False, True])
@pytest.mark.parametrize("lora", [False, True])
def test_every_frame_is_the_models_own_on_a_leash(module: Build, feed: bool, lora: bool) -> None:
    model = module(lora=lora).model
    batch = batch_of(conditions=("camera", "partner"))
    read, asked = own_frames(model, batch, feed)
    own = batch.motion + read
    assert not read[:GIVEN_FRAMES].any()
    model.eval()
    for t in range(GIVEN_FRAMES, len(own)):
        with torch.no_grad():
            predicted = model(
                own[:t],
                batch.embedding,
                action_sequence=batch.actions[:t].clamp(min=0) if feed else None,
                camera_data=batch.camera[:t],
                partner_motion=batch.partner[:t],
            )[-1]
        torch.testing.assert_close(own[t], torch.lerp(predicted, batch.motion[t], LEASH), atol=1e-4, rtol=1e-4)
    place = torch.zeros_like(read)
    place[..., 0::2] = read[..., 0::2].mean(dim=-1, keepdim=True)
    torch.testing.assert_close(asked, asked_of(read - place, place))


def test_a_step_of_own_frames_learns_from_them_alone(module: Build) -> None:
    motion_module = module(lora=False)
    batch = batch_of()
    read, asked = own_frames(motion_module.model, batch, False)
    disturbed = replace(batch, input_offset=torch.ones_like(batch.motion), target_offset=torch.ones_like(batch.motion))
    ours, _ = motion_module.step_loss(disturbed)
    theirs, _ = motion_module.step_loss(replace(batch, own_frames=False, input_offset=read, target_offset=asked))
    plain, _ = motion_module.step_loss(replace(batch, own_frames=False))
    torch.testing.assert_close(ours, theirs)
    assert not torch.isclose(ours, plain)
    ours.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in motion_module.parameters())


def test_the_model_is_left_as_it_was(module: Build) -> None:
    motion_module = module(lora=True)
    model = motion_module.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    own_frames(model, batch_of(), False)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_clips_that_are_over_before_it_begins_are_the_clips(module: Build) -> None:
    batch = collate(ragged_clips((3, 4), mixed=False), own_frames=True)
    read, asked = own_frames(module().model, batch, False)
    assert not read.any()
    assert not asked.any()


def test_division_changes_nothing(module: Build) -> None:
    """A clip's own frames are its own, whatever lies beside it."""
    model = module(lora=False).model
    whole, _ = own_frames(model, batch_of(), False)
    for column, clip in enumerate(CLIPS):
        alone, _ = own_frames(model, collate([clip]), False)
        torch.testing.assert_close(whole[: clip.length, column], alone[:, 0], atol=1e-4, rtol=1e-4)
