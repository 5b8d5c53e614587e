"""Captions and labels, cut to the width they have."""

import unicodedata
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from stickgen.render.style import Colour

_ELLIPSIS = "…"
_NO_GLYPH = "\uffff"
_INSTEAD = str.maketrans(
    {"–": "-", "—": "-", "−": "-", "×": "x", "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "æ": "ae", "Æ": "Ae"}
)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def line_height(size: int) -> int:
    """Return the distance of lines in pixels."""
    return round(1.35 * size)


def wrap(text: str, size: int, width: int, lines: int = 1, *, keep_end: bool = False) -> list[str]:
    """Return a text in at most so many lines, its rest replaced by an ellipsis.

    Args:
        text: in any language, though the built-in font has plain Latin letters only: accents are left out, and what is
            no such letter becomes a question mark.
        size: of the font, in pixels.
        width: of a line, in pixels.
        lines: most lines.
        keep_end: leave out the beginning of a line too long instead of its end, as is better for paths.
    """
    made: list[str] = []
    for word in _drawable(text).split():
        if made and _width(f"{made[-1]} {word}", size) <= width:
            made[-1] += f" {word}"
        else:
            made.append(word)
    if len(made) > lines:
        made = [*made[: lines - 1], " ".join(made[lines - 1 :])]
    return [_cut(line, size, width, keep_end) for line in made]


def _drawable(text: str) -> str:
    """Return a text in characters that the font has."""
    apart = "".join(c if _has(c) else unicodedata.normalize("NFKD", c.translate(_INSTEAD)) for c in text)
    return "".join(c if c.isspace() or _has(c) else "?" for c in apart if not unicodedata.combining(c))


@cache
def _has(character: str) -> bool:
    """Whether the font draws a character, and not its box for those that it lacks."""
    return bytes(_font(20).getmask(character)) != bytes(_font(20).getmask(_NO_GLYPH))


def _cut(line: str, size: int, width: int, keep_end: bool) -> str:
    if _width(line, size) <= width:
        return line
    for kept in range(len(line) - 1, 0, -1):
        short = _ELLIPSIS + line[-kept:].lstrip() if keep_end else line[:kept].rstrip() + _ELLIPSIS
        if _width(short, size) <= width:
            return short
    return _ELLIPSIS


def _width(text: str, size: int) -> float:
    return _font(size).getlength(text)


def write(image: Image.Image, text: str, at: tuple[float, float], size: int, colour: Colour, width: int) -> None:
    """Write a line in the middle of ``width`` pixels that begin at a place."""
    left = at[0] + (width - _width(text, size)) / 2
    ImageDraw.Draw(image).text((left, at[1]), text, fill=colour, font=_font(size))
