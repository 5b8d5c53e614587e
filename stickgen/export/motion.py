"""Existing motion from one form of file to another, without a model; what ``stickgen convert`` does with motion."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from stickgen.data.clips import counted
from stickgen.data.file import open_clips
from stickgen.errors import ConfigError, DataError
from stickgen.files import check_keeps, missing_file
from stickgen.motion.skeleton import FPS
from stickgen.render import Panel, check_output, form_of, save
from stickgen.render.motion_file import read_motion
from stickgen.untrusted import check_archive, check_fps

_OF_MOTION = (".motion", ".npz")
_DATA_FILES = (".pt", ".pth", ".safetensors")


def is_motion(source: Path, output: Path) -> bool:
    """Return whether motion is to be converted: no other file is written to these forms, or read from these."""
    return form_of(output) is not None or source.suffix.lower() in _OF_MOTION


def convert_motion(source: Path, output: Path, clip: int | None = None, *, overwrite: bool = False) -> str:
    """Write motion in another form.

    Args:
        source: a ``.motion`` file, an ``.npz`` of ``stickgen generate``, or a data file.
        output: a name that ends as one of :data:`~stickgen.render.FORMS`.
        clip: which sequence of a data file, or motion of an ``.npz``; None: the only one, or all of an ``.npz``.
        overwrite: replace an existing output.

    Returns:
        what was written, in words.

    Raises:
        ConfigError: the output's name is none of those, or its form cannot hold the motion; a clip is to be chosen.
        DataError: the source has no motion, or is damaged.
        OutputExistsError: the output exists and ``overwrite`` is false, or is the source.
    """
    check_output(output, overwrite=overwrite)
    check_keeps([output], [source])
    panels, fps = read_panels(source, clip)
    save(output, panels, fps=fps, overwrite=overwrite)
    frames = max(panel.frames for panel in panels)
    return f"{counted(len(panels), 'motion')} of {counted(frames, 'frame')}, {fps:g} a second"


def read_panels(source: Path, clip: int | None = None) -> tuple[list[Panel], float]:
    """Return the motion in a file, and its frames a second; see :func:`convert_motion`."""
    if not source.is_file():
        raise DataError(missing_file(source))
    kind = source.suffix.lower()
    if kind == ".motion":
        if clip not in (None, 0):
            raise ConfigError(f"clip={clip}: {source} holds one motion; leave --clip out")
        file = read_motion(source)
        return [Panel(file.motion, caption=file.description, actions=file.actions)], file.fps
    if kind == ".npz":
        return _of_arrays(source, clip)
    if kind in _DATA_FILES:
        return [_of_data_file(source, clip)], float(FPS)
    raise DataError(
        f"{source}: a .motion file, an .npz of stickgen generate or a data file expected; stickgen prepare makes a "
        "data file of motion capture"
    )


def _of_data_file(source: Path, clip: int | None) -> Panel:
    """Return a sequence of a data file, with all figures that move."""
    store, _ = open_clips(source)
    if clip is None and store.sequences > 1:
        raise ConfigError(
            f"clip: {source} holds {store.sequences} clips; --clip 0 to {store.sequences - 1} chooses one"
        )
    infos = [info for info in store.infos if info.index == (clip or 0)]
    if not infos:
        raise ConfigError(f"clip={clip}: 0 to {store.sequences - 1} expected, as stickgen inspect numbers them")
    motions = [store.load(info.position).motion.numpy() for info in infos]
    return Panel(motions[0] if len(motions) == 1 else np.stack(motions, axis=1), caption=infos[0].description)


def _of_arrays(source: Path, clip: int | None) -> tuple[list[Panel], float]:
    try:
        check_archive(source)
        with np.load(source, allow_pickle=False) as arrays:
            if "motion" not in arrays:
                raise DataError(
                    f"{source}: no array 'motion', as stickgen generate writes it; stickgen prepare reads joint arrays"
                )
            motion, fps = arrays["motion"], float(arrays["fps"]) if "fps" in arrays else float(FPS)
            count = len(motion) if motion.ndim > 2 else 0
            texts = {
                name: [str(text) for text in arrays[name]] if name in arrays else [""] * count
                for name in ("label", "caption")
            }
        check_fps(fps)
        if motion.dtype.kind != "f" or not 1 <= count == len(texts["label"]) == len(texts["caption"]):
            raise ValueError("motion, label, caption: one of each for every motion expected")
    except (ValueError, TypeError, OSError, EOFError, BadZipFile) as error:
        raise DataError(f"{source}: damaged, or not an .npz of stickgen generate: {error}") from None
    if clip is not None and not 0 <= clip < count:
        raise ConfigError(f"clip={clip}: 0 to {count - 1} expected")
    chosen = range(count) if clip is None else [clip]
    try:
        return [Panel(motion[at], texts["label"][at], texts["caption"][at]) for at in chosen], fps
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
