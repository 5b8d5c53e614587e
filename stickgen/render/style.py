"""How a figure looks: colours for two backgrounds, and the choices that a user has."""

import math
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from stickgen.errors import ConfigError

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

_PALETTE_SIZE = 256


@dataclass(frozen=True)
class Theme:
    """Colours of a picture.

    Left limbs are blue and right ones orange, which all common kinds of colour blindness tell apart (after Okabe and
    Ito, "Color Universal Design"); arms are lighter than legs.

    Attributes:
        background: of the whole picture.
        ground: the ground line and its ticks.
        text: captions and labels.
        bodies: torso and head of the first actor, the second, …; then from the first again.
        left_arm: see above.
        left_leg: see above.
        right_arm: see above.
        right_leg: see above.
    """

    background: Colour
    ground: Colour
    text: Colour
    bodies: tuple[Colour, ...]
    left_arm: Colour
    left_leg: Colour
    right_arm: Colour
    right_leg: Colour

    def of_limb(self, limb: str, actor: int = 0) -> Colour:
        """Return the colour of "body", "left_arm", "left_leg", "right_arm" or "right_leg"."""
        return self.bodies[actor % len(self.bodies)] if limb == "body" else getattr(self, limb)

    def faded(self, colour: Colour, strength: float) -> Colour:
        """Return a colour mixed with the background: 1 is the colour itself, 0 the background."""
        return _mix(self.background, colour, strength)

    def palette(self) -> list[int]:
        """Return at most 256 colours, three numbers each: every colour's way into the background.

        Faded colours and smooth edges lie on those ways, so one palette fits all frames of an animation.
        """
        limbs = (self.left_arm, self.left_leg, self.right_arm, self.right_leg)
        colours = list(dict.fromkeys((self.ground, self.text, *self.bodies, *limbs)))
        steps = (_PALETTE_SIZE - 1) // len(colours)
        ways = [self.faded(colour, step / steps) for colour in colours for step in range(1, steps + 1)]
        return list(chain(self.background, *ways))


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


THEMES = {
    "light": Theme(
        background=(252, 252, 250),
        ground=(138, 140, 144),
        text=(45, 48, 54),
        bodies=((45, 48, 54), (0, 118, 86), (152, 64, 128)),
        left_arm=(40, 134, 204),
        left_leg=(0, 88, 156),
        right_arm=(222, 112, 0),
        right_leg=(184, 68, 0),
    ),
    "dark": Theme(
        background=(21, 23, 28),
        ground=(104, 108, 116),
        text=(222, 225, 230),
        bodies=((222, 225, 230), (60, 200, 150), (226, 150, 200)),
        left_arm=(134, 198, 252),
        left_leg=(64, 148, 232),
        right_arm=(255, 184, 84),
        right_leg=(236, 122, 40),
    ),
}
"""By name, for a light and for a dark page."""


@dataclass(frozen=True)
class Style:
    """What a picture is to look like.

    Attributes:
        theme: of :data:`THEMES`.
        camera: "follow" keeps the figures in the middle, and ticks on the ground show that they move; "fixed" has the
            whole way in one frame.
        trail: seconds of the way of hands and feet that are drawn behind them.
        size: height of a panel in pixels.
        sheet: frames of a contact sheet.

    Raises:
        ConfigError: a value is none of those.
    """

    theme: str = "light"
    camera: Literal["follow", "fixed"] = "follow"
    trail: float = 0.0
    size: int = 320
    sheet: int = 8

    def __post_init__(self) -> None:
        if self.theme not in THEMES:
            raise ConfigError(f"theme={self.theme}: {' or '.join(THEMES)} expected")
        if self.camera not in ("follow", "fixed"):
            raise ConfigError(f"camera={self.camera}: follow or fixed expected")
        if not (math.isfinite(self.trail) and self.trail >= 0):
            raise ConfigError(f"trail={self.trail}: seconds, 0 or more, expected")
        if not 64 <= self.size <= 2048:
            raise ConfigError(f"size={self.size}: 64 to 2048 pixels expected")
        if not 1 <= self.sheet <= 64:
            raise ConfigError(f"sheet={self.sheet}: 1 to 64 frames expected")

    @property
    def colours(self) -> Theme:
        """The theme itself."""
        return THEMES[self.theme]
