"""Panels in one picture: those of a caption side by side, captions below each other."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from PIL import Image

from stickgen.errors import DataError
from stickgen.motion.skeleton import FPS
from stickgen.render import text
from stickgen.render.camera import views_of
from stickgen.render.draw import PanelPainter
from stickgen.render.panel import Panel
from stickgen.render.style import Style

_GAP = 12
_CAPTION_LINES = 3
_WIDEST_SHEET = 2800
"""Pixels, where a panel does not need more."""


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write a contact sheet, rows of single frames; ``fps`` has no effect on it."""
    Picture(panels, style).contact_sheet().save(path)


class Picture:
    """A moving picture of panels.

    Args:
        panels: at least one.
        style: how it looks.

    Attributes:
        frames: as many as the longest panel has; shorter ones stop at their last.
        size: width and height in pixels, both even.

    Raises:
        DataError: there is no panel.
    """

    def __init__(self, panels: Sequence[Panel], style: Style) -> None:
        if not panels:
            raise DataError("a picture needs at least one panel")
        self._style = style
        self._font = max(round(style.size / 21), 10)
        self.frames = max(panel.frames for panel in panels)
        views = views_of(panels, style.camera)
        painters = [PanelPainter(panel, view, style) for panel, view in zip(panels, views, strict=True)]
        self._panel_size = painters[0].size
        both = zip(panels, painters, strict=True)
        self._rows = [(caption, list(row)) for caption, row in groupby(both, key=lambda pair: pair[0].caption)]
        columns = max(len(row) for _, row in self._rows)
        self.size, self._empty, self._places = self._laid_out(columns * (self._panel_size[0] + _GAP) + _GAP)

    def frame(self, index: int) -> Image.Image:
        """Return a frame of the moving picture."""
        image = self._empty.copy()
        for painter, place in self._places:
            image.paste(painter.frame(index), place)
        return image

    def __iter__(self) -> Iterator[Image.Image]:
        """Draw frame after frame."""
        return (self.frame(index) for index in range(self.frames))

    def _laid_out(self, width: int) -> tuple[tuple[int, int], Image.Image, list[tuple[PanelPainter, tuple[int, int]]]]:
        """Return the picture's size, what does not move in it, and where the panels go."""
        across, high = self._panel_size
        line = text.line_height(self._font)
        lines: list[tuple[str, tuple[int, int], int]] = []
        places = []
        top = _GAP
        for caption, row in self._rows:
            for words in text.wrap(caption, self._font, width - 2 * _GAP, _CAPTION_LINES):
                lines.append((words, (_GAP, top), width - 2 * _GAP))
                top += line
            before = (width - len(row) * (across + _GAP) + _GAP) // 2
            lefts = [before + column * (across + _GAP) for column in range(len(row))]
            for (panel, _), left in zip(row, lefts, strict=True):
                for words in text.wrap(panel.label, self._font, across, keep_end=True):
                    lines.append((words, (left, top), across))
            top += line * any(panel.label for panel, _ in row)
            places += [(painter, (left, top)) for (_, painter), left in zip(row, lefts, strict=True)]
            top += high + _GAP
        size = (width + width % 2, top + top % 2)
        return size, self._with_lines(size, lines), places

    def contact_sheet(self) -> Image.Image:
        """Return single frames of the whole time, evenly spaced, each panel's under its caption and label."""
        across, high = self._panel_size
        line = text.line_height(self._font)
        count = min(self._style.sheet, self.frames)
        rows = math.ceil(count / max(_WIDEST_SHEET // (across + _GAP), 1))
        columns = math.ceil(count / rows)
        width = columns * (across + _GAP) + _GAP
        lines: list[tuple[str, tuple[int, int], int]] = []
        places = []
        top = _GAP
        for panel, painter in (pair for _, row in self._rows for pair in row):
            for title in (panel.caption, panel.label):
                for words in text.wrap(title, self._font, width - 2 * _GAP):
                    lines.append((words, (_GAP, top), width - 2 * _GAP))
                    top += line
            shown = _evenly(panel.frames, self._style.sheet)
            for start in range(0, len(shown), columns):
                for column, index in enumerate(shown[start : start + columns]):
                    left = _GAP + column * (across + _GAP)
                    places.append((painter, index, (left, top)))
                    lines.append((f"{index / FPS:.2f} s", (left, top + high), across))
                top += high + line + _GAP
        image = self._with_lines((width, top), lines)
        for painter, index, place in places:
            image.paste(painter.frame(index), place)
        return image

    def _with_lines(self, size: tuple[int, int], lines: Sequence[tuple[str, tuple[int, int], int]]) -> Image.Image:
        colours = self._style.colours
        image = Image.new("RGB", size, colours.background)
        for words, place, width in lines:
            text.write(image, words, place, self._font, colours.text, width)
        return image


def _evenly(frames: int, count: int) -> list[int]:
    """Return at most ``count`` of the frames, the first and the last among them."""
    count = min(frames, count)
    return [round(step * (frames - 1) / max(count - 1, 1)) for step in range(count)]
