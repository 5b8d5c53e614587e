"""Walking and running, from footfalls: a foot stands where it falls, and the body moves over it."""

from dataclasses import dataclass

import numpy as np

from stickgen.sample.body import LEFT, RIGHT, Floats, Pose, settle
from stickgen.sample.curves import bump, ease
from stickgen.sample.styles import Scene

GRAVITY = 5.6
"""9.81 m/s² in body heights of 1.75 m."""


@dataclass(frozen=True)
class Gait:
    """What tells one gait from another.

    Attributes:
        frequency: strides (two steps) a second.
        stride: length of a stride in body heights.
        duty: share of a stride for which a foot is planted; below one half, there is a flight.
        lift: height of the swinging ankle.
        lift_style: exponent of the style's lift: how far a style can change the height.
        fall: how early in the swing the foot is highest: :func:`stickgen.sample.curves.bump` with rise 2.
        arm: swing of the upper arm, radians.
        lean: forward turn of the trunk on top of the style's, radians.
        elbow: turn of the elbow on top of the style's, radians.
    """

    frequency: float
    stride: float
    duty: float
    lift: float
    lift_style: float
    fall: float
    arm: float
    lean: float
    elbow: float


WALK = Gait(
    frequency=0.95, stride=0.70, duty=0.5, lift=0.075, lift_style=0.8, fall=3.0, arm=0.42, lean=0.02, elbow=0.05
)
RUN = Gait(frequency=1.35, stride=0.92, duty=0.34, lift=0.18, lift_style=0.4, fall=2.6, arm=0.62, lean=0.10, elbow=1.15)


def walk(scene: Scene) -> Pose:
    """Walk at an even pace: one foot or the other is always on the ground."""
    style = scene.style
    frequency = WALK.frequency * scene.tempo
    # A pace is never perfectly even; as every position follows from the phase, this cannot make a foot slide.
    phase = scene.rng.uniform() + frequency * scene.t + scene.drift(0.012)
    stride = WALK.stride * style.stride * scene.rng.uniform(0.94, 1.06)
    # The body rises over the standing leg like an inverted pendulum, flattened by the knee as people do.
    leg = scene.body.leg
    arc = leg - np.sqrt(leg**2 - (stride / 4) ** 2)
    pose = _strides(scene, WALK, phase, stride, WALK.duty)
    pose.pelvis[:, 1] += min(0.8 * style.bounce, 1.1) * arc * 0.5 * np.cos(4 * np.pi * (phase - WALK.duty / 2))
    settle(scene.body, pose)
    return pose


def run(scene: Scene) -> Pose:
    """Run: between two footfalls the body is in the air and falls freely."""
    style = scene.style
    # A running style differs less in tempo than in everything else: nobody can run at half the frequency.
    frequency = RUN.frequency * scene.tempo**0.5
    phase = scene.rng.uniform() + frequency * scene.t
    stride = RUN.stride * style.stride * scene.rng.uniform(0.94, 1.06)
    duty = RUN.duty + 0.06 * (1 - style.bounce)
    pose = _strides(scene, RUN, phase, stride, duty)
    pose.pelvis[:, 1] += _bounce(phase, frequency, duty)
    settle(scene.body, pose)
    return pose


def _strides(scene: Scene, gait: Gait, phase: Floats, stride: float, duty: float) -> Pose:
    """Make all of a gait but the rise and fall of the body.

    A left footfall is at every whole number of ``phase`` and a right one at every half.
    """
    style, pose = scene.style, scene.stand()
    swing_size = gait.arm * scene.amplitude
    along = stride * phase
    pose.pelvis[:, 0] += along
    for side, shift in ((LEFT, 0.0), (RIGHT, 0.5)):
        count, within = np.divmod(phase + shift, 1.0)
        pose.planted[:, side] = within <= duty
        swing = np.clip((within - duty) / (1 - duty), 0.0, 1.0)
        # The foot is planted where the body is half-way through the time for which it will stand.
        footfall = stride * (count - shift + duty / 2)
        pose.ankles[:, side, 0] = footfall + stride * ease(swing)
        pose.ankles[:, side, 1] = gait.lift * style.lift**gait.lift_style * bump(swing, 2.0, gait.fall)
        # Arms swing against the legs; the elbow closes as the arm comes forward.
        forward = -np.cos(2 * np.pi * (phase + shift) - 0.35)
        pose.arms[:, side, 0] += swing_size * (forward - (0.25 if gait is RUN else 0.1))
        pose.arms[:, side, 1] += min(gait.elbow, 1.9 - style.arm[1]) + 0.45 * swing_size * (1 + forward)
    # Nothing but the trunk's own beat tells a walk from a glide: it nods twice a stride.
    beat = np.cos(4 * np.pi * phase)
    pose.lean += gait.lean + 0.018 * style.bounce * beat
    pose.nod += 0.015 * style.bounce * np.cos(4 * np.pi * phase - 0.8)
    return pose


def _bounce(phase: Floats, frequency: float, duty: float) -> Floats:
    """Return the rise and fall of a runner: a parabola in flight, half a sine on the springy leg, joined in speed."""
    within = (2 * phase) % 1.0
    contact = 2 * duty
    flight_time = (1 - contact) / (2 * frequency)
    contact_time = contact / (2 * frequency)
    speed = GRAVITY * flight_time / 2
    in_flight = (within - contact) / (1 - contact)
    airborne = speed * flight_time * in_flight * (1 - in_flight)
    sprung = -speed * contact_time / np.pi * np.sin(np.pi * np.minimum(within / contact, 1.0))
    return np.where(within > contact, airborne, sprung)
