"""Which part of the world a panel shows, frame by frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stickgen.motion.skeleton import FPS
from stickgen.render.panel import Panel

# In body heights, which are the units of motion. A figure that falls apart is let out of sight: the others beside it
# are to be seen too.
_MARGIN = 0.15
_NARROWEST, _WIDEST, _WIDEST_FIXED = 1.3, 3.0, 24.0
_LOWEST, _HIGHEST = -0.3, 1.7
_SMOOTHING = 0.4
"""Seconds, the standard deviation of the window: a camera that follows each step would make the ground tremble."""


@dataclass(frozen=True, eq=False)
class View:
    """What a panel shows, in units of the motion.

    Attributes:
        centre: x of the middle, ``[T]``.
        width: of the whole frame.
        bottom: y of the lower edge.
        top: y of the upper edge.
    """

    centre: np.ndarray
    width: float
    bottom: float
    top: float


def views_of(panels: Sequence[Panel], camera: str) -> list[View]:
    """Return a view for every panel, all of one size, so that figures can be compared.

    Args:
        panels: at least one.
        camera: "follow" or "fixed", see :class:`~stickgen.render.style.Style`.
    """
    centres, reach, low, high = [], 0.0, 0.0, 1.0
    for panel in panels:
        x, y = panel.joints[..., 0], panel.joints[..., 1]
        if camera == "follow":
            centre = _smoothed(panel.joints[:, :, panel.skeleton.joint("pelvis"), 0].mean(axis=1))
        else:
            centre = np.full(panel.frames, (x.min() + x.max()) / 2)
        centres.append(centre)
        reach = max(reach, float(np.abs(x - centre[:, None, None]).max()))
        low, high = min(low, float(y.min())), max(high, float(y.max()))
    # Two figures may stand apart; one alone that is so wide has fallen apart.
    most = max(panel.actors.shape[1] for panel in panels)
    widest = most * _WIDEST if camera == "follow" else _WIDEST_FIXED
    width = float(np.clip(2 * (reach + _MARGIN), _NARROWEST, widest))
    bottom = max(low, _LOWEST) - _MARGIN
    top = min(high, _HIGHEST) + _MARGIN
    return [View(centre, width, bottom, top) for centre in centres]


def _smoothed(track: np.ndarray) -> np.ndarray:
    """Return ``[T]`` under a moving Gaussian window; beyond its ends the track goes on as it began and ended."""
    reach = int(3 * _SMOOTHING * FPS)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (_SMOOTHING * FPS)) ** 2)
    # Mirrored through its end points, which keeps a steady walk steady up to its ends.
    padded = np.pad(track, reach, mode="reflect", reflect_type="odd")
    return np.convolve(padded, weights / weights.sum(), mode="valid")
