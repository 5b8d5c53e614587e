import numpy as np
import pytest
import torch

from stickgen.data.input_noise import KEPT, asked_of, disturbance, smooth_path
from stickgen.motion.skeleton import SKELETONS
from stickgen.sample import sample_sequences


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
    given = many(0, 0.03)
    assert not given[:, 0].any()
    late = given[:, 100:, 1::2]
    assert 0.03 < float(late.std()) < 0.1
    assert float(late.diff(dim=1).std()) < 0.1 * float(late.std())
    assert float(given[:, 5, 1::2].std()) < 0.2 * float(late.std()), "it builds up, as errors do"


def test_a_tenth_of_a_drift_and_an_error_of_speed_are_to_be_undone_a_frame() -> None:
    drifted, place = torch.randn(12, 20), torch.randn(12, 20)
    asked = asked_of(drifted, place)
    assert not asked[0].any()
    for t in range(1, 11):
        torch.testing.assert_close(asked[t + 1], 0.9 * drifted[t] + place[t])
    still = place[:1].expand(12, -1)
    assert torch.equal(asked_of(torch.zeros(12, 20), still)[1:], still[1:]), "who stands elsewhere stays there"


def test_the_target_is_that_of_the_drift_and_the_white_noise_is_to_be_undone_at_once() -> None:
    motion = walk()
    (given, asked), (noisy, same) = disturbance(motion, 0, 0.03, 3), disturbance(motion, 0.01, 0.03, 3)
    assert torch.equal(same, asked)
    assert float((noisy - given).std()) == pytest.approx(0.01, rel=0.03)
    torch.testing.assert_close(asked[1:, 1::2], KEPT * given[:-1, 1::2])
    # Along x the figure goes on from where it is: the target is nearer to what was read than nine tenths of it are.
    off = (asked[1:, 0::2] - given[:-1, 0::2]).mean(dim=1)
    assert float(off.abs().mean()) < 0.1 * float(given[:, 0::2].mean(dim=1).abs().mean())


@pytest.mark.parametrize("dim", sorted(SKELETONS))
def test_the_size_drifts_about_the_ground_below_the_pelvis(dim: int) -> None:
    figure = walk(dim=dim)[:1].expand(200, -1)  # it stands still, so there is nothing but its own drift and its size's
    nothing = disturbance(torch.zeros(200, dim), 0, 0.03, 1)[0]
    size = (disturbance(figure, 0, 0.03, 1)[0] - nothing)[:, 1::2] / figure[:, 1::2]
    heights = figure[0, 1::2] > 0.2
    assert float((size[:, heights] - size[:, heights][:, :1]).abs().max()) < 1e-4, "all of it grows alike"
    many_sizes = torch.stack(
        [
            (disturbance(figure, 0, 0.03, seed)[0] - disturbance(torch.zeros(200, dim), 0, 0.03, seed)[0])[:, 1]
            for seed in range(80)
        ]
    )
    assert float(many_sizes[:, 120:].std() / figure[0, 1]) == pytest.approx(3 * 0.03, rel=0.25)


def test_a_drift_is_the_same_wherever_the_figure_stands() -> None:
    motion = walk()
    away = motion.clone()
    away[:, 0::2] += 15
    near, far = (disturbance(m, 0, 0.03, 1)[0] for m in (motion, away))
    torch.testing.assert_close(near, far, atol=1e-5, rtol=0)


def test_a_stride_becomes_smaller_and_larger_but_never_nothing() -> None:
    t = torch.arange(200.0)[:, None]
    swinging = torch.zeros(200, 20)
    swinging[:, 6:8] = 0.2 * torch.sin(2 * torch.pi * t / 25)  # an ankle; the rest is at 0, where size has no say
    swings = []
    for seed in range(60):
        own = disturbance(torch.zeros(200, 20), 0, 0.08, seed)[0]
        grown = swinging + disturbance(swinging, 0, 0.08, seed)[0] - own
        assert not (grown - swinging)[:, 9].any(), "what does not move has no stride"
        swings.append((grown / swinging)[(swinging[:, 7].abs() > 0.1), 7])
    factor = torch.stack(swings)
    own_size = 3 * 0.08  # the size's drift is in it as well
    assert float(factor.min()) > 0.1 - 5 * own_size
    assert 0.4 < float(factor[:, -20:].std()) < 1.2
    assert float(factor.amax()) > 1.5


def test_the_speed_along_x_drifts() -> None:
    motion = torch.zeros(200, 20)  # of no size and no stride, so neither changes
    given = torch.stack([disturbance(motion, 0, 0.05, seed)[0] for seed in range(80)])
    speed = given[..., 0::2].mean(dim=-1).diff(dim=1) * 25
    assert float(speed[:, 100:].std()) == pytest.approx(20 * 0.05, rel=0.2)
    assert float(speed[:, 0].std()) < 0.05 * float(speed[:, 100:].std()), "it builds up"
    alike = given[..., 0::2] - given[..., 0::2].mean(dim=-1, keepdim=True)
    assert float(alike[:, 100:].std()) == pytest.approx(0.05, rel=0.2), "the figure moves as a whole"


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
