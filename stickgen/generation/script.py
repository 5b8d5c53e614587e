"""Prompts of several parts, one after the other, such as ``A person walks forward. [3] A person waves.``."""

import re
from dataclasses import dataclass

from stickgen.errors import ConfigError
from stickgen.motion.skeleton import FPS

CARRIED = 10
"""Frames of a part that the next one is given, as ``stickgen evaluate`` gives them after a switch of caption."""

_SECONDS = re.compile(r"\[\s*([+-]?[\d.]+)\s*s?\s*\]")


@dataclass(frozen=True)
class Part:
    """One of the descriptions of a prompt, and how long it lasts.

    Attributes:
        text: the description.
        frames: at 25 a second, at least 1.
    """

    text: str
    frames: int


def read_script(prompt: str, frames: int) -> tuple[Part, ...]:
    """Divide a prompt into its parts.

    Args:
        prompt: a description, or several, each but the last followed by its seconds in square brackets. The last one
            fills the rest.
        frames: of all parts together.

    Raises:
        ConfigError: a description or a time is missing, or a part would have no frame.
    """
    *timed, last = _SECONDS.split(prompt)
    parts = []
    left = frames
    for text, seconds in zip(timed[::2], timed[1::2], strict=True):
        length = _frames(prompt, seconds)
        if length >= left:
            raise ConfigError(
                f"{prompt!r}: its parts take longer than the {frames / FPS:g} s that are generated; the last one, "
                "which has no seconds, fills the rest"
            )
        parts.append(Part(text.strip(), length))
        left -= length
    parts.append(Part(last.strip(), left))
    for number, part in enumerate(parts, 1):
        if not part.text:
            raise ConfigError(
                f"{prompt!r}: part {number} has no description; 'A person walks. [3] A person waves.' walks for 3 s "
                "and waves for the rest"
            )
    return tuple(parts)


def _frames(prompt: str, seconds: str) -> int:
    try:
        frames = round(float(seconds) * FPS)
    except ValueError:
        frames = 0
    if frames < 1:
        raise ConfigError(f"{prompt!r}: [{seconds}]: seconds expected, at least {1 / FPS:g}")
    return frames
