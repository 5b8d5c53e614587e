"""What a viewer would notice: bones that stretch, feet that slide, knees that bend backwards, bodies that teleport."""

import numpy as np
import pytest

from stickgen.motion.skeleton import FPS, STICK_12
from stickgen.sample import ACTIONS_OF_SAMPLE, STYLES, sample_sequences
from stickgen.sample.body import Body, arm_angles, polar, two_bone
from stickgen.sample.curves import hermite, keyframes
from stickgen.sample.gait import GRAVITY

GROUND = 1e-6


def joints_of(action: str, style: str, view: str = "") -> list[np.ndarray]:
    sequences = sample_sequences(8, actions=[action], styles=[style], seed=3, dim=48)
    seen = [s for s in sequences if view in ("", s["meta"]["view"])]
    assert seen
    return [STICK_12.to_joints(s["motion"].double().numpy()) for s in seen]


def named(joints: np.ndarray, name: str) -> np.ndarray:
    return joints[:, STICK_12.joint(name)]


def ankles(joints: np.ndarray) -> np.ndarray:
    return np.stack([named(joints, "left_ankle"), named(joints, "right_ankle")], axis=1)


every_motion = pytest.mark.parametrize(
    ("action", "style"), [(action, style) for action in ACTIONS_OF_SAMPLE for style in STYLES]
)


@every_motion
def test_body_keeps_together(action: str, style: str) -> None:
    for joints in joints_of(action, style):
        lengths = STICK_12.segment_lengths(STICK_12.from_joints(joints))
        assert np.ptp(lengths, axis=0).max() < 1e-4
        middle = (named(joints, "left_hip") + named(joints, "right_hip")) / 2
        np.testing.assert_allclose(middle, named(joints, "pelvis"), atol=1e-6)
        assert 0.75 < named(joints, "head")[:, 1].max() < 1.4


@every_motion
def test_feet_stand_on_the_ground_and_stay_there(action: str, style: str) -> None:
    for joints in joints_of(action, style):
        feet = ankles(joints)
        assert joints[..., 1].min() > -GROUND
        assert feet[..., 1].min() < GROUND
        planted = feet[..., 1] < GROUND
        slide = np.abs(np.diff(feet[..., 0], axis=0))[planted[1:] & planted[:-1]]
        assert slide.max(initial=0.0) < 1e-3


@every_motion
def test_nothing_teleports(action: str, style: str) -> None:
    for joints in joints_of(action, style):
        velocity = np.diff(joints, axis=0) * FPS
        acceleration = np.diff(velocity, axis=0) * FPS
        jerk = np.diff(acceleration, axis=0) * FPS
        # In body heights: a kicking foot reaches 6 a second; a jump of 0.3 from frame to frame has 188 a second².
        assert np.linalg.norm(velocity, axis=-1).max() < 8
        assert np.linalg.norm(acceleration, axis=-1).max() < 140
        assert np.linalg.norm(jerk, axis=-1).max() < 4500


@pytest.mark.parametrize("action", ["idle", "walk", "run", "jump", "kick", "sit", "punch"])
@pytest.mark.parametrize("style", STYLES)
def test_knees_and_elbows_bend_the_way_they_can(action: str, style: str) -> None:
    for joints in joints_of(action, style, view="side"):
        bends = []
        for side in ("left", "right"):
            hip, knee, ankle = (named(joints, f"{side}_{name}") for name in ("hip", "knee", "ankle"))
            shoulder, elbow, wrist = (named(joints, f"{side}_{name}") for name in ("shoulder", "elbow", "wrist"))
            bends += [_turn(knee - hip, ankle - knee), -_turn(elbow - shoulder, wrist - elbow)]
        knees = np.concatenate([bends[0], bends[2]])
        elbows = np.concatenate([bends[1], bends[3]])
        facing = -np.sign(knees[0])
        assert (-facing * knees).min() >= 0
        # An elbow may hang a few degrees past straight, as it does.
        assert (-facing * elbows).min() > -0.2
        if action in ("walk", "run"):
            assert np.sign(named(joints, "pelvis")[-1, 0] - named(joints, "pelvis")[0, 0]) == facing


def _turn(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Signed angle from one bone to the next, positive anticlockwise."""
    cross = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    return np.arctan2(cross, (first * second).sum(axis=1))


@pytest.mark.parametrize("style", STYLES)
def test_walking_never_leaves_the_ground_and_running_does(style: str) -> None:
    for joints in joints_of("walk", style):
        assert (ankles(joints)[..., 1].min(axis=1) < 1e-3).all()
    for joints in joints_of("run", style):
        airborne = (ankles(joints)[..., 1] > GROUND).all(axis=1)
        assert 0.1 < airborne.mean() < 0.6


@pytest.mark.parametrize("style", STYLES)
def test_a_jumping_body_falls_freely(style: str) -> None:
    for joints in joints_of("jump", style):
        airborne = (ankles(joints)[..., 1] > GROUND).all(axis=1)
        inner = airborne[2:] & airborne[1:-1] & airborne[:-2]
        fall = np.diff(named(joints, "pelvis")[:, 1], n=2)[inner] * FPS**2
        assert len(fall) > 3
        np.testing.assert_allclose(fall, -GRAVITY, atol=0.15)


def test_hands_meet_in_a_clap() -> None:
    for style in STYLES:
        for joints in joints_of("clap", style):
            gap = np.linalg.norm(named(joints, "left_wrist") - named(joints, "right_wrist"), axis=1)
            assert gap.min() < 0.06
            assert gap.max() > 0.1


def test_two_bones_reach_the_target_and_bend_to_the_asked_side() -> None:
    body, root, target = Body(), np.zeros(2), np.array([0.1, -0.4])
    for bend in (1.0, -1.0):
        knee, ankle = two_bone(root, target, body.thigh, body.shin, bend)
        np.testing.assert_allclose(ankle, target)
        np.testing.assert_allclose(np.linalg.norm(knee), body.thigh)
        np.testing.assert_allclose(np.linalg.norm(ankle - knee), body.shin)
        assert bend * (knee[0] * -target[1] + knee[1] * target[0]) > 0


def test_two_bones_stretch_towards_what_is_out_of_reach() -> None:
    _, end = two_bone(np.zeros(2), np.array([0.0, -5.0]), 0.25, 0.25, 1.0)
    np.testing.assert_allclose(end, [0, -0.4995], atol=1e-9)


def test_arm_angles_bring_the_wrist_to_the_target() -> None:
    body, target = Body(), np.array([-0.08, -0.1])
    upper, elbow = arm_angles(target, body, 1.0)
    np.testing.assert_allclose(body.upper_arm * polar(upper) + body.forearm * polar(upper + elbow), target)


def test_keyframes_pass_through_their_keys_without_overshoot() -> None:
    t = np.linspace(-1, 4, 501)
    curve = keyframes(t, [0, 1, 2, 3], [0.0, 1.0, 0.2, 0.2])
    assert curve.min() == 0.0
    assert curve.max() == pytest.approx(1.0)
    np.testing.assert_allclose(curve[[0, 100, 200, 300, 400, 500]], [0, 0, 1, 0.2, 0.2, 0.2], atol=1e-12)
    assert np.abs(np.diff(curve)).max() < 0.03


def test_hermite_of_a_flight_is_a_parabola() -> None:
    speed, duration = 1.4, 0.5
    t = np.linspace(0, duration, 11)
    curve = hermite(t, [0, duration], np.zeros(2), np.array([speed, -speed]))
    np.testing.assert_allclose(curve, speed * t - speed / duration * t**2, atol=1e-12)
