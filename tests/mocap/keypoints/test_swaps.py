import numpy as np
import pytest

from stickgen.mocap.keypoints.swaps import repair_swaps
from tests.mocap.keypoints.figures import distance, exchanged, filmed, noise, walking_figure

ARMS, LEGS = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")


@pytest.fixture(scope="module")
def walk() -> np.ndarray:
    return noise(filmed(walking_figure()), 1.5)


def test_right_sides_stay_as_they_are(walk: np.ndarray) -> None:
    np.testing.assert_array_equal(repair_swaps(walk), walk)


@pytest.mark.parametrize("frames", [slice(20, 21), slice(40, 52), slice(0, 6), slice(85, 94)])
@pytest.mark.parametrize("parts", [ARMS, LEGS])
def test_exchanged_sides_are_repaired(walk: np.ndarray, frames: slice, parts: tuple[str, ...]) -> None:
    wrong = exchanged(walk, frames, parts)
    # A frame may stay wrong in which left and right are at one place anyway.
    assert distance(repair_swaps(wrong), walk) < 0.1 * distance(wrong, walk)


def test_arms_and_legs_are_repaired_independently_under_a_moving_camera(walk: np.ndarray) -> None:
    moving = walk + 60 * np.sin(np.arange(94) / 7)[:, None, None]
    wrong = exchanged(exchanged(moving, slice(10, 30), ARMS), slice(25, 60), LEGS)
    assert distance(repair_swaps(wrong), moving) < 0.1 * distance(wrong, moving)


def test_sides_are_followed_across_frames_without_joints(walk: np.ndarray) -> None:
    wrong = exchanged(walk, slice(40, 60), LEGS)
    wrong[38:42] = np.nan
    wrong[59:62] = np.nan
    assert distance(repair_swaps(wrong), walk) < 0.1 * distance(wrong, walk)


def test_few_frames_and_unknown_joints_are_left_alone() -> None:
    for frames in (1, 2, 5):
        unknown = np.full((frames, 14, 2), np.nan)
        np.testing.assert_array_equal(repair_swaps(unknown), unknown)
