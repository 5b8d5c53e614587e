"""The styles, and the scene in which a motion is made: who moves, in which style, seen from where."""

from dataclasses import dataclass

import numpy as np

from stickgen.sample.body import REACH, SIDE, Body, Floats, Pose
from stickgen.sample.curves import drift, seconds


@dataclass(frozen=True)
class Style:
    """How a performer carries themself and moves.

    Attributes:
        tempo: speed of everything that happens, 1 = neutral.
        amplitude: size of gestures and arm swing, 1 = neutral.
        stride: length of steps, 1 = neutral.
        lift: height to which swinging feet are lifted, 1 = neutral.
        bounce: vertical movement of the body, 1 = neutral.
        lean: forward turn of the trunk, radians.
        curl: forward turn of the upper against the lower trunk, radians.
        nod: forward turn of the head against the upper trunk, radians.
        crouch: how far the pelvis is lowered, as a share of the leg.
        arm: upper arm (forward) and elbow at rest, from the side, radians.
        open_arm: upper arm (outward) and elbow at rest, from the front, radians.
        sway: slow unrest of the trunk, radians.
    """

    tempo: float = 1.0
    amplitude: float = 1.0
    stride: float = 1.0
    lift: float = 1.0
    bounce: float = 1.0
    lean: float = 0.03
    curl: float = 0.02
    nod: float = 0.04
    crouch: float = 0.01
    arm: tuple[float, float] = (0.0, 0.25)
    open_arm: tuple[float, float] = (0.16, -0.05)
    sway: float = 0.012


STYLE_TABLE: dict[str, Style] = {
    "neutral": Style(),
    "tired": Style(
        tempo=0.7, amplitude=0.55, stride=0.72, lift=0.35, bounce=0.6, lean=0.13, curl=0.30, nod=0.42, crouch=0.05,
        arm=(0.12, 0.12), open_arm=(0.08, -0.05), sway=0.03,
    ),
    "energetic": Style(
        tempo=1.22, amplitude=1.35, stride=1.14, lift=1.7, bounce=1.7, lean=0.04, curl=-0.08, nod=-0.10, crouch=0.0,
        arm=(-0.05, 1.0), open_arm=(0.42, -0.15), sway=0.02,
    ),
    "sneaky": Style(
        tempo=0.62, amplitude=0.7, stride=0.82, lift=2.0, bounce=0.5, lean=0.32, curl=0.20, nod=-0.30, crouch=0.17,
        arm=(0.35, 1.65), open_arm=(0.30, -1.1), sway=0.015,
    ),
}  # fmt: skip
"""The styles by name."""

STYLES: tuple[str, ...] = tuple(STYLE_TABLE)
"""The names of the styles."""


@dataclass(frozen=True)
class Performer:
    """A person who appears in several clips: the clips of one take.

    Attributes:
        body: their bones.
        tempo: their own speed, as a factor on the style's.
        amplitude: the size of their movements, likewise.
        lean: their own posture, added to the style's, radians.
    """

    body: Body
    tempo: float
    amplitude: float
    lean: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Performer":
        """Draw a performer."""
        return cls(Body.random(rng), rng.uniform(0.92, 1.08), rng.uniform(0.9, 1.1), rng.normal(0, 0.015))


class Scene:
    """One performer, in one style, in one view, for a number of frames; what the actions are written in terms of.

    Args:
        performer: who moves.
        style: how.
        view: ``SIDE`` or ``FRONT``.
        frames: length of the clip.
        rng: source of the clip's own variation.
    """

    def __init__(self, performer: Performer, style: Style, view: str, frames: int, rng: np.random.Generator):
        self.style = style
        self.view = view
        self.rng = rng
        self.body = performer.body.seen_from(view)
        self.t = seconds(frames)
        self.tempo = style.tempo * performer.tempo * rng.uniform(0.96, 1.04)
        self.amplitude = style.amplitude * performer.amplitude * rng.uniform(0.95, 1.05)
        # A forward lean hardly shows from the front; what is left of it there is a head and trunk held askew.
        self.posture = 1.0 if view == SIDE else 0.35
        self.own_lean = performer.lean

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.t)

    def drift(self, size: float) -> Floats:
        """Return slow unrest of about ``size``, ``[T]``, different at every call."""
        return drift(self.rng, self.t, size)

    def stand(self, apart: float | None = None) -> Pose:
        """Return the performer standing in the style's posture, alive but doing nothing: where every action begins.

        Args:
            apart: distance of the feet; hip-wide from the front and half a foot from the side where not given.
        """
        style, frames = self.style, self.frames
        if apart is None:
            apart = 0.08 if self.view == SIDE else self.body.hip_width + 0.06
        # A crouch from the front spreads the knees; half of it is plain enough.
        crouch = style.crouch if self.view == SIDE else 0.55 * style.crouch
        height = self.body.leg * (REACH[self.view] - crouch)
        # Who crouches or leans sits back, or their weight would be in front of their feet.
        back = -(0.25 * style.crouch + 0.08 * style.lean) if self.view == SIDE else 0.0
        pelvis = np.stack([back + self.drift(0.006), height + self.drift(0.003)], axis=-1)
        ankles = np.zeros((frames, 2, 2))
        ankles[..., 0] = [apart / 2, -apart / 2]
        rest = style.arm if self.view == SIDE else style.open_arm
        arms = np.empty((frames, 2, 2))
        for side in (0, 1):
            arms[:, side, 0] = rest[0] + self.drift(2 * style.sway)
            arms[:, side, 1] = rest[1] + self.drift(2.5 * style.sway)
        return Pose(
            view=self.view,
            pelvis=pelvis,
            ankles=ankles,
            planted=np.ones((frames, 2), dtype=bool),
            lean=self.posture * style.lean + self.own_lean + self.drift(style.sway),
            curl=self.posture * style.curl + self.drift(0.7 * style.sway),
            nod=self.posture * style.nod + self.drift(1.5 * style.sway),
            arms=arms,
            tilt=np.zeros(frames) if self.view == SIDE else self.drift(0.5 * style.sway),
        )
