from pathlib import Path

import numpy as np
import pytest

from stickgen.mocap.importers.npz import read_npz
from stickgen.mocap.projection import project
from stickgen.motion.physics import body_physics
from stickgen.motion.quality import activity_score, constancy_score, physics_score, quality_score
from stickgen.motion.skeleton import STICK_5

T = 100


def walk() -> np.ndarray:
    """A figure that strides along with swinging limbs, ``[100, 20]``."""
    t = np.arange(T) / 25
    joints = np.zeros((T, 6, 2))
    joints[..., 0] = (0.8 * t)[:, None]
    joints[:, :, 1] = [0.8, 0.5, 0.0, 0.0, 0.5, 0.5]
    for index, phase in ((2, 0.0), (3, np.pi), (4, np.pi), (5, 0.0)):
        joints[:, index, 0] += 0.2 * np.sin(2 * np.pi * 0.9 * t + phase)
    return STICK_5.from_joints(joints).astype(np.float32)


def score(motion: np.ndarray) -> float:
    return quality_score(motion, body_physics(motion))


def test_smooth_motion_scores_one() -> None:
    assert score(walk()) == pytest.approx(1)


def noise(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=motion.shape)


def jitter(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return motion + rng.normal(scale=0.05, size=motion.shape)


def teleport(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return motion + np.where(np.arange(len(motion)) > len(motion) // 2, 0.6, 0)[:, None]


def loose_hand(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    spoilt = motion.copy()
    spoilt[len(motion) // 2, -2:] += 0.5
    return spoilt


def frozen(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return motion[:1].repeat(len(motion), axis=0)


def stuck(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    spoilt, start = motion.copy(), 2 * len(motion) // 3
    spoilt[start:] = spoilt[start]
    return spoilt


def shuffled(motion: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(motion)


FAULTS = [noise, jitter, teleport, loose_hand, frozen, stuck, shuffled]


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_score_below_the_threshold(fault) -> None:
    assert 0 <= score(fault(walk(), np.random.default_rng(0))) < 0.8


def test_the_worse_the_teleport_the_lower_the_score() -> None:
    scores = []
    for jump in (0.0, 0.2, 0.4, 0.8, 1.6):
        motion = walk()
        motion[T // 2 :] += jump
        scores.append(score(motion))
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]


def test_parts_answer_for_their_own_fault() -> None:
    motion = walk()
    sprint = body_physics(motion * np.tile([12, 1], 10))
    assert physics_score(body_physics(motion)) == 1
    assert physics_score(sprint) < 1
    assert constancy_score(loose_hand(motion, np.random.default_rng(0))) < 0.5
    assert physics_score(body_physics(loose_hand(motion, np.random.default_rng(0)))) == 1
    assert activity_score(frozen(motion, np.random.default_rng(0))) == 0


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_short_clips_have_a_score(frames: int) -> None:
    assert 0 <= score(walk()[:frames]) <= 1


@pytest.mark.parametrize("view", ["side", "front"])
def test_real_clips_pass_and_spoilt_ones_do_not(shared_mocap: Path, view: str) -> None:
    rng = np.random.default_rng(0)
    clips = [
        project(r.joints, dim=48, view=view, height=r.height, floor=r.floor)
        for r in read_npz(shared_mocap / "cmu_sample.npz")
    ]
    assert np.mean([score(clip) >= 0.8 for clip in clips]) > 0.98
    for fault in FAULTS:
        assert np.mean([score(fault(clip, rng)) < 0.8 for clip in clips]) > 0.95, fault.__name__
