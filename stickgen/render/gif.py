"""Animated GIFs: one palette for all frames, and as long as the motion is."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from stickgen.errors import ConfigError
from stickgen.render.layout import Picture
from stickgen.render.panel import Panel
from stickgen.render.style import Style

_FASTEST = 50
"""Frames a second; browsers slow down a delay below 2/100 s."""


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write panels side by side, moving.

    Raises:
        ConfigError: see :func:`delays`.
    """
    picture = Picture(panels, style)
    write_gif(path, picture, style.colours.palette(), delays(picture.frames, fps))


def delays(frames: int, fps: float) -> list[int]:
    """Return each frame's time in milliseconds.

    GIF counts in 1/100 s: 25 frames a second are 4 each. A rate that does not divide 100 is spread over frames of
    different length, so that no frame is shown more than half a hundredth from its time.

    Raises:
        ConfigError: ``fps`` is not above 0 or is more than 50.
    """
    if not 0 < fps <= _FASTEST:
        raise ConfigError(f"fps={fps}: an animated picture shows more than 0 and at most {_FASTEST} frames a second")
    ends = [round(100 * (index + 1) / fps) for index in range(frames)]
    return [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]


def write_gif(file: Path | BinaryIO, frames: Iterable[Image.Image], palette: list[int], durations: list[int]) -> None:
    """Write an animated GIF that repeats for ever.

    Frames that do not differ from the one before lengthen it instead.

    Args:
        file: where to; or an open file.
        frames: RGB, all of one size.
        palette: at most 256 colours, three numbers each.
        durations: of each frame, in milliseconds.
    """
    colours = Image.new("P", (1, 1))
    colours.putpalette(palette)
    made: Iterator[Image.Image] = (frame.quantize(palette=colours, dither=Image.Dither.NONE) for frame in frames)
    first = next(made)
    # Named here, the palette is written once; else Pillow writes it again with every frame.
    first.save(
        file,
        format="GIF",
        save_all=True,
        append_images=made,
        palette=bytes(palette),
        duration=durations,
        loop=0,
        optimize=False,
    )
