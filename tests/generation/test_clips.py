from collections.abc import Callable

import pytest
import torch

from stickgen.data.clips import ClipInfo
from stickgen.generation import one_shot, rollout
from stickgen.generation.clips import choose_clips, continue_clips, move_from_rest
from stickgen.model import StickFigureTransformer
from tests.random_clips import random_clip

Build = Callable[..., StickFigureTransformer]


@pytest.mark.parametrize("causal", [True, False])
def test_each_clip_is_gone_on_with_to_its_own_end(build: Build, causal: bool) -> None:
    clips = [random_clip(9, seed=1), random_clip(9, seed=2), random_clip(6, seed=3)]
    model = build(causal=causal, embedding_dim=len(clips[0].embedding))
    made = continue_clips(model, clips, 4)
    assert [(motion.shape, exploded) for motion, exploded in made] == [((n, 20), False) for n in (9, 9, 6)]
    for clip, (motion, _) in zip(clips, made, strict=True):
        torch.testing.assert_close(motion[:4], clip.motion[:4])
    alone = (rollout if causal else one_shot)(model, clips[1].embedding[None], 5, clips[1].motion[:4, None])
    torch.testing.assert_close(made[1][0][4:], alone[:, 0])


def test_without_given_frames_the_caption_alone_counts(build: Build) -> None:
    clips = [random_clip(5, seed=1), random_clip(5, seed=2)]
    model = build(embedding_dim=len(clips[0].embedding))
    (first, _), (second, _) = continue_clips(model, clips, 0)
    torch.testing.assert_close(first, rollout(model, clips[0].embedding[None], 5)[:, 0])
    assert not torch.equal(first, second)


def test_conditions_are_those_of_the_clips(build: Build) -> None:
    clip = random_clip(7, camera=True)
    model = build(embedding_dim=len(clip.embedding))
    plain, filmed = (continue_clips(model, [clip], 3, conditions)[0][0] for conditions in ((), ("camera",)))
    assert clip.camera is not None
    wanted = rollout(model, clip.embedding[None], 4, clip.motion[:3, None], cameras=clip.camera[:, None])
    torch.testing.assert_close(filmed[3:], wanted[:, 0])
    assert not torch.equal(plain, filmed)


def test_prompts_set_off_from_rest_under_a_still_camera(build: Build) -> None:
    model = build()
    text = torch.randn(2, 32, generator=torch.Generator().manual_seed(4))
    plain = move_from_rest(model, text, 5)
    torch.testing.assert_close(torch.stack([motion for motion, _ in plain], dim=1), rollout(model, text, 5))
    still = torch.tensor((0.0, 0.0, 1.0)).expand(5, 2, 3)
    wanted = rollout(model, text, 5, cameras=still, partners=torch.zeros(5, 2, 20))
    for clip, (motion, exploded) in enumerate(move_from_rest(model, text, 5, ("camera", "partner"))):
        torch.testing.assert_close(motion, wanted[:, clip])
        assert not exploded


def test_clips_of_different_captions_come_first() -> None:
    texts = ["walk", "walk", "run", "short", "wave", "run"]
    infos = [ClipInfo(i, 10 if text == "short" else 50, 20, 8, text, f"take {i}") for i, text in enumerate(texts)]
    assert choose_clips(infos, 1, 35) == [0]
    assert choose_clips(infos, 3, 35) == [0, 2, 4]
    assert choose_clips(infos, 4, 35) == [0, 2, 4, 1]
    assert choose_clips(infos, 9, 35) == [0, 2, 4, 1, 5]
    assert choose_clips(infos, 9, 35, repeat=False) == [0, 2, 4]
    assert choose_clips(infos, 2, 51) == []
