"""The bones of the stick figures: how long they are, and figures that keep to it.

A projected bone is shorter than the bone itself whenever it turns towards the viewer, and never longer. So a body is
described by the longest that each of its bones gets, as shares of the usual lengths.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from stickgen.motion.skeleton import STICK_5, STICK_12, Skeleton, other_side, rest_pose, skeleton_of

_BONES = {
    STICK_5: (
        ("pelvis", "neck", 0.306), ("pelvis", "left_ankle", 0.487), ("pelvis", "right_ankle", 0.487),
        ("neck", "left_wrist", 0.35), ("neck", "right_wrist", 0.35),
    ),
    STICK_12: (
        ("pelvis", "chest", 0.278), ("chest", "neck", 0.03), ("neck", "head", 0.101),
        *((parent.format(side), f"{side}_{child}", length) for side in ("left", "right") for parent, child, length in (
            ("chest", "shoulder", 0.067), ("{}_shoulder", "elbow", 0.167), ("{}_elbow", "wrist", 0.14),
            ("pelvis", "hip", 0.052), ("{}_hip", "knee", 0.228), ("{}_knee", "ankle", 0.268),
        )),
    ),
}  # fmt: skip
"""Parent, child and usual length of each bone, from the pelvis outwards: about what it exceeds in one of twenty CMU
clips, as ``stickgen prepare`` projects them; the thigh's is that of the rest pose. The legs and arms of the 20-number
figure bend, so their longest is that of the stretched limb."""

SHARES = (0.85, 1.15)
"""Bounds of a length over the usual one: a clip in which a limb never stretches does not show how long it is."""


@dataclass(frozen=True, eq=False)
class _Tree:
    """The N bones between the J joints of a figure.

    Attributes:
        parents: a joint of each bone, int64 ``[N]``.
        children: its other joint.
        chain: ``[J, N]``: 1 where a bone lies between the pelvis and a joint.
        pelvis: its joint.
        usual: the usual lengths ``[N]``, in body heights.
    """

    parents: Tensor
    children: Tensor
    chain: Tensor
    pelvis: int
    usual: Tensor


def bone_count(dim: int) -> int:
    """Return how many bones the figure with so many numbers a frame has."""
    return len(_BONES[skeleton_of(dim)])


def bone_shares(motion: Tensor) -> Tensor:
    """Return the longest that each bone gets in motion ``[T, ..., D]`` over its usual length, as ``[..., N]``."""
    skeleton = skeleton_of(motion.shape[-1])
    tree = _tree(skeleton, motion.device)
    longest = _vectors(tree, skeleton.to_joints(motion)).norm(dim=-1).amax(dim=0)
    return (longest / tree.usual).clamp(*SHARES)


def sides_swapped(shares: Tensor) -> Tensor:
    """Return the bones ``[..., N]`` or ``[..., 1]`` of the mirror image of a body: left and right limbs exchanged."""
    if shares.shape[-1] == 1:
        return shares
    bones = next(bones for bones in _BONES.values() if len(bones) == shares.shape[-1])
    names = [child for _, child, _ in bones]
    return shares[..., [names.index(other_side(name)) for name in names]]


def within(frames: Tensor, shares: Tensor) -> Tensor:
    """Shorten the bones that are too long; the pelvis stays, and what hangs on a bone comes along.

    Args:
        frames: ``[..., D]``.
        shares: the longest that each bone may be over its usual length, ``[..., N]`` or ``[..., 1]``.
    """
    skeleton = skeleton_of(frames.shape[-1])
    tree = _tree(skeleton, frames.device)
    joints = skeleton.to_joints(frames)
    vectors = _vectors(tree, joints)
    kept = (shares * tree.usual / vectors.norm(dim=-1).clamp(min=1e-6)).clamp(max=1.0)
    return skeleton.from_joints(_joined(tree, joints, vectors * kept[..., None].to(vectors)))


def at_rest(dim: int, shares: Tensor) -> Tensor:
    """Return :func:`~stickgen.motion.skeleton.rest_pose` of other bodies, their feet at its height.

    Args:
        dim: numbers a frame.
        shares: lengths of their bones over the usual ones, ``[..., N]`` or ``[..., 1]``.

    Returns:
        ``[..., dim]``.
    """
    skeleton = skeleton_of(dim)
    tree = _tree(skeleton, shares.device)
    joints = skeleton.to_joints(torch.tensor(rest_pose(dim), device=shares.device))
    made = _joined(tree, joints, _vectors(tree, joints) * shares[..., None])
    feet = [skeleton.joint(name) for name in ("left_ankle", "right_ankle")]
    raised = (joints[feet, 1].mean() - made[..., feet, 1].mean(-1))[..., None]
    return skeleton.from_joints(torch.stack((made[..., 0], made[..., 1] + raised), dim=-1))


def _vectors(tree: _Tree, joints: Tensor) -> Tensor:
    """Return the bones ``[..., N, 2]`` between joints ``[..., J, 2]``."""
    return joints[..., tree.children, :] - joints[..., tree.parents, :]


def _joined(tree: _Tree, joints: Tensor, vectors: Tensor) -> Tensor:
    """Return joints ``[..., J, 2]``: the bones ``[..., N, 2]`` put together from where the pelvis is."""
    return joints[..., tree.pelvis, None, :] + tree.chain.to(vectors.dtype) @ vectors


@functools.cache
def _tree(skeleton: Skeleton, device: torch.device) -> _Tree:
    # A rollout may ask first; what is made in inference mode could not be used in training afterwards.
    with torch.inference_mode(False):
        bones = _BONES[skeleton]
        ends = [(skeleton.joint(parent), skeleton.joint(child)) for parent, child, _ in bones]
        chain = torch.zeros(len(skeleton.joints), len(bones))
        for number, (parent, child) in enumerate(ends):
            chain[child] = chain[parent]
            chain[child, number] = 1
        parents, children = torch.tensor(ends, device=device).T
        usual = torch.tensor([length for *_, length in bones], device=device)
        return _Tree(parents, children, chain.to(device), skeleton.joint("pelvis"), usual)
