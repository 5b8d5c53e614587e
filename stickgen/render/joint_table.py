"""Joints as a table, ``.csv``, for spreadsheets and scripts."""

import csv
from collections.abc import Sequence
from pathlib import Path

from stickgen.render.panel import Panel
from stickgen.render.style import Style

_DIGITS = 6


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write a row for every frame of every actor.

    The columns are ``motion`` and ``actor`` (from 0), ``frame`` (from 0), ``seconds``, and x and y of every joint, as
    ``neck_x``, in body heights. Where the segments of a motion do not meet, the first one that has a joint counts, see
    :meth:`~stickgen.motion.skeleton.Skeleton.to_joints`.

    Args:
        path: where to.
        panels: motions of one figure, numbered in this order.
        style: without effect.
        fps: frames a second.
    """
    joints = [f"{joint}_{axis}" for joint in panels[0].skeleton.joints for axis in "xy"]
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["motion", "actor", "frame", "seconds", *joints])
        for number, panel in enumerate(panels):
            for actor in range(panel.actors.shape[1]):
                for frame, numbers in enumerate(panel.joints[:, actor].reshape(panel.frames, -1).tolist()):
                    seconds = round(frame / fps, _DIGITS)
                    table.writerow([number, actor, frame, seconds, *(f"{value:.{_DIGITS}f}" for value in numbers)])
