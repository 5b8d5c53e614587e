import math
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

from stickgen.generation import rollout
from stickgen.generation.steering import (
    FASTEST,
    FASTEST_PLACE,
    FREE_PLACE,
    LEAST_GAIN,
    MOST_GAIN,
    SLOW,
    STILL,
    SWINGS,
    Steering,
)
from stickgen.model import StickFigureTransformer
from stickgen.model.code_bank import CodeBank
from stickgen.model.motion_code import POSTURE, WIDTH, limb_speed, motion_code, posture, posture_and_steps
from stickgen.motion.skeleton import FPS, STICK_5, rest_pose, skeleton_of

REST = torch.tensor(rest_pose(20))


def gliding(*speeds: float, frames: int = 40) -> torch.Tensor:
    """Figures that glide along x at speeds in body heights a second, ``[frames, B, 20]``."""
    motion = REST.expand(frames, len(speeds), 20).clone()
    motion[..., 0::2] += torch.arange(frames)[:, None, None] * torch.tensor(speeds)[:, None] / FPS
    return motion


def test_a_code_tells_the_speed_of_the_limbs() -> None:
    codes = torch.stack([motion_code(motion) for motion in gliding(0.5, 1.5).unbind(1)])
    torch.testing.assert_close(limb_speed(codes), torch.tensor([0.5, 1.5]))


def test_steps_grow_where_a_clip_is_slower_than_its_code_and_shrink_where_it_is_faster() -> None:
    codes = torch.stack([motion_code(motion) for motion in gliding(1.0, 1.0, 1.0, 1.0).unbind(1)])
    steering = Steering(codes, 20)
    assert steering.next().gain.tolist() == [[[1.0]] * 4]
    made = gliding(0.2, 0.95, 1.0, 1.1, frames=200)
    for before, frame in pairwise(made):
        steering.see(before, frame)
    slow, slower, equal, fast = steering.next().gain.flatten().tolist()
    assert slow == pytest.approx(MOST_GAIN)
    assert slower == pytest.approx(1.02, abs=1e-3)
    assert equal == pytest.approx(1, abs=1e-3)
    assert fast == pytest.approx(0.96, abs=1e-3)


def test_figures_that_hardly_move_are_calmed_more() -> None:
    codes = torch.stack([motion_code(motion) for motion in gliding(0.9 * SLOW, 1.1 * SLOW).unbind(1)])
    steering = Steering(codes, 20)
    for before, frame in pairwise(gliding(3.0, 3.0, frames=100)):
        steering.see(before, frame)
    assert steering.next().gain.flatten().tolist() == pytest.approx(list(LEAST_GAIN))


def test_a_code_that_stands_still_does_not_freeze_its_clip() -> None:
    steering = Steering(motion_code(gliding(0.0)[:, 0])[None], 20)
    made = gliding(STILL, frames=100)
    for before, frame in pairwise(made):
        steering.see(before, frame)
    assert steering.next().gain.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dim", [20, 48])
def test_a_rollout_that_loses_speed_keeps_more_of_it(
    build: Callable[..., StickFigureTransformer], dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A figure that glides and loses a fiftieth of its speed in every frame.
    model = build(
        pose_output="velocity", pose_frame="body", velocity_kept=0.98, input_dim=dim, output_dim=dim,
        embedding_dim=8 + WIDTH,
    )  # fmt: skip
    last = model.pose_decoder[-1]
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    head = torch.arange(dim, dtype=last.bias.dtype)
    last.bias.data[model.body_frame.contact(head).long()] = -30.0
    monkeypatch.setattr(sys.modules["stickgen.generation.rollout"], "DEPARTURE", 0.0)

    given = torch.tensor(rest_pose(dim)).expand(2, 1, dim).clone()
    given[1, :, 0::2] += 1.0 / FPS
    pelvis = skeleton_of(dim).joint("pelvis")

    def speed_at_the_end() -> float:
        x = skeleton_of(dim).to_joints(rollout(model, torch.zeros(1, 8 + WIDTH), 75, given))[:, 0, pelvis, 0]
        return float(x[-1] - x[-2]) * FPS

    assert speed_at_the_end() < 0.3
    model.code_bank = CodeBank.of([torch.zeros(8 + WIDTH)], [motion_code(gliding(1.0)[:, 0])])
    assert 0.9 < speed_at_the_end() < 1


def bent(by: float, frames: int = 60) -> torch.Tensor:
    """A figure that stands still, its neck and head ahead of its pelvis by so much, ``[frames, 1, 20]``."""
    skeleton = skeleton_of(20)
    joints = skeleton.to_joints(REST.expand(frames, 1, 20).clone())
    joints[..., skeleton.joint("neck"), 0] = joints[..., skeleton.joint("pelvis"), 0] + by
    return skeleton.from_joints(joints)


def test_a_code_tells_posture_and_its_deviation() -> None:
    motion = bent(0.1)
    motion[30:] = bent(0.2, 30)
    mean, deviation = posture(motion_code(motion[:, 0]))
    assert mean[POSTURE.index(("neck", "x"))] == pytest.approx(0.15, abs=1e-3)
    assert deviation[POSTURE.index(("neck", "x"))] == pytest.approx(0.05, abs=1e-3)
    frames = [posture_and_steps(motion[0], frame)[0][0] for frame in motion]
    torch.testing.assert_close(torch.stack(frames).mean(0), mean, atol=1e-3, rtol=0)


@pytest.mark.parametrize("dim", [20, 48])
def test_an_upright_figure_bends_where_its_code_does_and_its_feet_stay(dim: int) -> None:
    skeleton = skeleton_of(dim)
    steering = Steering(motion_code(bent(0.15)[:, 0])[None], dim)
    upright = torch.tensor(rest_pose(dim))[None]
    for _ in range(60):
        steering.see(upright, upright)
    push = skeleton.to_joints(steering.next().push[0, 0])
    assert push[skeleton.joint("neck"), 0] == pytest.approx(FASTEST)
    for foot in ("left_ankle", "right_ankle"):
        assert push[skeleton.joint(foot)].tolist() == [0, 0]
    bowed = bent(0.15)[0]
    same = Steering(motion_code(bent(0.15)[:, 0])[None], 20)
    for _ in range(60):
        same.see(bowed, bowed)
    assert float(same.next().push.abs().max()) < 1e-4


def test_a_posture_within_the_clips_own_movement_is_left_alone() -> None:
    motion = bent(0.0)
    motion[30:] = bent(0.2, 30)  # 0.1 on the average, and 0.1 about it
    steering = Steering(motion_code(motion[:, 0])[None], 20)
    neck = skeleton_of(20).joint("neck")
    for by, pushed in ((0.06, False), (0.0, True)):
        frame = bent(by)[0]
        for _ in range(200):
            steering.see(frame, frame)
        assert bool(skeleton_of(20).to_joints(steering.next().push[0, 0])[neck, 0] > 1e-4) is pushed


def swaying(swing: float, frames: int = 200) -> torch.Tensor:
    """A figure whose neck and head sway about its pelvis by so much to either side, once a second."""
    motion = bent(0.0, frames)
    for at in range(frames):
        motion[at] = bent(swing * math.sin(2 * math.pi * at / FPS), 1)[0]
    return motion


@pytest.mark.parametrize("dim", [20, 48])
def test_a_body_that_sways_less_than_its_code_is_moved_farther_out_and_one_that_sways_more_is_moved_back(
    dim: int,
) -> None:
    figure = skeleton_of(dim)

    def pushes(asked: float, made: float) -> tuple[torch.Tensor, torch.Tensor]:
        steering = Steering(motion_code(swaying(asked)[:, 0])[None], dim)
        pushed, places = [], []
        for before, frame in pairwise(swaying(made)):
            steering.see(before, frame)
            pushed.append(figure.to_joints(steering.next().push[0, 0])[figure.joint("neck"), 0])
            joints = STICK_5.to_joints(frame[0])
            places.append(joints[STICK_5.joint("neck"), 0] - joints[STICK_5.joint("pelvis"), 0])
        return torch.stack(pushed[-FPS:]), torch.stack(places[-FPS:])

    push, place = pushes(asked=0.1, made=0.04)
    assert float((push * place).sum() / place.square().sum()) == pytest.approx(SWINGS[1], abs=0.01)
    push, place = pushes(asked=0.04, made=0.1)
    assert float((push * place).sum() / place.square().sum()) == pytest.approx(SWINGS[0], abs=0.02)
    push, place = pushes(asked=0.1, made=0.1)
    assert float(push.abs().max()) < 0.1 * FASTEST


def pushed_along(speed: float, made: float, begun: float | None = None, frames: int = 75) -> float:
    """How far steering moves a figure along x that goes at one speed where its code goes at another."""
    code = motion_code(gliding(speed)[:, 0])[None]
    steering = Steering(code, 20, None if begun is None else motion_code(gliding(begun)[:, 0])[None])
    for before, frame in pairwise(gliding(made, frames=frames)):
        steering.see(before, frame)
    push = skeleton_of(20).to_joints(steering.next().push[0, 0])[:, 0]
    assert push.max() - push.min() < 1e-6, "all joints alike"
    return float(push[0])


def test_a_figure_that_is_to_stay_is_moved_back_to_its_place() -> None:
    assert pushed_along(0.0, 0.4) == pytest.approx(-FASTEST_PLACE[0])
    assert pushed_along(0.0, -0.4) == pytest.approx(FASTEST_PLACE[0])
    assert pushed_along(0.0, FREE_PLACE / 4) == 0, "a little is left alone"


def test_a_figure_that_travels_is_held_to_the_way_of_its_code() -> None:
    assert pushed_along(1.0, 0.5) == pytest.approx(FASTEST_PLACE[1])
    assert pushed_along(1.0, 1.0) == pytest.approx(0, abs=1e-6)


def test_given_frames_that_travel_are_left_to_go_their_way() -> None:
    assert pushed_along(1.0, 0.5, begun=-1.0) == 0
    assert pushed_along(0.0, 0.4, begun=0.5) == 0
    assert pushed_along(0.0, 0.4, begun=0.0) == pytest.approx(-FASTEST_PLACE[0])
