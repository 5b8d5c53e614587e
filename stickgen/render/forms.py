"""The forms of file that motion is written to: a line here and a writer in a file of its own each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stickgen.errors import ConfigError
from stickgen.render import arrays, bvh, gif, gltf, joint_table, layout, lottie, motion_file, openpose, svg, video, webp
from stickgen.render.panel import Panel
from stickgen.render.style import Style

Writer = Callable[[Path, Sequence[Panel], Style, float], None]
"""Writes panels to a path, in a style, at a number of frames a second."""


@dataclass(frozen=True)
class Form:
    """A form of file.

    Attributes:
        suffix: the end of the file's name, in small letters.
        title: what the file is.
        write: its writer.
        motions: most motions that it holds; None: any number.
        figures: most actors of a motion; None: any number.
        one_figure: whether all motions must be of the same figure.
        one_shape: whether all motions must have the same number of frames and actors, too.
        require: raises a StickgenError where a package that the writer needs is not installed.
    """

    suffix: str
    title: str
    write: Writer
    motions: int | None = None
    figures: int | None = None
    one_figure: bool = False
    one_shape: bool = False
    require: Callable[[Path], None] | None = None


FORMS = (
    Form(".gif", "animation", gif.write),
    Form(".mp4", "animation; needs the extra video", video.write, require=video.require_av),
    Form(".webp", "animation", webp.write),
    Form(".png", "contact sheet of frames", layout.write),
    Form(".svg", "animated vector graphic for web pages", svg.write, motions=1),
    Form(".lottie.json", "Lottie animation for web and mobile", lottie.write, motions=1),
    Form(".bvh", "skeleton for Blender and other 3-D tools", bvh.write, motions=1, figures=1),
    Form(".glb", "glTF scene for 3-D viewers", gltf.write, motions=1),
    Form(".openpose.zip", "OpenPose BODY_25 keypoints, a JSON file a frame", openpose.write, motions=1),
    Form(".csv", "table of joints", joint_table.write, one_figure=True),
    Form(".motion", "JSON of stick-gen", motion_file.write, motions=1, figures=1),
    Form(".npz", "arrays", arrays.write, one_shape=True),
)
"""What an output can be."""


def form_of(path: Path) -> Form | None:
    """Return the form that the name of a file asks for, None if it asks for none."""
    return next((form for form in FORMS if path.name.lower().endswith(form.suffix)), None)


def check_form(path: Path) -> Form:
    """Return the form that the name of an output asks for.

    Raises:
        ConfigError: it asks for none.
    """
    form = form_of(path)
    if form is None:
        raise ConfigError(f"{path}: a name that ends in {', '.join(form.suffix for form in FORMS)} expected")
    return form
