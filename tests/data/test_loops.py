import numpy as np
import pytest
import torch

from stickgen.data.loops import SHORTEST, Loop, continued, find_loop
from stickgen.motion.skeleton import SKELETONS
from stickgen.sample import sample_sequences


def motion(action: str, frames: int, dim: int = 20) -> torch.Tensor:
    return sample_sequences(1, actions=[action], styles=["neutral"], dim=dim, frames=(frames, frames))[0]["motion"]


def strider(frames: int, stride: int = 20) -> torch.Tensor:
    """A figure whose every number swings with the same stride while it goes to +x: exactly periodic."""
    t = torch.arange(frames, dtype=torch.float64)[:, None]
    phase = torch.linspace(0, 3, 20, dtype=torch.float64)
    swing = 0.2 * torch.sin(2 * torch.pi * t / stride + phase)
    swing[:, 0::2] += 0.04 * t
    return swing.float()


def test_an_exact_cycle_is_found_and_goes_on_as_the_motion_would() -> None:
    loop = find_loop(strider(50))
    assert loop is not None
    assert (loop.end - loop.start) % 20 == 0
    torch.testing.assert_close(continued(strider(50), loop, 250), strider(250), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dim", sorted(SKELETONS))
@pytest.mark.parametrize("action", ["walk", "run"])
def test_gait_goes_on_at_its_own_speed_without_a_jerk(action: str, dim: int) -> None:
    clip = motion(action, 110, dim)
    loop = find_loop(clip)
    assert loop is not None
    long = continued(clip, loop, 250)
    assert long.shape == (250, dim)
    assert torch.equal(long[: loop.end], clip[: loop.end]) or torch.allclose(
        long[: loop.end], clip[: loop.end], atol=1e-6
    )
    speed = (clip[loop.end, 2] - clip[loop.start, 2]) / (loop.end - loop.start)
    later = (long[-1, 2] - long[loop.end, 2]) / (249 - loop.end)
    assert float(later / speed) == pytest.approx(1, rel=0.15)
    acceleration = [m.diff(n=2, dim=0).abs().max() for m in (long, clip)]
    assert float(acceleration[0]) < 1.5 * float(acceleration[1])


@pytest.mark.parametrize("action", ["idle", "sit", "wave"])
def test_what_stays_in_its_place_has_no_cycle_to_go_on_with(action: str) -> None:
    assert find_loop(motion(action, 100)) is None


def test_noise_and_short_clips_have_none() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(80, 20)).astype(np.float32))
    assert find_loop(noise) is None
    assert find_loop(strider(SHORTEST)) is None
    assert find_loop(strider(1)) is None


def test_a_difference_is_spread_over_the_cycle() -> None:
    clip = strider(60)
    clip[:, 1] += 0.001 * torch.arange(60)  # a number that drifts up: after a cycle it does not fit
    long = continued(clip, Loop(10, 50), 200)
    assert float(long[:, 1].diff().abs().max()) < float(clip[:, 1].diff().abs().max()) + 0.005
    torch.testing.assert_close(long[50 + 40 - 1 : 150, 1], long[90 + 40 - 1 : 190, 1], atol=1e-5, rtol=0)
