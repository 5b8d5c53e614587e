import pytest
import torch

from stickgen.data.augment import mirrored
from stickgen.motion.bones import SHARES, at_rest, bone_shares, sides_swapped, within
from stickgen.motion.skeleton import rest_pose, skeleton_of

BONES = {20: 5, 48: 15}


def moving(dim: int, frames: int = 30, seed: int = 0) -> torch.Tensor:
    """The rest pose with every joint somewhere about its place, ``[frames, 2, dim]``."""
    skeleton = skeleton_of(dim)
    joints = skeleton.to_joints(torch.tensor(rest_pose(dim)).expand(frames, 2, dim).clone())
    noise = torch.randn(joints.shape, generator=torch.Generator().manual_seed(seed))
    return skeleton.from_joints(joints + 0.1 * noise)


@pytest.mark.parametrize("dim", [20, 48])
def test_no_bone_is_longer_than_it_may_be_and_the_pelvis_stays(dim: int) -> None:
    shares = torch.linspace(0.9, 1.0, BONES[dim])
    skeleton = skeleton_of(dim)
    motion = moving(dim)
    made = within(motion, shares)
    assert (bone_shares(made) <= shares + 1e-5).all()
    assert (bone_shares(motion) > shares).any(), "there was something to shorten"
    pelvis = skeleton.joint("pelvis")
    assert torch.equal(skeleton.to_joints(made)[..., pelvis, :], skeleton.to_joints(motion)[..., pelvis, :])
    torch.testing.assert_close(within(made, shares), made)


def test_a_bone_keeps_its_direction_and_what_hangs_on_it_comes_along() -> None:
    skeleton = skeleton_of(20)
    joints = skeleton.to_joints(torch.tensor(rest_pose(20)))
    neck, wrist, pelvis = (skeleton.joint(name) for name in ("neck", "left_wrist", "pelvis"))
    far = joints.clone()
    far[neck] = far[pelvis] + torch.tensor([0.3, 0.4])
    far[wrist] = far[neck] + torch.tensor([0.0, -0.2])
    made = skeleton.to_joints(within(skeleton.from_joints(far), torch.ones(1)))
    torch.testing.assert_close(made[neck] - made[pelvis], 0.306 * torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(made[wrist] - made[neck], torch.tensor([0.0, -0.2]))


@pytest.mark.parametrize("dim", [20, 48])
def test_a_figure_of_usual_bones_stands_as_the_rest_pose(dim: int) -> None:
    made = at_rest(dim, torch.ones(3, BONES[dim]))
    torch.testing.assert_close(made, torch.tensor(rest_pose(dim)).expand(3, dim))
    torch.testing.assert_close(at_rest(dim, torch.ones(3, 1)), made)


@pytest.mark.parametrize("dim", [20, 48])
def test_other_bodies_stand_on_the_same_ground(dim: int) -> None:
    skeleton = skeleton_of(dim)
    small, large = at_rest(dim, torch.tensor([[0.9], [1.1]]))
    for frame in (small, large):
        joints = skeleton.to_joints(frame)
        feet = joints[[skeleton.joint("left_ankle"), skeleton.joint("right_ankle")], 1]
        torch.testing.assert_close(feet, torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(bone_shares(large[None] / 1.1), bone_shares(small[None] / 0.9))


def test_a_limb_that_never_stretches_counts_as_a_little_short() -> None:
    skeleton = skeleton_of(20)
    joints = skeleton.to_joints(torch.tensor(rest_pose(20)))
    joints[skeleton.joint("left_wrist")] = joints[skeleton.joint("neck")]
    joints[skeleton.joint("right_wrist")] = joints[skeleton.joint("neck")] + torch.tensor([0.0, 2.0])
    assert bone_shares(skeleton.from_joints(joints)[None])[3:].tolist() == pytest.approx(list(SHARES))


@pytest.mark.parametrize("dim", [20, 48])
def test_a_mirror_image_has_its_left_bones_on_the_right(dim: int) -> None:
    body = 1 + 0.1 * torch.rand(BONES[dim], generator=torch.Generator().manual_seed(0))
    motion = at_rest(dim, body)[None]
    shares = bone_shares(motion)
    torch.testing.assert_close(bone_shares(mirrored(motion)), sides_swapped(shares))
    assert not torch.equal(sides_swapped(shares), shares)
