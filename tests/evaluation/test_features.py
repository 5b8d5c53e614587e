import math

import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from stickgen.evaluation.features import (
    BANDS,
    FeatureSpace,
    diversity,
    features_of,
    frechet_distance,
    motion_features,
)
from stickgen.motion.skeleton import rest_pose
from tests.random_clips import ragged_clips

REST = torch.tensor(rest_pose(20))
X = torch.tensor([1.0, 0.0] * 10)


def random_set(clips: int, width: int, seed: int, shift: float = 0.0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=random, dtype=torch.float64)
    return torch.randn(clips, width, generator=random, dtype=torch.float64) @ mix + shift


def walking(speed: float, hertz: float, frames: int = 100) -> Tensor:
    """A figure that glides along while its right wrist swings."""
    time = torch.arange(frames) / 25
    motion = REST + speed * time[:, None] * X
    motion[:, 18] += 0.1 * torch.sin(2 * math.pi * hertz * time)
    return motion


@pytest.mark.parametrize(("dim", "width"), [(20, 42), (48, 102)])
def test_width_of_the_features(dim: int, width: int) -> None:
    motion = torch.randn(30, dim, generator=torch.Generator().manual_seed(0))
    features = motion_features(motion)
    assert features.shape == (width,)
    assert features.dtype == torch.float64


def test_the_moments_of_a_gliding_figure() -> None:
    features = motion_features(walking(speed=1.5, hertz=2.0))
    neck_from_pelvis = REST[:2] - REST[2:4]
    torch.testing.assert_close(features[:2].float(), neck_from_pelvis, atol=1e-5, rtol=0)
    speeds, spread = features[20:26], features[26:32]
    torch.testing.assert_close(speeds[:5], torch.full((5,), 1.5, dtype=torch.float64), atol=1e-3, rtol=0)
    assert spread[:5].max() < 1e-3
    assert spread[5] > 0.1
    torch.testing.assert_close(features[32:34].float(), torch.tensor([1.5, 0.0]), atol=1e-3, rtol=0)
    torch.testing.assert_close(features[36].float(), REST[3])  # the pelvis' height


@pytest.mark.parametrize(("hertz", "band"), [(0.5, 0), (1.5, 1), (3.0, 2), (6.0, 3)])
def test_an_oscillation_shows_in_its_band_with_its_power(hertz: float, band: int) -> None:
    power = 10 ** motion_features(walking(speed=1.0, hertz=hertz, frames=101))[-len(BANDS) :]
    assert power.argmax() == band
    # The mean square of differences of a sine: (2 · a · sin(π f / 25) · 25)² / 2.
    expected = (2 * 0.1 * math.sin(math.pi * hertz / 25) * 25) ** 2 / 2
    assert float(power[band]) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("frames", [7, 8])
def test_the_bands_share_out_the_whole_mean_square(frames: int) -> None:
    motion = torch.randn(frames + 1, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    power = (10 ** motion_features(motion)[-len(BANDS) :] - 1e-6).sum()
    joints = motion.reshape(-1, 10, 2)[:, [0, 1, 3, 5, 7, 9]]
    velocity = 25 * (joints[:, [0, 2, 3, 4, 5]] - joints[:, 1:2]).flatten(1).diff(dim=0)
    assert float(power) == pytest.approx(float(velocity.square().mean(0).sum()), rel=1e-9)


def test_the_distance_equals_the_formula_with_a_matrix_root() -> None:
    first, second = random_set(40, 5, seed=1), random_set(30, 5, seed=2, shift=0.7)
    means = [s.numpy().mean(0) for s in (first, second)]
    a, b = (torch.cov(s.T).numpy() for s in (first, second))
    expected = ((means[0] - means[1]) ** 2).sum() + (a + b - 2 * sqrtm(a @ b).real).trace()
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-9)


def test_the_distance_in_one_dimension_by_hand() -> None:
    first = torch.tensor([[0.0], [2.0]], dtype=torch.float64)  # mean 1, variance 2
    second = torch.tensor([[1.0], [9.0]], dtype=torch.float64)  # mean 5, variance 32
    assert frechet_distance(first, second) == pytest.approx(16 + (math.sqrt(2) - math.sqrt(32)) ** 2)


def test_a_set_has_no_distance_from_itself_even_where_it_is_flat() -> None:
    flat = random_set(4, 6, seed=3)  # a covariance of rank 3
    assert frechet_distance(flat, flat) == pytest.approx(0, abs=1e-6)


def test_a_shift_is_a_distance_of_its_square() -> None:
    some = random_set(20, 3, seed=4)
    assert frechet_distance(some, some + 2) == pytest.approx(12, rel=1e-6)


def test_where_there_is_no_distance() -> None:
    some = random_set(5, 3, seed=5)
    assert math.isnan(frechet_distance(some, some[:1]))
    assert math.isnan(frechet_distance(some, some * torch.inf))
    assert math.isnan(diversity(some[:1]))


def test_diversity_is_the_mean_over_all_pairs() -> None:
    some = random_set(7, 4, seed=6)
    pairs = [float((some[i] - some[j]).norm()) for i in range(7) for j in range(i)]
    assert diversity(some) == pytest.approx(sum(pairs) / 21)
    assert diversity(some[:1].expand(5, -1)) == 0


def test_the_space_standardises_and_keeps_the_widest_directions() -> None:
    features = features_of([clip.motion for clip in ragged_clips(range(10, 50), mixed=False)])
    space = FeatureSpace.fit(features)
    projected = space.project(features)
    assert projected.shape == (40, 10)
    torch.testing.assert_close(projected.mean(0), torch.zeros(10, dtype=torch.float64), atol=1e-9, rtol=0)
    variances = projected.var(0, correction=0)
    assert bool((variances[:-1] >= variances[1:]).all())
    whole = FeatureSpace.fit(features, components=features.shape[1]).project(features)
    assert float(whole.var(0, correction=0).sum()) == pytest.approx(features.shape[1], rel=1e-6)
    torch.testing.assert_close(whole[:, :10].abs(), projected.abs())


def test_few_clips_make_few_components_and_still_features_no_infinity() -> None:
    features = features_of([REST.expand(n, -1) for n in (10, 20, 30)])
    projected = FeatureSpace.fit(features).project(features)
    assert projected.shape == (3, 1)
    assert bool(torch.isfinite(projected).all())
