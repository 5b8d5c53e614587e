import math

import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.motion.resampling import resample
from tests.mocap.bodies import walking_body


@pytest.mark.parametrize("fps", [12.5, 24, 25, 29.97, 30, 60, 100, 120, 1 / 0.0083333])
def test_resampling_keeps_the_time(fps: float) -> None:
    seconds = 2.0
    t = np.arange(round(seconds * fps) + 1) / fps
    joints = np.sin(2 * np.pi * t)[:, None, None] * np.ones((1, 2, 3))
    out = resample(joints, fps)
    assert len(out) in (50, 51)
    np.testing.assert_allclose(out[:, 0, 0], np.sin(2 * np.pi * np.arange(len(out)) / 25), atol=6e-3)


def test_resampling_from_a_multiple_drops_frames() -> None:
    joints = np.random.default_rng(0).normal(size=(101, 3, 3))
    np.testing.assert_allclose(resample(joints, 100), joints[::4], atol=1e-12)
    assert resample(joints, 25) is joints
    assert len(resample(joints[:1], 100)) == 1


@pytest.mark.parametrize("fps", [0, -25, math.nan, math.inf])
def test_resampling_refuses_a_rate_that_is_none(fps: float) -> None:
    with pytest.raises(DataError, match="frame rate"):
        resample(walking_body(), fps)
