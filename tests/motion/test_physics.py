import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.motion.physics import body_physics
from stickgen.motion.skeleton import FPS, STICK_5, STICK_12, Skeleton


def figure(pelvis: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """A stiff figure carried along by its pelvis."""
    offsets = np.random.default_rng(0).normal(size=(len(skeleton.joints), 2))
    offsets[skeleton.joint("pelvis")] = 0
    return skeleton.from_joints(pelvis[:, None] + offsets).astype(np.float32)


@pytest.mark.parametrize("skeleton", [STICK_5, STICK_12])
def test_constant_velocity(skeleton: Skeleton) -> None:
    seconds = np.arange(40) / FPS
    physics = body_physics(figure(np.stack([1.5 * seconds, 0.5 - 0.2 * seconds], axis=1), skeleton))
    assert physics.dtype == np.float32
    np.testing.assert_allclose(physics, np.tile([1.5, -0.2, 0, 0, 1.5, -0.2], (40, 1)), atol=2e-3)


def test_free_fall_has_the_acceleration_it_falls_with() -> None:
    seconds = np.arange(30) / FPS
    physics = body_physics(figure(np.stack([0 * seconds, 2 - 2.5 * seconds**2], axis=1), STICK_5))
    np.testing.assert_allclose(physics[1:-1, 1], -5 * seconds[1:-1], atol=1e-3)
    np.testing.assert_allclose(physics[1:-2, 3], -5, atol=1e-2)


def test_velocity_steps_are_the_acceleration() -> None:
    walk = np.random.default_rng(1).normal(size=(60, 2)).cumsum(0) * 0.02
    physics = body_physics(figure(walk, STICK_12))
    np.testing.assert_allclose(np.diff(physics[:, :2], axis=0), physics[:-1, 2:4] / FPS, atol=1e-5)
    np.testing.assert_array_equal(physics[:, 4:], physics[:, :2])


def test_one_and_two_frames() -> None:
    np.testing.assert_array_equal(body_physics(np.ones((1, 20), np.float32)), np.zeros((1, 6)))
    two = body_physics(figure(np.array([[0.0, 1.0], [0.04, 1.0]]), STICK_5))
    np.testing.assert_allclose(two, [[1, 0, 0, 0, 1, 0]] * 2, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 20), (10, 21), (20,), (5, 2, 20)])
def test_refuses_what_is_no_motion(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError):
        body_physics(np.zeros(shape, np.float32))
