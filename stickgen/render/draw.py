"""Drawing one panel: ground, trails and figures, several times as large and then reduced, for smooth edges."""

from functools import cached_property

import numpy as np
from PIL import Image, ImageDraw

from stickgen.motion.skeleton import FPS
from stickgen.render.camera import View
from stickgen.render.panel import Panel
from stickgen.render.style import Colour, Style

_OVERSAMPLING = 4
_WIDEST_PANEL = 3.0
"""Width over height; a wider view is shown smaller."""
# In body heights.
LINE, HEAD_RADIUS, TICK = 0.036, 0.075, 0.5
FADED = 0.4
"""Strength of frames that were given."""


class PanelPainter:
    """Draws the frames of a panel.

    Args:
        panel: what to draw.
        view: which part of the world.
        style: how.
    """

    def __init__(self, panel: Panel, view: View, style: Style) -> None:
        self._panel = panel
        self._view = view
        self._style = style
        height = view.top - view.bottom
        pixels_a_unit = min(style.size / height, _WIDEST_PANEL * style.size / view.width)
        self.size = (_even(view.width * pixels_a_unit), _even(height * pixels_a_unit))
        """Width and height in pixels."""
        self.scale = pixels_a_unit
        """Pixels a body height."""
        self._scale = pixels_a_unit * _OVERSAMPLING

    def frame(self, index: int) -> Image.Image:
        """Return a frame; one after the last is the last."""
        index = min(index, self._panel.frames - 1)
        width, height = (side * _OVERSAMPLING for side in self.size)
        image = Image.new("RGB", (width, height), self._style.colours.background)
        draw = ImageDraw.Draw(image)
        self._ground(draw, index)
        strength = FADED if index < self._panel.given else 1.0
        for actor in range(self._panel.actors.shape[1]):
            self._trails(draw, index, actor)
            self._figure(draw, index, actor, strength)
        return image.reduce(_OVERSAMPLING)

    def pixel(self, points: np.ndarray, index: int) -> np.ndarray:
        """Return where points ``[..., 2]`` of the motion's world lie in the picture of a frame, in pixels."""
        return self._place(points, index) / _OVERSAMPLING

    def track(self, points: np.ndarray) -> np.ndarray:
        """Return where points ``[T, ..., 2]`` of all frames lie in their pictures, in pixels; y is down."""
        left = self._view.centre - self._view.width / 2
        corner = np.stack((left, np.full_like(left, self._view.top)), axis=1)
        return (points - corner.reshape(len(left), *[1] * (points.ndim - 2), 2)) * [self.scale, -self.scale]

    @cached_property
    def _line_width(self) -> int:
        return max(round(LINE * self._scale), _OVERSAMPLING)

    def _place(self, points: np.ndarray, index: int) -> np.ndarray:
        left = self._view.centre[index] - self._view.width / 2
        placed = (points - [left, self._view.top]) * [self._scale, -self._scale]
        # Far outside nothing is seen, and the painter's numbers are small ones.
        limit = 8 * _OVERSAMPLING * max(self.size)
        return np.clip(placed, -limit, limit)

    def _ground(self, draw: ImageDraw.ImageDraw, index: int) -> None:
        colour = self._style.colours.ground
        left = self._view.centre[index] - self._view.width / 2
        first, last = np.ceil(left / TICK), np.floor((left + self._view.width) / TICK)
        thickness = self._line_width // 3
        y = self._place(np.zeros(2), index)[1]
        draw.rectangle((0, y, self.size[0] * _OVERSAMPLING, y + thickness), fill=colour)
        for x, _ in self._place(np.stack([np.arange(first, last + 1) * TICK] * 2, axis=1), index):
            draw.rectangle((x - thickness / 2, y, x + thickness / 2, y + 3 * thickness), fill=colour)

    def _trails(self, draw: ImageDraw.ImageDraw, index: int, actor: int) -> None:
        theme = self._style.colours
        first = max(index - round(self._style.trail * FPS), 0)
        for limb, points in self._panel.tips:
            placed = self._place(points[first : index + 1, actor], index)
            for step in range(len(placed) - 1):
                colour = theme.faded(theme.of_limb(limb), 0.1 + 0.5 * (step + 1) / len(placed))
                _stroke(draw, placed[step], placed[step + 1], self._line_width // 3, colour)

    def _figure(self, draw: ImageDraw.ImageDraw, index: int, actor: int, strength: float) -> None:
        theme = self._style.colours
        for limb, ends in self._panel.lines:
            start, end = self._place(ends[index, actor], index)
            _stroke(draw, start, end, self._line_width, theme.faded(theme.of_limb(limb, actor), strength))
        radius = HEAD_RADIUS * self._scale
        head = self._place(self._panel.heads[index, actor], index)
        _disc(draw, head, radius, theme.faded(theme.of_limb("body", actor), strength))


def _stroke(draw: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, width: int, colour: Colour) -> None:
    """Draw a line with round ends."""
    draw.line((*start, *end), fill=colour, width=width)
    for point in (start, end):
        _disc(draw, point, width / 2, colour)


def _disc(draw: ImageDraw.ImageDraw, centre: np.ndarray, radius: float, colour: Colour) -> None:
    draw.ellipse((*(centre - radius), *(centre + radius)), fill=colour)


def _even(length: float) -> int:
    """Return a number of pixels that a video can have."""
    return 2 * max(round(length / 2), 1)
