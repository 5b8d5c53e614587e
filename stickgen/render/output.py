"""Panels to a file, in the form that its name asks for."""

from collections.abc import Sequence
from pathlib import Path

from stickgen.errors import ConfigError
from stickgen.files import atomic_write, check_absent, check_writable
from stickgen.motion.skeleton import FPS
from stickgen.render.forms import check_form
from stickgen.render.panel import Panel
from stickgen.render.style import Style


def check_output(path: Path, panels: int = 1, *, overwrite: bool = False) -> None:
    """Refuse an output that cannot be written, before any work is spent on it.

    Args:
        path: the output.
        panels: how many motions it is to hold.
        overwrite: whether an existing file may be replaced.

    Raises:
        ConfigError: its name asks for none of :data:`~stickgen.render.forms.FORMS`, or it cannot hold so many motions.
        OutputExistsError: see :func:`stickgen.files.check_absent`.
        StickgenError: nothing can be written there, or a package for the form is missing.
    """
    form = check_form(path)
    if form.motions is not None and panels > form.motions:
        raise ConfigError(f"{path}: holds one motion, and there are {panels}; name a .npz for all of them")
    if form.require is not None:
        form.require(path)
    check_absent(path, overwrite=overwrite, file=True)
    check_writable(path)


def check_panels(path: Path, panels: Sequence[Panel]) -> None:
    """Refuse panels that an output cannot hold; of several outputs none is written then.

    Raises:
        ConfigError: the form cannot hold motions of several figures or shapes, or so many actors.
    """
    form = check_form(path)
    shapes = {panel.motion.shape for panel in panels}
    if form.one_shape and len(shapes) != 1:
        raise ConfigError(f"{path}: motions of one shape expected, {sorted(shapes)} found; name a file for each")
    figures = {panel.skeleton.name for panel in panels}
    if form.one_figure and len(figures) != 1:
        raise ConfigError(f"{path}: motions of one figure expected, {sorted(figures)} found; name a file for each")
    actors = max(panel.actors.shape[1] for panel in panels)
    if form.figures is not None and actors > form.figures:
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

    Args:
        path: where to; the end of the name is that of one of :data:`~stickgen.render.forms.FORMS`.
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
    with atomic_write(path, overwrite=overwrite) as scratch:
        check_form(path).write(scratch, panels, style or Style(), fps)
