"""Motions as NumPy arrays, ``.npz``."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stickgen.render.panel import Panel
from stickgen.render.style import Style


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write motions of one shape.

    The file has ``motion`` float32 ``[N, T, D]`` (``[N, T, A, D]`` with actors), ``label``, ``caption`` and ``given``
    ``[N]``, and ``fps``.
    """
    with path.open("wb") as file:  # a name's end in capitals would get a second one
        np.savez(
            file,
            motion=np.stack([panel.motion for panel in panels]),
            label=np.array([panel.label for panel in panels]),
            caption=np.array([panel.caption for panel in panels]),
            given=np.array([panel.given for panel in panels]),
            fps=np.array(fps),
        )
