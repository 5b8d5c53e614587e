"""The body of the sample's performers: proportions, inverse kinematics, and the way from a pose to joints.

Everything here lives in the plane of the view. A side view shows a figure that faces +x; a front view shows one
that faces the camera, its left side at +x. Units are body heights and radians.
"""

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from stickgen.motion.skeleton import STICK_12, other_side

Floats = NDArray[np.float64]

SIDE = "side"
FRONT = "front"

LEFT, RIGHT = 0, 1
"""Positions in the arrays that hold a value for each side of the body."""

REACH = {SIDE: 0.985, FRONT: 0.994}
"""Largest share of its length to which a planted leg is stretched: short of straight, the knee's speed stays finite.

Nearer to straight from the front, where a knee can only bend outward and soon makes bow legs.
"""


@dataclass(frozen=True)
class Body:
    """Bone lengths of one performer, in body heights.

    The ankle is the lowest joint and stands on y = 0; the lengths below add up to the height of the head's top.
    """

    thigh: float = 0.255
    shin: float = 0.245
    lower_torso: float = 0.15
    upper_torso: float = 0.165
    head: float = 0.165
    upper_arm: float = 0.165
    forearm: float = 0.155
    hip_width: float = 0.10
    shoulder_width: float = 0.19
    shoulder_drop: float = 0.025

    @property
    def leg(self) -> float:
        """Length of a straight leg."""
        return self.thigh + self.shin

    @property
    def height(self) -> float:
        """Height of the figure standing straight."""
        return self.leg + self.lower_torso + self.upper_torso + self.head

    def seen_from(self, view: str) -> "Body":
        """Return the body as its view shows it: from the side, hips and shoulders are narrow."""
        if view == FRONT:
            return self
        return replace(self, hip_width=0.2 * self.hip_width, shoulder_width=0.15 * self.shoulder_width)

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Body":
        """Draw a performer: every bone within 7 % of the average, the height from 0.96 to 1.04."""
        lengths = {f.name: float(f.default * rng.uniform(0.93, 1.07)) for f in fields(cls)}  # type: ignore[operator]
        scale = rng.uniform(0.96, 1.04) / cls(**lengths).height
        return cls(**{name: float(length * scale) for name, length in lengths.items()})


@dataclass
class Pose:
    """A motion in the terms it is written in: where the pelvis and ankles are, how trunk and arms are turned.

    Attributes:
        view: ``SIDE`` or ``FRONT``.
        pelvis: ``[T, 2]``, the middle of the hips.
        ankles: ``[T, 2, 2]``, where the left and the right ankle are to be.
        planted: bool ``[T, 2]``, which feet stand still on the ground.
        lean: ``[T]``, the trunk's turn from upright; positive is forward from the side, towards +x from the front.
        curl: ``[T]``, the further turn of the upper trunk against the lower.
        nod: ``[T]``, the further turn of the head against the upper trunk.
        arms: ``[T, 2, 2]``, of each side the upper arm's turn from hanging down and the forearm's further turn.
            Positive is forward from the side and outward from the front. Arms hang from the shoulder, so the
            turn is against the vertical and not against the trunk.
        tilt: ``[T]``, the turn of the pelvis in the plane of a front view.
    """

    view: str
    pelvis: Floats
    ankles: Floats
    planted: NDArray[np.bool_]
    lean: Floats
    curl: Floats
    nod: Floats
    arms: Floats
    tilt: Floats = field(default_factory=lambda: np.zeros(()))

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.pelvis.shape[0]


def polar(angle: Floats) -> Floats:
    """Return the unit vectors ``[..., 2]`` at ``angle`` from straight down, turning towards +x."""
    return np.stack([np.sin(angle), -np.cos(angle)], axis=-1)


def two_bone(root: Floats, target: Floats, first: float, second: float, bend: float) -> tuple[Floats, Floats]:
    """Place the middle and the end of a limb of two bones by the law of cosines.

    Args:
        root: ``[..., 2]``, where the limb begins.
        target: ``[..., 2]``, where it should end; out of reach, it is approached as far as the bones go.
        first: length of the bone at the root.
        second: length of the other bone.
        bend: +1 puts the middle joint on the +x side of a limb that hangs down, −1 on the other.

    Returns:
        middle and end, ``[..., 2]`` each.
    """
    offset = target - root
    distance = np.hypot(offset[..., 0], offset[..., 1])
    reach = np.clip(distance, abs(first - second) + 1e-3, (first + second) * 0.999)
    direction = np.arctan2(offset[..., 0], -offset[..., 1])
    corner = (first**2 + reach**2 - second**2) / (2 * first * reach)
    middle = root + first * polar(direction + bend * np.arccos(np.clip(corner, -1, 1)))
    return middle, root + reach[..., None] * polar(direction)


def arm_angles(offset: Floats, body: Body, bend: float) -> Floats:
    """Return the arm angles ``[..., 2]`` of :class:`Pose` that bring the wrist to ``offset`` from the shoulder.

    Args:
        offset: ``[..., 2]``, along the positive direction of the arm's angles and up.
        body: whose arm it is.
        bend: +1 puts the elbow on the positive side, −1 on the other.
    """
    elbow, wrist = two_bone(np.zeros_like(offset), offset, body.upper_arm, body.forearm, bend)
    upper = np.arctan2(elbow[..., 0], -elbow[..., 1])
    fore = np.arctan2((wrist - elbow)[..., 0], -(wrist - elbow)[..., 1])
    # The elbow's turn is taken the short way round, else a frame of the clip could spin by a full circle.
    return np.stack([upper, (fore - upper + np.pi) % (2 * np.pi) - np.pi], axis=-1)


def hips(body: Body, pose: Pose) -> Floats:
    """Return the hips ``[T, 2, 2]``, left and right."""
    half = 0.5 * body.hip_width * np.stack([np.cos(pose.tilt), np.sin(pose.tilt)], axis=-1)
    return np.stack([pose.pelvis + half, pose.pelvis - half], axis=1)


def settle(body: Body, pose: Pose) -> None:
    """Lower the pelvis by one amount for the whole clip, so that no leg is asked for more than its reach.

    One amount and not one a frame: the pelvis keeps its course, and nothing jumps where a leg becomes long.
    """
    apart = pose.ankles - hips(body, pose)
    # A foot off the ground may fall a little short; one on the ground may not, or it would slide.
    limit = np.where(pose.planted, REACH[pose.view], 0.998) * body.leg
    across = np.minimum(np.abs(apart[..., 0]), 0.98 * limit)
    excess = -apart[..., 1] - np.sqrt(limit**2 - across**2)
    pose.pelvis[:, 1] -= max(float(excess.max()), 0.0)


def assemble(body: Body, pose: Pose) -> Floats:
    """Put the figure together.

    Args:
        body: the bone lengths as the view shows them (:meth:`Body.seen_from`).
        pose: the motion.

    Returns:
        joints ``[T, 16, 2]`` in the order of ``STICK_12``.
    """
    joints = np.zeros((pose.frames, len(STICK_12.joints), 2))

    def put(name: str, value: Floats) -> None:
        joints[:, STICK_12.joint(name)] = value

    chest = pose.pelvis - body.lower_torso * polar(-pose.lean)
    up = -polar(-(pose.lean + pose.curl))
    neck = chest + body.upper_torso * up
    put("pelvis", pose.pelvis)
    put("chest", chest)
    put("neck", neck)
    put("head", neck - body.head * polar(-(pose.lean + pose.curl + pose.nod)))

    across = np.stack([up[:, 1], -up[:, 0]], axis=-1)
    front = pose.view == FRONT
    for side, name, sign in ((LEFT, "left", 1.0), (RIGHT, "right", -1.0)):
        # From the front, "outward" is +x for the left limbs and −x for the right; from the side it is "forward".
        outward = sign if front else 1.0
        shoulder = neck - body.shoulder_drop * up + sign * 0.5 * body.shoulder_width * across
        upper, fore = pose.arms[:, side, 0], pose.arms[:, side].sum(-1)
        elbow = shoulder + body.upper_arm * polar(outward * upper)
        hip = hips(body, pose)[:, side]
        knee, ankle = two_bone(hip, pose.ankles[:, side], body.thigh, body.shin, outward)
        put(f"{name}_shoulder", shoulder)
        put(f"{name}_elbow", elbow)
        put(f"{name}_wrist", elbow + body.forearm * polar(outward * fore))
        put(f"{name}_hip", hip)
        put(f"{name}_knee", knee)
        put(f"{name}_ankle", ankle)
    return joints


def mirror(joints: Floats, view: str) -> Floats:
    """Turn a figure round: from the side it then faces −x, from the front its left and right change roles."""
    flipped = joints * np.array([-1.0, 1.0])
    if view == SIDE:
        return flipped
    return flipped[:, [STICK_12.joint(other_side(name)) for name in STICK_12.joints]]
