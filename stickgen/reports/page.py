"""Scenes as one HTML file: the player, its style and all motion inside, nothing fetched from anywhere."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from stickgen.motion.skeleton import FPS
from stickgen.render.camera import View, views_of
from stickgen.render.panel import Panel
from stickgen.render.style import THEMES, Colour, Style, Theme
from stickgen.reports.scenes import Scene, limb_errors

_THOUSANDTHS = 1000
"""Numbers are kept in thousandths of a body height, a third of a pixel, in 16 bits: what is 32 heights away is out of
sight."""


@dataclass(frozen=True)
class Table:
    """Figures to stand under the player.

    Attributes:
        title: what they were measured on.
        columns: the predictors.
        rows: metric → a cell for each of the columns.
    """

    title: str
    columns: Sequence[str]
    rows: dict[str, list[str]]


def page(
    scenes: Sequence[Scene],
    tables: Sequence[Table],
    title: str,
    style: Style | None = None,
    *,
    theme: str | None = None,
) -> str:
    """Return the page.

    The text of prompts, clips and labels stays text: it is escaped in HTML, and inside the JSON. The page's own policy
    lets nothing run but its script, which is known by its digest, and lets nothing be fetched.

    Args:
        scenes: at least one.
        tables: figures to stand under it.
        title: of the window.
        style: its camera and its trails count; None: the camera follows the figures, and there are no trails.
        theme: "light" or "dark"; None: as the reader's system has it.
    """
    style = style or Style()
    return document(
        title,
        {
            "fps": FPS,
            "trail": round(style.trail * FPS),
            "scenes": [scene_data(scene, camera=style.camera, trails=style.trail > 0) for scene in scenes],
        },
        scripts=("player.js", "scenes.js"),
        parts={
            "theme": f' data-theme="{theme}"' if theme in THEMES else "",
            "kind": "scenes",
            "chooser": _SCENES,
            "hint": "scene",
            "legend": _ERRORS,
            "tables": "\n".join(_table(table) for table in tables),
        },
    )


_SCENES = """<button id="previous" type="button" aria-label="previous scene">‹</button>
<select id="scene" aria-label="scene"></select>
<button id="next" type="button" aria-label="next scene">›</button>"""
_ERRORS = (
    "Frames that were given are faded. Errors: mean distance of a limb's ends from the real clip's, in body heights; "
    "click on the curves to go there."
)


def document(
    title: str,
    data: Any,
    *,
    scripts: Sequence[str],
    parts: Mapping[str, str],
    styles: Sequence[str] = (),
    allow: str = "",
) -> str:
    """Return a page around the player.

    Args:
        title: of the window.
        data: what the scripts read; it becomes JSON.
        scripts: files of this folder, the player first; one script in the page.
        parts: HTML for the places of ``page.html``; those that are not named stay empty.
        styles: files of this folder that follow the player's own style.
        allow: a directive for the page's policy, beside its own script and style.
    """
    style = _theme_variables() + "".join(_resource(name) for name in ("page.css", *styles))
    script = "".join(_resource(name) for name in scripts)
    policy = f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; {allow}"
    filled = {
        **parts,
        "policy": html.escape(policy.removesuffix("; ")),
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": _json(data),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: filled.get(found[1], ""), _resource("page.html"))


def _resource(name: str) -> str:
    return (files("stickgen.reports") / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _json(value: Any) -> str:
    """Return JSON that may stand in a script element: no text in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def scene_data(scene: Scene, step: int = 1, *, camera: str = "follow", trails: bool = False) -> dict[str, Any]:
    """Return a scene as the player reads it.

    Args:
        scene: the scene.
        step: keep every so many frames.
        camera: "follow" or "fixed", see :class:`~stickgen.render.style.Style`.
        trails: whether to give the paths of hands and feet.
    """
    views = views_of(scene.panels, camera)
    reference = scene.panels[0] if scene.has_reference else None
    return {
        "caption": scene.caption,
        "frames": -(-max(panel.frames for panel in scene.panels) // step),
        "width": views[0].width,
        "bottom": views[0].bottom,
        "top": views[0].top,
        "panels": [
            _panel(panel, view, None if panel is reference else reference, step)
            | ({"tips": _tips(panel, step)} if trails else {})
            for panel, view in zip(scene.panels, views, strict=True)
        ],
    }


def _panel(panel: Panel, view: View, reference: Panel | None, step: int) -> dict[str, Any]:
    bodies = [body_name(actor) for actor in range(panel.actors.shape[1])]
    return {
        "label": panel.label,
        "given": -(-panel.given // step),
        "frames": -(-panel.frames // step),
        "bodies": bodies,
        "limbs": [body if limb == "body" else limb for body in bodies for limb, _ in panel.lines],
        # Frame by frame, actor by actor x1, y1, x2, y2 of every line.
        "lines": _packed(np.stack([ends for _, ends in panel.lines], axis=2)[::step]),
        "heads": _packed(panel.heads[::step]),
        "centre": _packed(view.centre[::step]),
        "errors": None
        if reference is None
        else {limb: _packed(error[::step]) for limb, error in limb_errors(panel, reference).items()},
    }


def _tips(panel: Panel, step: int) -> dict[str, Any]:
    """Return what trails follow: limb by limb, and frame by frame, actor by actor x, y of each."""
    points = np.stack([points for _, points in panel.tips], axis=2)[::step]
    return {"limbs": [limb for limb, _ in panel.tips], "points": _packed(points)}


def body_name(actor: int) -> str:
    """Return the name of the colour of an actor's torso and head: body, body_2, …, from the first again."""
    number = actor % len(THEMES["light"].bodies)
    return f"body_{number + 1}" if number else "body"


def _packed(numbers: np.ndarray) -> str:
    """Return numbers as little-endian 16-bit integers in base64."""
    limit = 2**15 - 1
    whole = np.clip(np.rint(np.asarray(numbers) * _THOUSANDTHS), -limit, limit)
    return base64.b64encode(whole.astype("<i2").tobytes()).decode()


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.columns)
    rows = "\n".join(
        f'<tr><th scope="row">{html.escape(name)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, cells in table.rows.items()
    )
    return (
        f'<figure class="figures"><figcaption>{html.escape(table.title)}</figcaption>\n'
        f"<table><thead><tr><td></td>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></figure>"
    )


def _theme_variables() -> str:
    """Return the colours of figures and page as variables, for the reader's choice of light or dark."""
    light, dark = _variables(THEMES["light"]), _variables(THEMES["dark"])
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f":root[data-theme=dark]{{color-scheme:dark;{dark}}}\n"
    )


def _variables(theme: Theme) -> str:
    limbs = ("left_arm", "left_leg", "right_arm", "right_leg")
    colours: dict[str, Colour] = {
        "background": theme.background,
        "ground": theme.ground,
        "text": theme.text,
        **{body_name(actor): theme.of_limb("body", actor) for actor in range(len(theme.bodies))},
        **{limb: theme.of_limb(limb) for limb in limbs},
    }
    return "".join(f"--{name}:#{red:02x}{green:02x}{blue:02x};" for name, (red, green, blue) in colours.items())
