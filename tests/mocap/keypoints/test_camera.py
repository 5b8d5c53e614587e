import numpy as np
import pytest

from stickgen.mocap.keypoints.camera import body_scale, camera_stands_still, remove_camera
from stickgen.mocap.projection import body_height
from tests.mocap.keypoints.figures import FPS, at, distance, filmed, noise, walking_figure


def hips(points: np.ndarray) -> np.ndarray:
    return (points[:, at("left_hip")] + points[:, at("right_hip")]) / 2


def posture(points: np.ndarray) -> np.ndarray:
    return points - hips(points)[:, None]


def cleaned(points: np.ndarray) -> np.ndarray:
    return remove_camera(points, body_scale(points, FPS), FPS)


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    return walking_figure()


@pytest.fixture(scope="module")
def size(walk: np.ndarray) -> float:
    """How large the figure comes out of a still camera: its height is estimated from its bones."""
    return distance(posture(cleaned(filmed(walk))), 0 * walk) / distance(posture(walk), 0 * walk)


def test_a_still_camera_keeps_the_path(walk: np.ndarray, size: float) -> None:
    assert size == pytest.approx(1 / body_height(walk, 75), rel=0.03)
    figure = cleaned(noise(filmed(walk), 1.0)) / size
    assert distance(figure - [hips(figure)[0, 0], 0], walk - [hips(walk)[0, 0], 0]) < 0.03


def test_zoom_is_taken_out_by_the_size_of_the_body(walk: np.ndarray, size: float) -> None:
    zoom = np.exp(np.linspace(-0.2, 0.4, len(walk)) + 0.1 * np.sin(np.arange(len(walk)) / 15))[:, None, None]
    zoomed = filmed(posture(walk)) * zoom
    scale = body_scale(noise(zoomed, 1.0), FPS)
    ratio = scale / zoom[:, 0, 0]
    assert np.ptp(ratio) < 0.04 * ratio.mean()
    assert distance(posture(cleaned(zoomed)) / size, posture(walk)) < 0.01
    assert distance(posture(zoomed) / 300, posture(walk)) > 0.03


def test_pan_is_taken_out_by_the_standing_foot(walk: np.ndarray, size: float) -> None:
    time = np.arange(len(walk)) / FPS
    shake = np.stack([9 * np.sin(2 * np.pi * 0.7 * time), 7 * np.sin(2 * np.pi * 0.3 * time)], axis=1)
    followed = filmed(posture(walk)) + shake[:, None]
    assert camera_stands_still(filmed(walk), np.full(len(walk), 300.0), FPS)
    assert not camera_stands_still(followed, np.full(len(walk), 300.0), FPS)
    figure = cleaned(followed) / size
    travelled, true = (hips(points)[-1, 0] - hips(points)[0, 0] for points in (figure, walk))
    assert travelled == pytest.approx(true, rel=0.1)
    assert np.abs(np.minimum(figure[:, at("left_ankle"), 1], figure[:, at("right_ankle"), 1])).max() < 0.05


def test_who_walks_to_the_left_goes_on_doing_so(walk: np.ndarray) -> None:
    figure = cleaned(filmed(posture(walk * (-1, 1))))
    assert hips(figure)[-1, 0] < -2


def test_a_jump_stays_in_the_air(walk: np.ndarray) -> None:
    standing = np.repeat(walk[:1], 75, axis=0)
    jump = np.zeros(75)
    jump[30:42] = 0.25 * np.sin(np.pi * np.arange(12) / 11)
    standing[..., 1] += jump[:, None]
    for camera in (np.zeros(75), 40 * np.sin(np.arange(75) / 8)):
        figure = cleaned(filmed(standing) + camera[:, None, None] * (1, 0))
        low = figure[..., 1].min(axis=1)
        assert low[36] > 0.18
        assert np.abs(low[:20]).max() < 0.03


def test_one_frame_is_a_figure(walk: np.ndarray) -> None:
    assert cleaned(filmed(walk[:1])).shape == (1, 14, 2)
