import numpy as np
import pytest

from stickgen.mocap.keypoints.smoothing import smooth
from tests.mocap.keypoints.figures import distance, filmed, noise, walking_figure


def jerk(points: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(points, 3, axis=0), axis=-1).mean())


@pytest.mark.parametrize("fps", [25.0, 60.0])
def test_jitter_goes_and_motion_stays(fps: float) -> None:
    walk = filmed(walking_figure())
    if fps == 60:
        frames = np.arange(0, 93, 25 / 60)
        walk = np.stack([[np.interp(frames, np.arange(94), walk[:, j, d]) for d in (0, 1)] for j in range(14)])
        walk = walk.transpose(2, 0, 1)
    shaky = noise(walk, 2.4)
    assert distance(smooth(shaky, fps), walk) < 0.75 * distance(shaky, walk)
    assert jerk(smooth(shaky, fps)) < 0.3 * jerk(shaky)
    assert distance(smooth(walk, fps), walk) < 0.15 * distance(shaky, walk)


def test_short_clips_and_low_rates_are_left_alone() -> None:
    walk = filmed(walking_figure())
    np.testing.assert_array_equal(smooth(walk[:6], 25), walk[:6])
    np.testing.assert_array_equal(smooth(walk, 8), walk)
