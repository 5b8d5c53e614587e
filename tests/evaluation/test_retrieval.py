from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stickgen.data.batch import collate
from stickgen.data.clips import Clip
from stickgen.evaluation.retrieval import LEAST_LEFT, REACH, motion_matching, nearest_caption
from tests.random_clips import ragged_clips

TRAIN = ragged_clips((40, 33, 60, 14, 50))
TEST = ragged_clips((30, 70, 45))


def pelvis(frame: Tensor) -> float:
    return float(frame[2])  # x of the torso's lower end


def moved(motion: Tensor, by: float) -> Tensor:
    return motion + by * torch.tensor([1.0, 0.0] * (motion.shape[-1] // 2))


def captioned(clip: Clip, embedding: Tensor) -> Clip:
    return replace(clip, embedding=embedding)


def test_the_clip_of_the_nearest_caption_is_replayed_from_where_the_given_frames_end() -> None:
    batch = collate([captioned(TEST[1], 3 * TRAIN[2].embedding + 0.1)])
    made = nearest_caption(TRAIN)(batch, 10)[:, 0]
    assert made.shape == (60, 20)
    known = TRAIN[2].motion
    expected = moved(known[10:], pelvis(TEST[1].motion[9]) - pelvis(known[9]))
    assert torch.allclose(made[:50], expected, atol=1e-6)
    # It has 60 frames; then it starts again where it ended.
    assert torch.allclose(made[50:], moved(known[:10], pelvis(made[49]) - pelvis(known[0])), atol=1e-6)


def test_from_rest_it_is_replayed_from_its_start_at_x_0() -> None:
    batch = collate([captioned(TEST[0], TRAIN[0].embedding)])
    made = nearest_caption(TRAIN)(batch, 0)[:, 0]
    assert torch.allclose(made, moved(TRAIN[0].motion[:30], -pelvis(TRAIN[0].motion[0])), atol=1e-6)


def test_of_equal_captions_the_longest_clip_is_taken() -> None:
    one = [captioned(clip, TRAIN[0].embedding) for clip in TRAIN]
    made = nearest_caption(one)(collate([captioned(TEST[0], TRAIN[0].embedding)]), 0)[:, 0]
    assert torch.allclose(made, moved(TRAIN[2].motion[:30], -pelvis(TRAIN[2].motion[0])), atol=1e-6)


def test_motion_matching_finds_the_nearest_frame_by_brute_force() -> None:
    made = motion_matching(TRAIN)(collate(TEST), 10)
    for column, clip in enumerate(TEST):
        last, before = clip.motion[9], clip.motion[8]
        best, place = float("inf"), (0, 0)
        for number, known in enumerate(TRAIN):
            for t in range(1, known.length - LEAST_LEFT):
                here = known.motion[t]
                pose = moved(here, -pelvis(here)) - moved(last, -pelvis(last))
                velocity = 25 * ((here - known.motion[t - 1]) - (last - before))
                distance = float(pose.square().sum() + REACH**2 * velocity.square().sum())
                if distance < best:
                    best, place = distance, (number, t)
        number, t = place
        rest = TRAIN[number].motion[t + 1 :]
        expected = moved(rest, pelvis(last) - pelvis(TRAIN[number].motion[t]))
        frames = min(len(rest), clip.length - 10)
        assert torch.allclose(made[:frames, column], expected[:frames], atol=1e-5)


def test_motion_matching_continues_a_clip_that_it_knows_as_it_was_elsewhere() -> None:
    known = TRAIN[2]
    batch = collate([replace(known, motion=moved(known.motion, 5.0))])
    assert torch.allclose(motion_matching(TRAIN)(batch, 10)[:, 0], batch.motion[10:, 0], atol=1e-4)


def test_retrieval_reads_the_given_frames_alone() -> None:
    batch = collate(TEST[1:2])
    other = replace(batch, motion=batch.motion.clone())
    other.motion[10:] = 99.0
    for go_on in (nearest_caption(TRAIN), motion_matching(TRAIN)):
        assert torch.equal(go_on(batch, 10), go_on(other, 10))


def test_motion_matching_needs_given_frames_and_clips_to_follow() -> None:
    with pytest.raises(ValueError, match="2 given frames expected, 0 given"):
        motion_matching(TRAIN)(collate(TEST), 0)
    with pytest.raises(ValueError, match="no clip of 15 frames"):
        motion_matching(TRAIN[3:4])
