import numpy as np
import pytest
import torch

from stickgen.data.disturb import KEPT, disturbance, smooth_path
from stickgen.data.sample import sample_sequences
from stickgen.skeleton import SKELETONS


def walk(frames: int = 200, dim: int = 20) -> torch.Tensor:
    return sample_sequences(1, actions=["walk"], styles=["neutral"], dim=dim, frames=(frames, frames))[0]["motion"]


def many(noise: float, drift: float, which: int = 0, draws: int = 60) -> torch.Tensor:
    """Offsets of many draws, ``[draws, T, D]``."""
    motion = walk()
    return torch.stack([disturbance(motion, noise, drift, seed)[which] for seed in range(draws)])


def test_white_noise_has_its_size_and_is_not_asked_for() -> None:
    given = many(0.01, 0)
    assert float(given.std()) == pytest.approx(0.01, rel=0.03)
    assert abs(float((given[:, 1:] * given[:, :-1]).mean())) < 0.03 * 0.01**2
    assert not many(0.01, 0, which=1).any()


def test_a_drift_begins_at_nothing_and_moves_smoothly() -> None:
    given = many(0, 0.05)
    assert not given[:, 0].any()
    late = given[:, 100:]
    assert float(late[..., 0::2].std()) == pytest.approx(0.05, rel=0.25)
    assert float(late.diff(dim=1).std()) < 0.1 * float(late.std())
    assert float(given[:, 5].std()) < 0.2 * float(late.std()), "it builds up, as errors do"


def test_a_tenth_of_the_drift_is_to_be_undone_a_frame() -> None:
    motion = walk()
    given, asked = disturbance(motion, 0, 0.05, 3)
    torch.testing.assert_close(asked[1:], KEPT * given[:-1])
    assert not asked[0].any()
    noisy, same = disturbance(motion, 0.01, 0.05, 3)
    assert torch.equal(same, asked), "the white noise is to be undone at once"
    assert not torch.equal(noisy, given)


@pytest.mark.parametrize("dim", sorted(SKELETONS))
def test_the_size_drifts_about_the_ground_below_the_pelvis_wherever_the_figure_stands(dim: int) -> None:
    motion = walk(dim=dim)
    away = motion.clone()
    away[:, 0::2] += 15
    near, far = (disturbance(m, 0, 0.05, 1)[0] for m in (motion, away))
    torch.testing.assert_close(near, far, atol=1e-5, rtol=0)
    # A number's own drift does not depend on the pose, so what two poses differ by is the size's part.
    taller = motion.clone()
    taller[:, 1::2] *= 2
    more = disturbance(taller, 0, 0.05, 1)[0] - near
    size = more[:, 1::2] / motion[:, 1::2]
    standing = motion[:, 1::2] > 0.2
    assert float((size - size[:, :1])[standing].abs().max()) < 1e-4
    assert not more[:, 0::2].any()


def test_no_drift_carries_the_figure_along() -> None:
    motion = torch.zeros(200, 20)  # of no size, so it does not grow either
    given = torch.stack([disturbance(motion, 0, 0.05, seed)[0] for seed in range(20)])
    assert float(given[..., 0::2].mean(dim=-1).abs().max()) < 1e-6
    assert float(given[..., 1::2].mean(dim=-1).std()) > 0.005


def test_a_draw_is_that_of_its_seed() -> None:
    motion = walk()
    for one, other in zip(disturbance(motion, 0.01, 0.05, 5), disturbance(motion, 0.01, 0.05, 5), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(disturbance(motion, 0.01, 0.05, 6)[0], disturbance(motion, 0.01, 0.05, 5)[0])
    assert not any(offset.any() for offset in disturbance(motion, 0, 0, 5))


def test_the_filter_is_normalised() -> None:
    path = smooth_path(np.random.default_rng(0).standard_normal((400, 2000)))
    assert path[300:].std() == pytest.approx(1, rel=0.03)
    assert smooth_path(np.ones((1, 3))).tolist() == [[0, 0, 0]]
