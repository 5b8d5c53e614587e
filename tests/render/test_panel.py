import numpy as np
import pytest
import torch

from stickgen.errors import DataError
from stickgen.motion.skeleton import rest_pose
from stickgen.render import Panel
from tests.render.figures import walking


def test_tensors_and_arrays_are_taken() -> None:
    motion = walking()
    np.testing.assert_array_equal(Panel(torch.tensor(motion)).motion, Panel(motion).motion)
    assert Panel(motion).actors.shape == (12, 1, 20)
    assert Panel(np.stack([motion, motion], axis=1)).actors.shape == (12, 2, 20)


def test_the_head_goes_on_from_the_torso() -> None:
    upright = walking(1)
    np.testing.assert_allclose(Panel(upright).heads[0, 0], [0, 0.87], atol=1e-6)
    upside_down = upright.copy()
    upside_down[:, 1::2] = 1 - upright[:, 1::2]
    np.testing.assert_allclose(Panel(upside_down).heads[0, 0], [0, 0.13], atol=1e-6)
    np.testing.assert_allclose(Panel(np.zeros((1, 20))).heads[0, 0], [0, 0.1], atol=1e-6)
    np.testing.assert_allclose(Panel(walking(1, 48)).heads[0, 0], [0.02, 0.865], atol=1e-6)


@pytest.mark.parametrize("dim", [20, 48])
def test_lines_are_the_segments_by_limb(dim: int) -> None:
    panel = Panel(walking(1, dim))
    limbs = [limb for limb, _ in panel.lines]
    arms, body = (1, 2) if dim == 20 else (2, 5)
    assert (
        limbs
        == ["left_arm"] * arms + ["left_leg"] * arms + ["body"] * body + ["right_leg"] * arms + ["right_arm"] * arms
    )
    drawn = {tuple(np.round(ends[0, 0].ravel(), 5)) for _, ends in panel.lines}
    segments = np.array(rest_pose(dim), dtype=np.float32).reshape(-1, 4)
    assert {tuple(np.round(segment.astype(float), 5)) for segment in segments} <= drawn


@pytest.mark.parametrize(
    ("motion", "message"),
    [
        (np.zeros((0, 20)), r"shape \[T, D\]"),
        (np.zeros(20), r"shape \[T, D\]"),
        (np.zeros((3, 0, 20)), r"shape \[T, D\]"),
        (np.zeros((3, 21)), "21 numbers a frame"),
        (np.where(np.arange(60).reshape(3, 20) == 45, np.nan, 0), "frame 2 is not finite"),
    ],
)
def test_what_is_no_motion_is_named(motion: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=f"mine: motion.*{message}|{message}"):
        Panel(motion, "mine")


def test_actions_must_fit() -> None:
    with pytest.raises(DataError, match="1 for 12 frames"):
        Panel(walking(), actions=["walk"])
