"""``.motion`` files, the reference system's JSON of one figure's motion."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

import stickgen
from stickgen.errors import DataError
from stickgen.files import missing_file
from stickgen.motion.skeleton import FPS, SKELETONS, skeleton_of
from stickgen.render.panel import Panel
from stickgen.render.style import Style
from stickgen.untrusted import check_fps, parse_json

_VERSION = "1.0"
_DIGITS = 4


@dataclass(frozen=True, eq=False)
class MotionFile:
    """What a ``.motion`` file holds.

    Attributes:
        motion: float32 ``[T, D]``.
        description: the caption.
        fps: frames a second.
        actions: names of the actions of the T frames; () where unknown.
    """

    motion: np.ndarray
    description: str = ""
    fps: float = FPS
    actions: tuple[str, ...] = ()


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write the motion of one panel with one figure, see :func:`write_motion`."""
    (panel,) = panels
    write_motion(path, panel.actors[:, 0], description=panel.caption, fps=fps, actions=panel.actions)


def write_motion(
    path: Path, motion: np.ndarray, *, description: str = "", fps: float = FPS, actions: Sequence[str] = ()
) -> None:
    """Write a motion ``[T, D]``.

    The file has ``meta``, ``skeleton``, ``motion`` (T · D numbers in one list, rounded to 4 places) and ``actions`` (T
    names, or none).
    """
    skeleton = skeleton_of(motion.shape[-1])
    content = {
        "meta": {
            "version": _VERSION,
            "generator": f"stickgen {stickgen.__version__}",
            "created_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "fps": fps,
            "duration": round(len(motion) / fps, _DIGITS),
            "total_frames": len(motion),
            "description": description,
        },
        "skeleton": {
            "type": skeleton.name,
            "joint_format": "xy_lines_flat",
            "input_dim": skeleton.dim,
            "segments": [segment.name for segment in skeleton.segments],
        },
        # Through float64: a float32's own nearest decimal is longer than four places.
        "motion": [round(float(number), _DIGITS) for number in motion.reshape(-1)],
        "actions": list(actions),
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def read_motion(path: Path) -> MotionFile:
    """Read a ``.motion`` file.

    Raises:
        DataError: it is missing, or is none.
    """
    if not path.is_file():
        raise DataError(missing_file(path))
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError:
        raise DataError(f"{path}: not a .motion file, or damaged: JSON expected") from None
    meta, skeleton = (_part(content, key, dict, path) for key in ("meta", "skeleton"))
    dim = _part(skeleton, "input_dim", int, path)
    if dim not in SKELETONS or skeleton.get("type", SKELETONS[dim].name) != SKELETONS[dim].name:
        raise DataError(f"{path}: skeleton: {skeleton.get('type')!r} of {dim} numbers is not known")
    numbers = _part(content, "motion", list, path)
    if not numbers or len(numbers) % dim or not all(_finite(number) for number in numbers):
        raise DataError(f"{path}: motion: a flat list of finite numbers expected, {dim} a frame")
    motion = np.asarray(numbers, dtype=np.float32).reshape(-1, dim)
    if not np.isfinite(motion).all():
        raise DataError(f"{path}: motion: numbers beyond float32")
    fps = meta.get("fps", FPS)
    if not _finite(fps):
        raise DataError(f"{path}: meta: fps: a number expected")
    try:
        check_fps(fps)
    except ValueError as error:
        raise DataError(f"{path}: meta: fps: {error}") from None
    actions = content.get("actions") or ()
    if not (isinstance(actions, list | tuple) and all(isinstance(name, str) for name in actions)):
        raise DataError(f"{path}: actions: a list of names expected")
    return MotionFile(motion, str(meta.get("description", "")), fps, tuple(actions))


def _part(content: Any, key: str, kind: type, path: Path) -> Any:
    value = content.get(key) if isinstance(content, dict) else None
    if not isinstance(value, kind):
        raise DataError(f"{path}: not a .motion file: {key} is missing, or no {kind.__name__}")
    return value


def _finite(number: Any) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and math.isfinite(number)
