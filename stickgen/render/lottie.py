"""Lottie animations, JSON that players for web, Android and iOS draw; see the specification at lottie.github.io."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import stickgen
from stickgen.render.camera import views_of
from stickgen.render.draw import FADED, HEAD_RADIUS, LINE, TICK, PanelPainter
from stickgen.render.panel import Panel
from stickgen.render.style import Colour, Style

_SPECIFICATION = 10000
"""Version 1.0.0."""
_DIGITS = 3
_STRAIGHT = {"i": {"x": [1], "y": [1]}, "o": {"x": [0], "y": [0]}}
"""The handles of a keyframe from which the way to the next is even."""
_SHAPES, _ROUND = 4, 2


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write the motion of one panel, on a transparent ground.

    Coordinates are pixels. Every figure is a layer of shapes, with a group for each segment, whose path has a keyframe
    a frame. The last layer is the ground.
    """
    (panel,) = panels
    (view,) = views_of(panels, style.camera)
    painter = PanelPainter(panel, view, style)
    frames = panel.frames
    scale = painter.scale
    layers: list[dict[str, Any]] = []
    for actor in range(panel.actors.shape[1]):
        name = "figure" if actor == 0 else f"figure {actor + 1}"
        body = style.colours.of_limb("body", actor)
        head = {
            "ty": "el",
            "p": _animated([_rounded(point) for point in painter.track(panel.heads[:, actor])]),
            "s": _fixed([_number(2 * HEAD_RADIUS * scale)] * 2),
        }
        shapes = [_group("skull", head, {"ty": "fl", "c": _fixed(_share(body)), "o": _fixed(100)})]
        # The first shape is drawn last.
        for line, limb, ends in reversed(panel.named_lines):
            way = _animated([[_line(pair)] for pair in painter.track(ends[:, actor])])
            stroke = _stroke(style.colours.of_limb(limb, actor), LINE * scale)
            shapes.append(_group(line, {"ty": "sh", "ks": way}, stroke))
        layers.insert(0, _layer(name, shapes, frames, panel.given))
    layers.append(_layer("ground", [_ground(painter, view.centre, view.width, style)], frames, 0))
    content = {
        "ver": _SPECIFICATION,
        "v": "5.7.0",  # what players of before the specification ask for
        "nm": panel.caption or "stick figure",
        "meta": {"g": f"stickgen {stickgen.__version__}"},
        "w": painter.size[0],
        "h": painter.size[1],
        "fr": fps,
        "ip": 0,
        "op": frames,
        "assets": [],
        "layers": [{"ind": number + 1, **layer} for number, layer in enumerate(layers)],
    }
    path.write_text(json.dumps(content, separators=(",", ":")), encoding="utf-8")


def _ground(painter: PanelPainter, centre: np.ndarray, width: float, style: Style) -> dict[str, Any]:
    """Return the ground line and its ticks, which move against the camera."""
    scale = painter.scale
    left, right = centre.min() - width / 2, centre.max() + width / 2
    ticks = np.arange(np.ceil(left / TICK), np.floor(right / TICK) + 1) * TICK
    ways = [np.array([[left, 0], [right, 0]]), *(np.array([[x, 0], [x, -LINE]]) for x in ticks)]
    lines = [{"ty": "sh", "ks": _fixed(_line(way * [scale, -scale]))} for way in ways]
    stroke = _stroke(style.colours.ground, LINE / 3 * scale)
    origin = painter.track(np.zeros((len(centre), 2)))
    return _group("ground", *lines, stroke, position=_animated([_rounded(point) for point in origin]))


def _layer(name: str, shapes: list[dict[str, Any]], frames: int, given: int) -> dict[str, Any]:
    opacity = _fixed(100)
    if given:
        opacity = {"a": 1, "k": [{"t": 0, "s": [100 * FADED], "h": 1}, {"t": given, "s": [100]}]}
    transform = {"p": _fixed([0, 0]), "a": _fixed([0, 0]), "s": _fixed([100, 100]), "r": _fixed(0), "o": opacity}
    return {"ty": _SHAPES, "nm": name, "st": 0, "ip": 0, "op": frames, "ks": transform, "shapes": shapes}


def _group(name: str, *items: dict[str, Any], position: dict[str, Any] | None = None) -> dict[str, Any]:
    rest = {"a": _fixed([0, 0]), "s": _fixed([100, 100]), "r": _fixed(0), "o": _fixed(100)}
    return {"ty": "gr", "nm": name, "it": [*items, {"ty": "tr", "p": position or _fixed([0, 0]), **rest}]}


def _stroke(colour: Colour, width: float) -> dict[str, Any]:
    looks = {"c": _fixed(_share(colour)), "o": _fixed(100), "w": _fixed(_number(width))}
    return {"ty": "st", **looks, "lc": _ROUND, "lj": _ROUND}


def _line(ends: np.ndarray) -> dict[str, Any]:
    """Return a straight path between two points ``[2, 2]``."""
    still = [[0, 0], [0, 0]]
    return {"c": False, "v": [_rounded(point) for point in ends], "i": still, "o": still}


def _fixed(value: Any) -> dict[str, Any]:
    return {"a": 0, "k": value}


def _animated(values: list[Any]) -> dict[str, Any]:
    """Return a property with a value a frame."""
    if len(values) == 1:
        (value,) = values
        return _fixed(value[0] if isinstance(value[0], dict) else value)
    return {"a": 1, "k": [{"t": frame, "s": value, **_STRAIGHT} for frame, value in enumerate(values)]}


def _share(colour: Colour) -> list[float]:
    return [_number(part / 255) for part in colour]


def _rounded(point: np.ndarray) -> list[float]:
    return [_number(value) for value in point]


def _number(value: float) -> float:
    return round(float(value), _DIGITS)
