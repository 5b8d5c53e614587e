import pytest
import torch

from stickgen.motion.ground import above_ground, ground_of
from stickgen.motion.skeleton import rest_pose, skeleton_of


@pytest.mark.parametrize("dim", [20, 48])
def test_feet_below_the_ground_are_lifted_and_nothing_else_is(dim: int) -> None:
    skeleton = skeleton_of(dim)
    joints = skeleton.to_joints(torch.tensor(rest_pose(dim)).expand(2, dim).clone())
    left, right, wrist = (skeleton.joint(name) for name in ("left_ankle", "right_ankle", "left_wrist"))
    joints[0, left, 1], joints[0, right, 1], joints[0, wrist, 1] = -0.2, 0.3, -0.4
    joints[1, left, 1] = -0.05
    frames = skeleton.from_joints(joints)
    lifted = skeleton.to_joints(above_ground(frames, torch.tensor([0.0, -0.1])))
    expected = joints.clone()
    expected[0, left, 1] = 0.0
    torch.testing.assert_close(lifted, expected)
    torch.testing.assert_close(above_ground(frames, -1.0), frames)


def test_the_ground_is_that_of_the_rest_pose_or_where_the_lowest_foot_is() -> None:
    skeleton = skeleton_of(20)
    joints = skeleton.to_joints(torch.tensor(rest_pose(20)).expand(4, 2, 20).clone())
    joints[2, 0, skeleton.joint("right_ankle"), 1] = -0.3
    joints[:, 1, :, 1] += 0.5  # in the air
    torch.testing.assert_close(ground_of(skeleton.from_joints(joints)), torch.tensor([-0.3, 0.0]))
