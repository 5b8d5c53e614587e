"""What moves the whole body on the spot: idle, jump, sit, dance."""

import numpy as np

from stickgen.sample.body import LEFT, RIGHT, SIDE, Pose, settle
from stickgen.sample.curves import bump, ease, hermite, keyframes, rounds
from stickgen.sample.gait import GRAVITY
from stickgen.sample.styles import Scene


def idle(scene: Scene) -> Pose:
    """Stand and breathe, the weight going slowly from one leg to the other."""
    pose, style, t = scene.stand(), scene.style, scene.t
    breath = np.sin(2 * np.pi * 0.3 * scene.tempo * t + scene.rng.uniform(0, 2 * np.pi))
    pose.curl += 0.02 * breath
    pose.arms[..., 0] += (0.03 * breath)[:, None]
    # The lively bounce on their knees, and the tired sway.
    restless = max(style.bounce - 1.0, 0.0)
    pose.pelvis[:, 1] += 0.014 * restless * (np.cos(2 * np.pi * 1.5 * scene.tempo * t) - 1)
    pose.arms[..., 1] += 0.25 * restless * np.sin(2 * np.pi * 1.5 * scene.tempo * t)[:, None]
    pose.pelvis[:, 0] += scene.drift(0.4 * style.sway)
    # Who sneaks looks about.
    pose.nod += scene.drift(0.8 * max(-style.nod, 0.0))
    settle(scene.body, pose)
    return pose


def jump(scene: Scene) -> Pose:
    """Crouch, push off, fly, land and straighten, once or more; from the side, some jumps go forward."""
    pose, style, rng, t = scene.stand(), scene.style, scene.rng, scene.t
    amplitude = min(scene.amplitude, 1.35)
    height = (0.04 + 0.115 * amplitude) * (1 - 1.5 * style.crouch)
    speed = np.sqrt(2 * GRAVITY * height)
    flight = 2 * speed / GRAVITY
    stand = float(pose.pelvis[:, 1].mean())
    # In mid-air the feet are drawn up a little further than the body has risen.
    feet = height * (1.0 + 0.12 * style.lift)
    off = (0.975 - 0.4 * style.crouch) * scene.body.leg - height**2 / (4 * feet)
    low = min(off, stand) - 0.06 - 0.055 * amplitude
    dip = 0.42 / scene.tempo**0.7
    push = 1.9 * (off - low) / speed
    recover = 0.5 / scene.tempo**0.7
    length = dip + 2 * push + flight + recover
    far = rng.choice([0.0, rng.uniform(0.12, 0.30)]) * amplitude if scene.view == SIDE else 0.0
    drift = far / (flight + push)

    for start in rounds(rng, len(t), length, 0.3 / scene.tempo):
        times = list(np.cumsum([start, dip, push, flight, push, recover]))
        keys = np.array([stand, low, off, off, low, stand])
        pose.pelvis[:, 1] += hermite(t, times, keys, np.array([0, 0, speed, -speed, 0, 0])) - stand
        ahead = np.array([0, 0, drift * push / 2, far - drift * push / 2, far, far])
        pose.pelvis[:, 0] += hermite(t, times, ahead, np.array([0, 0, drift, drift, 0, 0]))
        in_flight = (t - times[2]) / flight
        pose.ankles[..., 1] += (feet * bump(in_flight))[:, None]
        pose.ankles[..., 0] += (far * ease(in_flight))[:, None]
        pose.planted &= ~((in_flight > 0) & (in_flight < 1))[:, None]
        # The throw of the arms begins with the push and ends at the top of the flight.
        throw = [*times[:3], times[2] + 0.5 * flight, *times[3:]]
        course = [[0, 0], [1, 0], [0.4, 0.5], [0, 1], [0.2, 0.65], [0.8, 0.15], [0, 0]]
        crouched, thrown = keyframes(t, throw, course).T
        if scene.view == SIDE:
            # Arms swing back in the crouch and are thrown up with the jump; the trunk bows and straightens.
            pose.arms[..., 0] += (amplitude * (1.7 * thrown - 0.6 * crouched))[:, None]
            pose.arms[..., 1] += (0.25 * amplitude * (thrown + crouched))[:, None]
            pose.lean += (0.40 - 0.4 * style.lean) * crouched - 0.5 * style.lean * thrown
            pose.pelvis[:, 0] -= 0.05 * crouched
            pose.nod -= 0.2 * crouched
        else:
            pose.arms[..., 0] += (amplitude * (1.5 * thrown + 0.15 * crouched))[:, None]
            pose.arms[..., 1] += (0.35 * thrown)[:, None]
    settle(scene.body, pose)
    return pose


def sit(scene: Scene) -> Pose:
    """Sit down on a seat, stay, and stand up again: all of it or a part, seen from the side."""
    pose, style, rng, t = scene.stand(), scene.style, scene.rng, scene.t
    end = float(t[-1])
    length = min(1.35 / scene.tempo, 0.3 * end)
    seat = 0.55 * scene.body.leg
    seated = np.array([-0.9 * scene.body.thigh - pose.pelvis[:, 0].mean(), seat - pose.pelvis[:, 1].mean()])
    down = rng.uniform(0.2, 0.5)
    up = end - length - rng.uniform(0.0, 0.3)
    course = rng.integers(3)
    if course == 0:
        up = np.inf
    elif course == 1:
        down = -np.inf
    # `way` is how far the seat is reached, `bow` the bow without which the weight would fall behind the feet.
    way, bow = np.zeros_like(t), np.zeros_like(t)
    if np.isinf(down):
        way += 1
    else:
        way += ease((t - down) / length)
        bow += bump((t - down) / length, 2.2, 2.0)
    if np.isfinite(up):
        way -= ease((t - up) / length)
        bow += bump((t - up) / length, 2.0, 2.4)
    way = np.clip(way, 0.0, 1.0)
    # The pelvis first sinks and then goes back: the knees bend before the seat is felt for.
    pose.pelvis[:, 0] += seated[0] * way**1.15
    pose.pelvis[:, 1] += seated[1] * way
    pose.lean += (0.62 + 0.3 * style.lean) * bow + (0.25 * style.lean - 0.02) * way
    pose.curl += 0.35 * style.curl * way
    pose.nod -= 0.25 * bow
    # Hands come to rest on the thighs; the sneaky keep theirs before the chest.
    on_thighs = np.array([0.50 + 0.4 * style.lean, 0.75]) if style.crouch < 0.1 else np.array([0.5, 1.7])
    pose.arms += way[:, None, None] * (on_thighs - np.array(style.arm))
    pose.arms[..., 0] += (0.45 * bow * scene.amplitude)[:, None]
    # The lively cannot keep still even there.
    fidget = way * max(style.bounce - 1.0, 0.0) * np.sin(2 * np.pi * 1.4 * scene.tempo * t)
    pose.lean += 0.05 * fidget
    pose.arms[..., 1] += 0.2 * fidget[:, None]
    settle(scene.body, pose)
    return pose


def dance(scene: Scene) -> Pose:
    """Step from foot to foot to a beat, hips and arms going along, seen from the front."""
    pose, style, rng, t = scene.stand(), scene.style, scene.rng, scene.t
    amplitude, hip_width = scene.amplitude, scene.body.hip_width
    beat = 0.85 * scene.tempo
    phase = beat * t + rng.uniform()
    turn = 2 * np.pi * phase
    apart = hip_width / 2 + 0.05
    pose.ankles[..., 0] = [apart, -apart]
    # The weight is on the left in the first half of the phase and on the right in the second.
    pose.pelvis[:, 0] += min(0.055 * amplitude, 0.07) * np.sin(turn)
    pose.pelvis[:, 1] -= 0.016 * style.bounce * (1 + np.cos(2 * turn)) / 2 + 0.015
    pose.tilt += 0.16 * amplitude * np.sin(turn)
    pose.lean -= 0.10 * amplitude * np.sin(turn)
    pose.nod += 0.10 * amplitude * np.sin(turn - 0.5)
    for side, shift in ((RIGHT, 0.0), (LEFT, 0.5)):
        lifted = (((phase + shift) % 1.0) - 0.08) / 0.34
        pose.ankles[:, side, 1] = 0.055 * style.lift * bump(lifted)
        pose.planted[:, side] = (lifted <= 0) | (lifted >= 1)
    figure = rng.integers(3)
    for side, sign in ((LEFT, 1.0), (RIGHT, -1.0)):
        swing = np.sin(turn - 0.4) * (sign if figure == 0 else 1.0)
        if figure == 2:
            # Both arms up, swaying like a tree.
            upper = 0.5 + 1.5 * min(amplitude, 1.2) + 0.28 * sign * amplitude * np.sin(turn - 0.4)
            elbow = 0.45 + 0.2 * sign * np.sin(turn - 0.9)
        else:
            upper = 0.45 + 0.45 * amplitude + 0.45 * amplitude * swing
            elbow = 0.55 + 0.5 * amplitude * np.sin(turn - 1.2) * (sign if figure == 0 else 1.0)
        pose.arms[:, side, 0] += upper - style.open_arm[0]
        pose.arms[:, side, 1] += elbow - style.open_arm[1]
    settle(scene.body, pose)
    return pose
