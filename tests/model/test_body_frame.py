from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from stickgen.model import StickFigureTransformer, body_frame
from stickgen.model.body_frame import FEET, VELOCITY_GAIN, BodyFrame, Steer, feet_speed
from stickgen.motion.skeleton import Skeleton, rest_pose, skeleton_of

Build = Callable[..., StickFigureTransformer]
Inputs = Callable[..., dict[str, Tensor]]

PLANTED, LIFTED = 30.0, -30.0


def figures(dim: int, seed: int = 0) -> tuple[Skeleton, Tensor, Tensor]:
    """A skeleton, and two successive frames ``[4, D]`` of figures whose shared joints coincide."""
    skeleton = skeleton_of(dim)
    random = torch.Generator().manual_seed(seed)
    joints = torch.randn(2, 4, len(skeleton.joints), 2, generator=random)
    return skeleton, *skeleton.from_joints(joints)


def head_with(dim: int, contact: tuple[float, float], motion: Tensor | None = None) -> Tensor:
    """An output of the pose head ``[1, D]`` with these logits for the two feet."""
    head = torch.zeros(1, dim) if motion is None else motion.clone()
    probe = BodyFrame(dim, 1.0, 1.0).contact(torch.arange(dim)[None])
    head[:, probe[0]] = torch.tensor(contact)
    return head


@pytest.mark.parametrize("dim", [20, 48])
def test_what_is_read_does_not_depend_on_where_the_figure_stands(dim: int) -> None:
    _, before, now = figures(dim)
    shifted = torch.zeros(dim)
    shifted[0::2] = 8.0
    frame = BodyFrame(dim, 1.0, 1.0)
    torch.testing.assert_close(frame.read(now + shifted, before + shifted), frame.read(now, before), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dim", [20, 48])
def test_places_are_relative_to_the_pelvis_and_repeated_places_carry_velocities(dim: int) -> None:
    skeleton, before, now = figures(dim)
    read = BodyFrame(dim, 1.0, 1.0).read(now, before)
    ends = [name for segment in skeleton.segments for name in (segment.start, segment.end)]
    joints, moved = (skeleton.to_joints(track) for track in (now, now - before))
    pelvis = skeleton.joint("pelvis")
    told = []
    for place, name in enumerate(ends):
        pair, at = read[:, 2 * place : 2 * place + 2], skeleton.joint(name)
        if name in ends[:place]:
            told.append(next(n for n in skeleton.joints if torch.allclose(
                pair, VELOCITY_GAIN * moved[:, skeleton.joint(n)], atol=1e-5)))  # fmt: skip
        else:
            expected = joints[:, at] - torch.stack((joints[:, pelvis, 0], torch.zeros(4)), dim=-1)
            if name == "pelvis":
                expected[:, 0] = VELOCITY_GAIN * moved[:, pelvis, 0]
            torch.testing.assert_close(pair, expected)
    assert len(set(told)) == len(told), "no velocity is read twice"
    assert set(FEET) <= set(told)


@pytest.mark.parametrize("dim", [20, 48])
@pytest.mark.parametrize("kept", [0.0, 0.9, 1.0])
def test_without_contact_a_joint_keeps_its_velocity_and_adds_what_the_head_says(dim: int, kept: float) -> None:
    skeleton, before, now = figures(dim)
    random = torch.Generator().manual_seed(1)
    head = head_with(dim, (LIFTED, LIFTED), torch.randn(4, dim, generator=random))
    made = skeleton.to_joints(BodyFrame(dim, kept, 0.1).move(now, before, head))
    joints, said = skeleton.to_joints(now), 0.1 * skeleton.to_joints(head)
    expected = joints + kept * (joints - skeleton.to_joints(before)) + said
    others = [index for index, name in enumerate(skeleton.joints) if name != "pelvis"]
    expected[:, others, 0] += said[:, skeleton.joint("pelvis"), None, 0]
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)


def test_steering_multiplies_the_displacements_and_adds_to_them() -> None:
    _, before, now = figures(20)
    head = head_with(20, (0.3, LIFTED), torch.randn(4, 20, generator=torch.Generator().manual_seed(3)))
    frame = BodyFrame(20, 0.9, 0.5)
    once = frame.move(now, before, head)
    more = frame.move(now, before, head, steer=Steer(torch.full((4, 1), 1.5), torch.zeros(4, 20)))
    torch.testing.assert_close(more - now, 1.5 * (once - now))
    higher = torch.zeros(4, 20)
    higher[:, 1::2] = 0.01
    moved = frame.move(now, before, head, steer=Steer(torch.ones(4, 1), higher))
    torch.testing.assert_close(moved - once, higher)


@pytest.mark.parametrize("dim", [20, 48])
def test_joints_that_segments_share_stay_together(dim: int) -> None:
    skeleton, before, now = figures(dim)
    apart = now + torch.randn(now.shape, generator=torch.Generator().manual_seed(2))
    made = BodyFrame(dim, 0.9, 0.1).move(apart, before, torch.randn(4, dim))
    torch.testing.assert_close(skeleton.from_joints(skeleton.to_joints(made)), made)


@pytest.mark.parametrize("dim", [20, 48])
@pytest.mark.parametrize("foot", [0, 1])
def test_a_planted_foot_stays_and_the_body_moves_over_it(dim: int, foot: int) -> None:
    skeleton, before, now = figures(dim)
    contact = (PLANTED, LIFTED) if foot == 0 else (LIFTED, PLANTED)
    frame = BodyFrame(dim, 1.0, 1.0)
    made = frame.move(now, before, head_with(dim, contact).expand(4, -1))
    free = frame.move(now, before, head_with(dim, (LIFTED, LIFTED)).expand(4, -1))
    planted = skeleton.joint(FEET[foot])
    moved = skeleton.to_joints(made - now)
    assert float(moved[:, planted, 0].abs().max()) < 5e-3
    shift = skeleton.to_joints(made - free)[..., 0]
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), atol=1e-5, rtol=0)
    torch.testing.assert_close(skeleton.to_joints(made)[..., 1], skeleton.to_joints(free)[..., 1])


def test_two_planted_feet_share_what_they_slip() -> None:
    frame = BodyFrame(20, 1.0, 1.0)
    skeleton = skeleton_of(20)
    now = torch.tensor(rest_pose(20))[None]
    joints = skeleton.to_joints(now)
    joints[:, skeleton.joint("left_ankle"), 0] -= 0.02
    joints[:, skeleton.joint("right_ankle"), 0] -= 0.04
    made = skeleton.to_joints(frame.move(now, skeleton.from_joints(joints), head_with(20, (PLANTED, PLANTED))))
    slipped = [float((made - skeleton.to_joints(now))[0, skeleton.joint(name), 0]) for name in FEET]
    assert slipped == pytest.approx([-0.01, 0.01], abs=1e-4)


@pytest.mark.parametrize("dim", [20, 48])
def test_a_draw_departs_from_the_mean_by_the_spread_of_each_joint(dim: int) -> None:
    skeleton, before, now = figures(dim)
    frame = BodyFrame(dim, 1.0, 0.01)
    random = torch.Generator().manual_seed(3)
    head = head_with(dim, (LIFTED, LIFTED), torch.randn(4, dim, generator=random)).repeat_interleave(4000, 0)
    now, before = (track.repeat_interleave(4000, 0) for track in (now, before))
    mean = frame.move(now, before, head)
    drawn = frame.move(now, before, head, torch.randn(head.shape, generator=random))
    apart = frame.relative(drawn - mean).reshape(4, 4000, dim)
    spread = frame.spread(head).reshape(4, 4000, dim)[:, 0]
    assert torch.allclose(apart.std(dim=1), spread, rtol=0.06)
    assert float(apart.mean(dim=1).abs().max()) < 0.1 * float(spread.max())
    assert len(spread[0].unique()) > len(skeleton.joints) - 3, "joints have spreads of their own"


def test_the_spread_is_bounded() -> None:
    frame = BodyFrame(20, 1.0, 0.005)
    for size in (-1e6, 1e6):
        spread = frame.spread(torch.full((1, 20), size))
        assert 1e-5 < float(spread.min()) <= float(spread.max()) < 0.5


def test_a_planted_foot_takes_no_part_in_a_draw_of_the_whole_figure() -> None:
    skeleton = skeleton_of(20)
    now = torch.tensor(rest_pose(20))[None]
    noise = torch.zeros(1, 20)
    noise[0, 2] = 1.0  # the pelvis' x
    made = BodyFrame(20, 1.0, 0.05).move(now, now, head_with(20, (PLANTED, PLANTED)), noise)
    moved = skeleton.to_joints(made - now)[0, :, 0]
    assert float(moved[skeleton.joint("left_ankle")].abs()) < 1e-3


def test_the_speed_of_feet() -> None:
    skeleton = skeleton_of(20)
    joints = torch.zeros(3, 1, 6, 2)
    joints[:, 0, skeleton.joint("right_ankle"), 0] = torch.tensor([0.0, 0.3, 0.3])
    joints[:, 0, skeleton.joint("right_ankle"), 1] = torch.tensor([0.0, 0.4, 0.4])
    speed = feet_speed(skeleton.from_joints(joints).diff(dim=0))
    assert speed.tolist() == [[[0.0, pytest.approx(0.5)]], [[0.0, 0.0]]]


def test_a_base_of_this_kind_has_the_references_tensors_and_says_where_feet_are_planted(
    build: Build, inputs: Inputs
) -> None:
    world = build(causal=True, pose_output="velocity")
    body = build(causal=True, pose_output="velocity", pose_frame="body", velocity_kept=0.9)
    assert body.state_dict().keys() == world.state_dict().keys()
    arguments = inputs()
    assert not {"contact", "spread"} & world(**arguments, return_all_outputs=True).keys()
    outputs = body(**arguments, return_all_outputs=True)
    assert outputs["contact"].shape == (*arguments["motion"].shape[:2], 2)
    assert outputs["spread"].shape == arguments["motion"].shape
    with pytest.raises(ValueError, match="noise, steer: are for bases with pose_frame=body"):
        world(**arguments, noise=torch.zeros_like(arguments["motion"]))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"pose_frame": "hip"}, "pose_frame='hip': one of world, body"),
        ({"pose_frame": "body", "pose_output": "residual"}, "needs pose_output=velocity, not residual"),
        ({"velocity_kept": 0.5}, "velocity_kept=0.5: .* only with pose_frame=body"),
        ({"pose_frame": "body", "pose_output": "velocity", "velocity_kept": 1.5}, "velocity_kept=1.5: 0 to 1"),
    ],
)
def test_impossible_settings_are_refused(build: Build, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        build(**settings)


def test_a_rollout_before_a_training_does_not_spoil_it() -> None:
    body_frame._layout.cache_clear()
    frame, still = BodyFrame(20, 1.0, 0.01), torch.tensor(rest_pose(20))[None]
    with torch.inference_mode():
        frame.move(still, still, torch.zeros(1, 20))
    head = torch.zeros(1, 20, requires_grad=True)
    frame.move(still, still, head).sum().backward()
    assert head.grad is not None
