"""Animated WebP, lossless: all colours of the picture, in half of a GIF's bytes."""

from collections.abc import Sequence
from pathlib import Path

from stickgen.render.gif import delays
from stickgen.render.layout import Picture
from stickgen.render.panel import Panel
from stickgen.render.style import Style


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write panels side by side, moving; the animation repeats for ever.

    Raises:
        ConfigError: see :func:`~stickgen.render.gif.delays`.
    """
    picture = Picture(panels, style)
    durations = delays(picture.frames, fps)
    frames = iter(picture)
    next(frames).save(
        path, format="WEBP", save_all=True, append_images=frames, duration=durations, loop=0, lossless=True, method=2
    )
