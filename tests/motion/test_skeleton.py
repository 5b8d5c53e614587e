import numpy as np
import pytest
import torch

from stickgen.errors import DataError
from stickgen.motion.skeleton import FPS, SKELETONS, STICK_5, STICK_12, Skeleton, skeleton_of, to_stick_5

both = pytest.mark.parametrize("skeleton", [STICK_5, STICK_12], ids=lambda s: s.name)


def joints_of(skeleton: Skeleton) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 3, len(skeleton.joints), 2))


def test_sizes() -> None:
    assert FPS == 25
    assert [s.dim for s in SKELETONS.values()] == [20, 48]
    assert [len(s.segments) for s in SKELETONS.values()] == [5, 12]
    assert skeleton_of(20) is STICK_5
    assert skeleton_of(48) is STICK_12
    with pytest.raises(DataError, match="21 numbers a frame; 20 or 48"):
        skeleton_of(21)


@both
def test_joints_there_and_back(skeleton: Skeleton) -> None:
    joints = joints_of(skeleton)
    motion = skeleton.from_joints(joints)
    assert motion.shape == (7, 3, skeleton.dim)
    np.testing.assert_array_equal(skeleton.to_joints(motion), joints)
    from_torch = skeleton.to_joints(torch.from_numpy(motion))
    assert isinstance(from_torch, torch.Tensor)
    np.testing.assert_array_equal(from_torch.numpy(), joints)


@both
def test_the_numbers_of_a_segment_are_its_ends(skeleton: Skeleton) -> None:
    joints = joints_of(skeleton)
    motion = skeleton.from_joints(joints)
    for index, segment in enumerate(skeleton.segments):
        ends = [joints[..., skeleton.joint(name), :] for name in (segment.start, segment.end)]
        np.testing.assert_array_equal(motion[..., 4 * index : 4 * index + 4], np.concatenate(ends, axis=-1))
        np.testing.assert_allclose(
            skeleton.segment_lengths(motion)[..., index], np.linalg.norm(ends[1] - ends[0], axis=-1)
        )


def test_the_order_of_the_layouts() -> None:
    assert [(s.start, s.end) for s in STICK_5.segments] == [
        ("neck", "pelvis"),
        ("pelvis", "left_ankle"),
        ("pelvis", "right_ankle"),
        ("neck", "left_wrist"),
        ("neck", "right_wrist"),
    ]
    assert [s.name for s in STICK_12.segments] == [
        "head", "upper_torso", "lower_torso", "left_upper_arm", "left_forearm", "right_upper_arm", "right_forearm",
        "left_thigh", "left_shin", "right_thigh", "right_shin", "pelvis_width",
    ]  # fmt: skip


def test_reduction_to_five_segments() -> None:
    joints = joints_of(STICK_12)
    small = to_stick_5(STICK_12.from_joints(joints))
    assert small.shape == (7, 3, 20)
    for name in STICK_5.joints:
        np.testing.assert_array_equal(
            STICK_5.to_joints(small)[..., STICK_5.joint(name), :], joints[..., STICK_12.joint(name), :]
        )
    assert to_stick_5(small) is small
    with pytest.raises(DataError, match="21 numbers"):
        to_stick_5(np.zeros((3, 21)))
