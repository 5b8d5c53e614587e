"""Panels to a file, in the form that its name asks for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stickgen.errors import ConfigError
from stickgen.files import atomic_write, check_absent, check_writable
from stickgen.motion.skeleton import FPS
from stickgen.render.gif import delays, write_gif
from stickgen.render.layout import Picture
from stickgen.render.motion_file import write_motion
from stickgen.render.panel import Panel
from stickgen.render.style import Style
from stickgen.render.video import require_av, write_mp4

SUFFIXES = {
    ".gif": "animation",
    ".mp4": "animation (needs the extra video)",
    ".png": "contact sheet",
    ".motion": "the reference system's JSON, of one motion",
    ".npz": "arrays",
}
"""What an output can be, by the end of its name."""


def check_output(path: Path, panels: int = 1, *, overwrite: bool = False) -> None:
    """Refuse an output that cannot be written, before any work is spent on it.

    Args:
        path: the output.
        panels: how many motions it is to hold.
        overwrite: whether an existing file may be replaced.

    Raises:
        ConfigError: its name ends in none of :data:`SUFFIXES`, or it cannot hold so many motions.
        OutputExistsError: see :func:`stickgen.files.check_absent`.
        StickgenError: nothing can be written there, or PyAV is missing for a video.
    """
    kind = path.suffix.lower()
    if kind not in SUFFIXES:
        raise ConfigError(f"{path}: a name that ends in {', '.join(SUFFIXES)} expected")
    if kind == ".motion" and panels != 1:
        raise ConfigError(f"{path}: holds one motion, and there are {panels}; name a .npz for all of them")
    if kind == ".mp4":
        require_av(path)
    check_absent(path, overwrite=overwrite, file=True)
    check_writable(path)


def check_panels(path: Path, panels: Sequence[Panel]) -> None:
    """Refuse panels that an output cannot hold; of several outputs none is written then.

    Raises:
        ConfigError: motions of several shapes for arrays, or several figures for a ``.motion`` file.
    """
    kind = path.suffix.lower()
    shapes = {panel.motion.shape for panel in panels}
    if kind == ".npz" and len(shapes) != 1:
        raise ConfigError(f"{path}: motions of one shape expected, {sorted(shapes)} found; name a file for each")
    if kind == ".motion" and (actors := panels[0].actors.shape[1]) != 1:
        raise ConfigError(f"{path}: holds one figure, and there are {actors}; name a .npz")


def save(
    path: Path | str,
    panels: Panel | Sequence[Panel],
    style: Style | None = None,
    *,
    fps: float = FPS,
    overwrite: bool = False,
) -> None:
    """Write panels as a picture or as numbers, in one step.

    ``.gif`` and ``.mp4`` show them moving side by side, ``.png`` as rows of single frames. ``.motion`` is the reference
    system's JSON. ``.npz`` has ``motion`` float32 ``[N, T, D]`` (``[N, T, A, D]`` with actors), ``label``, ``caption``
    and ``given`` ``[N]``, and ``fps``.

    Args:
        path: where to; the end of the name is one of :data:`SUFFIXES`.
        panels: the motions.
        style: how pictures look.
        fps: frames a second of the motions.
        overwrite: replace an existing file.

    Raises:
        ConfigError: the name ends otherwise, the form cannot hold these panels, or cannot be played at this rate.
        OutputExistsError: the file exists and ``overwrite`` is false, or it is a folder.
        StickgenError: see :func:`check_output`.
    """
    path = Path(path)
    panels = [panels] if isinstance(panels, Panel) else list(panels)
    check_output(path, len(panels), overwrite=overwrite)
    check_panels(path, panels)
    style = style or Style()
    with atomic_write(path, overwrite=overwrite) as scratch:
        if path.suffix.lower() == ".npz":
            _write_npz(scratch, panels, fps)
        elif path.suffix.lower() == ".motion":
            (panel,) = panels
            motion = panel.actors[:, 0]
            write_motion(scratch, motion, description=panel.caption, fps=fps, actions=panel.actions)
        else:
            _write_picture(scratch, Picture(panels, style), style, fps)


def _write_picture(path: Path, picture: Picture, style: Style, fps: float) -> None:
    if path.suffix.lower() == ".gif":
        write_gif(path, picture, style.colours.palette(), delays(picture.frames, fps))
    elif path.suffix.lower() == ".mp4":
        write_mp4(path, picture, picture.size, fps)
    else:
        picture.contact_sheet().save(path)


def _write_npz(path: Path, panels: Sequence[Panel], fps: float) -> None:
    with path.open("wb") as file:  # a name's end in capitals would get a second one
        np.savez(
            file,
            motion=np.stack([panel.motion for panel in panels]),
            label=np.array([panel.label for panel in panels]),
            caption=np.array([panel.caption for panel in panels]),
            given=np.array([panel.given for panel in panels]),
            fps=np.array(fps),
        )
