"""TensorBoard's view of a sweep: a folder in which every job goes by what tells it from the others."""

import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from stickgen.artifacts.run import RunFolder

LOGS = "tensorboard"
"""In a sweep's folder: links to its jobs' event files. In a job's folder: the event files."""

_LONGEST = 120

log = logging.getLogger(__name__)


def link_logs(run: RunFolder, varied: Mapping[str, Any]) -> None:
    """Make a link to a job's event files, named after the settings that its sweep varies.

    TensorBoard calls a run by its folder, which of a job is a number. Where links cannot be made, it goes by that.
    """
    named = ",".join(f"{key}={value}" for key, value in varied.items())
    name = re.sub(r"[^\w.,=+-]", "_", named)[:_LONGEST] or run.path.name
    folder = run.path.parent / LOGS
    target = os.path.join("..", run.path.name, LOGS)
    try:
        folder.mkdir(exist_ok=True)
        for place in (folder / name, folder / f"{name},job={run.path.name}"):
            if place.is_symlink() and os.readlink(place) != target:
                continue  # another job's: long values that differ in their ends
            if not place.is_symlink():
                place.symlink_to(target, target_is_directory=True)
            return
    except OSError as error:
        log.info("%s: no links for TensorBoard: %s", folder, error.strerror)
