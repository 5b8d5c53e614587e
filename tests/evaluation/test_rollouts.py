from dataclasses import replace

import pytest
import torch

from stickgen.data.batch import collate
from stickgen.errors import DataError
from stickgen.evaluation.rollouts import (
    RolloutProtocol,
    constant_velocity,
    extended,
    model_rollout,
    repeat_last_frame,
)
from stickgen.generation import one_shot, rollout
from stickgen.generation.seed import standing
from stickgen.lora import adapted_layers, inject_lora_adapters
from stickgen.model import StickFigureTransformer
from stickgen.motion.skeleton import rest_pose
from tests.random_clips import ragged_clips

CLIPS = ragged_clips((70, 12, 40, 64, 55, 38), camera=True, partner=True)


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


def test_a_seed_draws_how_figures_stand_whichever_clips_are_beside_them() -> None:
    base, batch = model(), collate(CLIPS[2:4])
    drawn, alone = model_rollout(base, seed=1)(batch, 0), model_rollout(base, seed=1)(collate(CLIPS[3:4]), 0)
    assert not torch.equal(drawn, model_rollout(base)(batch, 0))
    assert torch.allclose(drawn[:, 1:], alone, atol=1e-5)
    assert torch.equal(drawn[:1], rollout(base, batch.embedding, 1, standing(20, 1, 1).expand(-1, 2, -1)))


def test_clips_are_cut_to_the_protocol_s_length_and_short_ones_left_out() -> None:
    protocol = RolloutProtocol(given=4, max_frames=50, shortest=20, batch_size=2)
    batches = protocol.batches(CLIPS)
    assert [(~batch.padding_mask).sum(1).tolist() for batch in batches] == [[38, 40], [50, 50], [50]]
    assert protocol.suits(CLIPS) is True
    assert protocol.suits(CLIPS, CLIPS[1:2]) is False
    assert replace(protocol, max_frames=23).suits(CLIPS) is False
    with pytest.raises(DataError, match="no clip has 100 frames, 75 to give and 25"):
        RolloutProtocol(given=75).clips(CLIPS)


def test_an_extended_batch_is_padded_and_its_camera_held() -> None:
    batch = collate(CLIPS[2:4], ("camera", "partner"))
    longer = extended(batch, 80)
    assert len(longer.motion) == len(longer.camera) == len(longer.partner) == longer.padding_mask.shape[1] == 80
    assert torch.equal(longer.motion[:64], batch.motion)
    assert longer.padding_mask[:, 64:].all()
    assert torch.equal(longer.camera[79], batch.camera[63])
    assert extended(batch, 10) is batch
