import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stickgen.errors import DataError
from stickgen.mocap.projection import (
    BODY_JOINTS,
    body_height,
    facing_direction,
    floor_height,
    project,
    view_yaw,
)
from stickgen.motion.skeleton import STICK_5, STICK_12, to_stick_5
from tests.mocap.bodies import STANDING, walking_body


def joint(motion: np.ndarray, name: str) -> np.ndarray:
    return STICK_12.to_joints(motion)[:, STICK_12.joint(name)]


def test_side_view_walks_to_positive_x_with_feet_on_the_ground() -> None:
    motion = project(walking_body(speed=1.3), dim=48)
    pelvis = joint(motion, "pelvis")
    height = body_height(walking_body())
    assert motion.dtype == np.float32
    assert pelvis[0, 0] == 0
    np.testing.assert_allclose(np.diff(pelvis[:, 0]) * 25, 1.3 / height, rtol=1e-3)
    np.testing.assert_allclose(joint(motion, "left_ankle")[:, 1], 0, atol=1e-6)
    assert 0.85 < joint(motion, "head")[0, 1] < 0.95


def test_front_view_shows_the_left_hand_on_the_right() -> None:
    motion = project(walking_body(), dim=48, view="front")
    height = body_height(walking_body())
    np.testing.assert_allclose(joint(motion, "left_wrist")[:, 0], 0.2 / height, atol=1e-5)
    np.testing.assert_allclose(joint(motion, "right_wrist")[:, 0], -0.2 / height, atol=1e-5)


def test_yaw_blends_the_views() -> None:
    side, front, yawed = (project(walking_body(), dim=20, view=view) for view in ("side", "front", "30"))
    expected = side * math.cos(math.radians(30)) + front * math.sin(math.radians(30))
    np.testing.assert_allclose(yawed[:, ::2], expected[:, ::2], atol=1e-5)
    np.testing.assert_allclose(yawed[:, 1::2], side[:, 1::2], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    heading=st.floats(-180, 180),
    scale=st.floats(0.01, 200),
    shift=st.tuples(st.floats(-50, 50), st.floats(-5, 5), st.floats(-50, 50)),
)
def test_heading_unit_and_place_do_not_matter(heading: float, scale: float, shift: tuple[float, ...]) -> None:
    body = walking_body(heading=heading) * scale + np.array(shift) * scale
    np.testing.assert_allclose(project(body, dim=48), project(walking_body(), dim=48), atol=1e-4)


def test_a_turning_body_turns_in_the_picture() -> None:
    body = np.concatenate([walking_body(60), walking_body(20, heading=180)])
    motion = project(body - body[:, [8]], dim=48)
    assert joint(motion, "left_ankle")[:60, 0].max() > 0.1
    forth, back = (np.diff(project(part, dim=20)[:, 2]).mean() for part in (body[:60], body[60:]))
    assert forth > 0
    assert back > 0


def test_shared_joints_coincide_and_the_small_layout_is_the_reduction_of_the_large() -> None:
    large = project(walking_body(), dim=48)
    np.testing.assert_array_equal(STICK_12.from_joints(STICK_12.to_joints(large)), large)
    np.testing.assert_array_equal(project(walking_body(), dim=20), to_stick_5(large))
    np.testing.assert_allclose(
        joint(large, "pelvis"), (joint(large, "left_hip") + joint(large, "right_hip")) / 2, atol=1e-6
    )
    np.testing.assert_allclose(
        joint(large, "chest"), (joint(large, "left_shoulder") + joint(large, "right_shoulder")) / 2, atol=1e-6
    )


def test_crouching_is_not_blown_up() -> None:
    crouching = walking_body()
    for name in BODY_JOINTS:
        if not name.endswith(("ankle", "knee")):
            crouching[:, BODY_JOINTS.index(name), 1] -= 0.35
    # Knees give way sideways by as much as keeps the thighs' length.
    for name, sign in (("left_knee", 1), ("right_knee", -1)):
        crouching[:, BODY_JOINTS.index(name), 0] += sign * math.sqrt(0.45**2 - 0.1**2)
        crouching[:, BODY_JOINTS.index(name), 1] = 0.5
    motion = project(crouching, dim=48)
    assert joint(motion, "head")[0, 1] < 0.8


def test_floor_is_where_the_feet_stand_not_where_they_dangle() -> None:
    jumping = walking_body(100)
    jumping[40:60, :, 1] += 0.5
    assert floor_height(jumping) == pytest.approx(0.08)
    assert joint(project(jumping, dim=48), "left_ankle")[50, 1] > 0.25


def test_height_is_about_what_the_body_measures() -> None:
    assert body_height(walking_body()) == pytest.approx(1.8, abs=0.1)


def test_facing_of_a_body_that_spins_is_where_it_starts() -> None:
    spin = np.stack([walking_body(1, heading=h)[0] for h in np.linspace(0, 360, 40, endpoint=False)])
    np.testing.assert_allclose(facing_direction(spin), [0, 0, 1], atol=1e-9)


def test_facing_without_width() -> None:
    line = np.zeros((3, len(BODY_JOINTS), 3))
    np.testing.assert_array_equal(facing_direction(line), [0, 0, 1])


@pytest.mark.parametrize("view", ["top", "nan", ""])
def test_refuses_unknown_views(view: str) -> None:
    with pytest.raises(DataError, match="side, front or a yaw"):
        view_yaw(view)


def test_refuses_joints_that_are_none() -> None:
    body = walking_body()
    body[7, 3, 1] = np.nan
    with pytest.raises(DataError, match="frame 7"):
        project(body, dim=20)
    with pytest.raises(DataError, match=r"\[T, 14, 3\]"):
        project(walking_body()[:, :5], dim=20)
    with pytest.raises(DataError, match="20 or 48"):
        project(walking_body(), dim=21)
    with pytest.raises(DataError, match="coincide"):
        project(np.zeros((5, 14, 3)), dim=20)


def test_the_test_body_is_a_body() -> None:
    assert set(STANDING) == set(BODY_JOINTS)
    assert STICK_5.dim == 20
