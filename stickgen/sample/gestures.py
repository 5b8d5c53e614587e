"""What is done standing: wave, clap, punch, kick."""

import numpy as np

from stickgen.sample.body import LEFT, RIGHT, Floats, Pose, arm_angles, polar, settle
from stickgen.sample.curves import ease, keyframes, rounds
from stickgen.sample.styles import Scene


def wave(scene: Scene) -> Pose:
    """Raise one hand and wave it, seen from the front; some clips begin with the hand already up."""
    pose, style, rng, t = scene.stand(), scene.style, scene.rng, scene.t
    # How high the arm is held tells the mood: above the head at best, beside the hip at worst.
    raised = 0.55 + 1.05 * scene.amplitude - (0.9 if style.crouch > 0.1 else 0.0)
    # The forearm points up whatever the upper arm does.
    upright = np.clip(2.75 - raised, 0.55, 2.3)
    swing = 0.48 * scene.amplitude * np.sin(2 * np.pi * 1.9 * scene.tempo * t + rng.uniform(0, 2 * np.pi))
    begin = rng.choice([-1.0, rng.uniform(0.2, 0.6)])
    up = ease((t - begin) * 2.2 * scene.tempo)
    # The hand begins to wave only when it is nearly up.
    target = np.stack([raised + 0.12 * swing, upright + swing * up**2], axis=-1)
    pose.arms[:, LEFT] += up[:, None] * (target - pose.arms[:, LEFT])
    pose.lean += -0.05 * up * scene.amplitude + 0.02 * swing * up
    pose.nod += 0.06 * up * min(scene.amplitude, 1.0)
    settle(scene.body, pose)
    return pose


def clap(scene: Scene) -> Pose:
    """Clap both hands in front of the chest, seen from the front; the energetic clap over their head."""
    pose, style, rng, t = scene.stand(), scene.style, scene.rng, scene.t
    overhead = style.bounce > 1.2
    height = 0.26 if overhead else -0.10 - 0.08 * style.nod - 0.05 * (style.crouch > 0.1)
    open_gap = 0.02 + 0.095 * scene.amplitude
    frequency = 1.75 * scene.tempo
    cycle = 2 * np.pi * frequency * t + rng.uniform(0, 2 * np.pi)
    # Hands part slowly and meet quickly: a second harmonic sharpens the closing.
    openness = 0.5 - 0.5 * np.cos(cycle + 0.35 * np.sin(cycle))
    offset = np.stack(
        [
            0.004 + open_gap * openness - 0.5 * scene.body.shoulder_width,
            height * np.ones_like(t) - 0.02 * openness * scene.amplitude + scene.drift(0.006),
        ],
        axis=-1,
    )
    for side in (LEFT, RIGHT):
        pose.arms[:, side] = arm_angles(offset, scene.body, -1.0 if overhead else 1.0)
    # Both arms hang from shoulders that are level only while the trunk is upright, and the hands have to meet.
    pose.lean *= 0.5
    pose.curl *= 0.5
    pose.pelvis[:, 1] -= 0.008 * style.bounce * (1 - openness)
    pose.nod += 0.03 * scene.amplitude * (openness - 0.5)
    settle(scene.body, pose)
    return pose


def punch(scene: Scene) -> Pose:
    """Box with the left and the right in turn, from a guard, seen from the side."""
    pose, style, rng, t = scene.stand(apart=0.30), scene.style, scene.rng, scene.t
    drop = 1.0 - min(scene.amplitude, 1.0)
    guard = np.array([0.55 - 0.5 * drop, 2.15 - 0.7 * drop])
    struck = np.array([1.5 - 0.9 * drop, 0.12 + 0.9 * drop])
    length = 0.62 / scene.tempo
    reach: Floats = np.zeros((len(t), 2))
    side = int(rng.integers(2))
    starts = rounds(rng, len(t), length, 0.28 / scene.tempo)
    for start in starts:
        # The fist goes out faster than it comes back.
        times = [start, start + 0.36 * length, start + 0.46 * length, start + length]
        reach[:, side] += keyframes(t, times, [0.0, 1.0, 1.0, 0.0])
        side = 1 - side
    # On guard, nobody stands still: the whole body bobs.
    bob = np.sin(2 * np.pi * 1.3 * scene.tempo * t + rng.uniform(0, 2 * np.pi))
    for arm in (LEFT, RIGHT):
        other = reach[:, 1 - arm]
        angles = guard + reach[:, [arm]] * (struck - guard)
        angles[:, 1] = np.minimum(angles[:, 1] + 0.25 * other + 0.03 * bob, 2.45)
        angles[:, 0] += -0.30 * other + 0.04 * bob
        pose.arms[:, arm] = angles + pose.arms[:, arm] - np.array(style.arm)
    thrust = reach.sum(axis=1)
    pose.pelvis[:, 0] += (0.055 * thrust - 0.02) * min(scene.amplitude, 1.3)
    pose.pelvis[:, 1] += -0.035 - 0.012 * thrust + 0.007 * style.bounce * bob
    pose.lean += 0.06 + 0.13 * thrust * scene.amplitude
    settle(scene.body, pose)
    return pose


def kick(scene: Scene) -> Pose:
    """Swing one leg back and kick forward, again after a rest, seen from the side."""
    pose, style, rng, t = scene.stand(apart=0.14), scene.style, scene.rng, scene.t
    foot = int(rng.integers(2))
    support = 1 - foot
    pose.ankles[:, support, 0], pose.ankles[:, foot, 0] = 0.02, -0.12
    length = 1.2 / scene.tempo**0.8
    angle = 0.60 + 0.70 * scene.amplitude - 0.3 * style.crouch
    rest = np.array([-0.12, 0.0])
    hip = np.array([0.03, float(pose.pelvis[:, 1].mean()) - 0.01])
    strike = hip + 0.95 * scene.body.leg * polar(np.asarray(angle))
    back = np.array([-0.20 - 0.09 * scene.amplitude, 0.05 + 0.13 * scene.amplitude])
    chamber = np.array([0.14, 0.12 + 0.05 * scene.amplitude])
    # Passing under the body, the foot stays low: too near to the hip, the knee would have to snap.
    passing = np.array([0.04, 0.10])
    keys = [rest, back, passing, strike, chamber, rest]
    swung = np.zeros((2, len(t)))
    travel = np.zeros((len(t), 2))
    for start in rounds(rng, len(t), length, 0.45 / scene.tempo):
        times = [start + share * length for share in (0.0, 0.26, 0.41, 0.56, 0.80, 1.0)]
        travel += keyframes(t, times, keys) - rest
        swung += keyframes(t, times, [[0, 0], [1, 0], [0.3, 0.4], [0, 1], [0, 0.3], [0, 0]]).T
        pose.planted[:, foot] &= (t <= times[0]) | (t >= times[-1])
    pose.ankles[:, foot] = rest + travel
    backswing, forward = swung
    # The weight goes over the standing leg, and the trunk leans away from the leg that flies.
    pose.pelvis[:, 0] += 0.02 + 0.035 * forward - 0.02 * backswing
    pose.pelvis[:, 1] -= 0.012 + 0.012 * backswing
    pose.lean += (0.12 * backswing - 0.22 * forward) * scene.amplitude
    pose.nod += 0.18 * forward * scene.amplitude
    pose.arms[:, support, 0] += scene.amplitude * (0.85 * forward - 0.5 * backswing)
    pose.arms[:, foot, 0] += scene.amplitude * (0.5 * backswing - 0.75 * forward)
    pose.arms[..., 1] += (0.3 * (forward + backswing))[:, None]
    settle(scene.body, pose)
    return pose
