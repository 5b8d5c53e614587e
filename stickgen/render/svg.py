"""An animated vector graphic, ``.svg``: SMIL moves it in every browser, as an image of a page too; no script."""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from stickgen.render.camera import views_of
from stickgen.render.draw import FADED, HEAD_RADIUS, LINE, TICK, PanelPainter
from stickgen.render.panel import Panel
from stickgen.render.style import Colour, Style

_DIGITS = 4


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write the motion of one panel.

    Coordinates are body heights, y down from the ground. A path is a segment, ``M x1 y1 L x2 y2``, rounded to 4 places;
    its class is the segment's name. A group around the figures moves against the camera. The picture repeats for ever,
    and its title is the caption.
    """
    (panel,) = panels
    (view,) = views_of(panels, style.camera)
    width, height = PanelPainter(panel, view, style).size
    across, high = view.width, view.top - view.bottom
    root = ElementTree.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "width": str(width),
            "height": str(height),
            "viewBox": f"{_text(-across / 2)} {_text(-view.top)} {_text(across)} {_text(high)}",
        },
    )
    ElementTree.SubElement(root, "title").text = panel.caption or "stick figure"
    colours = style.colours
    box = {"x": _text(-across / 2), "y": _text(-view.top), "width": _text(across), "height": _text(high)}
    ElementTree.SubElement(root, "rect", {**box, "fill": _hex(colours.background)})
    world = ElementTree.SubElement(root, "g")
    # Each frame is shown until the next: the last one is given twice.
    duration = {"dur": f"{panel.frames / fps:.6g}s", "repeatCount": "indefinite"}
    shifts = [f"{_text(-x)} 0" for x in _and_last(view.centre)]
    ElementTree.SubElement(
        world,
        "animateTransform",
        {"attributeName": "transform", "type": "translate", "values": ";".join(shifts), **duration},
    )
    left, right = view.centre.min() - across / 2, view.centre.max() + across / 2
    ticks = np.arange(np.ceil(left / TICK), np.floor(right / TICK) + 1) * TICK
    marks = "".join(f"M{_text(x)} 0V{_text(LINE)}" for x in ticks)
    ground = {"stroke": _hex(colours.ground), "stroke-width": _text(LINE / 3)}
    ElementTree.SubElement(world, "path", {"d": f"M{_text(left)} 0H{_text(right)}{marks}", **ground})
    for actor in range(panel.actors.shape[1]):
        figure = ElementTree.SubElement(world, "g", {"stroke-width": _text(LINE), "stroke-linecap": "round"})
        if panel.given:
            share = {"keyTimes": f"0;{panel.given / panel.frames:.6g}", "calcMode": "discrete"}
            shown = {"attributeName": "opacity", "values": f"{FADED};1"}
            ElementTree.SubElement(figure, "animate", {**shown, **share, **duration})
        for name, limb, ends in panel.named_lines:
            placed = (ends[:, actor] * [1, -1]).reshape(-1, 4)
            ways = [f"M{_text(a)} {_text(b)}L{_text(c)} {_text(d)}" for a, b, c, d in _and_last(placed)]
            stroke = {"stroke": _hex(colours.of_limb(limb, actor)), "d": ways[0], "class": name}
            line = ElementTree.SubElement(figure, "path", stroke)
            ElementTree.SubElement(line, "animate", {"attributeName": "d", "values": ";".join(ways), **duration})
        round_head = {"r": _text(HEAD_RADIUS), "fill": _hex(colours.of_limb("body", actor)), "class": "skull"}
        head = ElementTree.SubElement(figure, "circle", round_head)
        for axis, track in (("cx", panel.heads[:, actor, 0]), ("cy", -panel.heads[:, actor, 1])):
            values = [_text(value) for value in _and_last(track)]
            head.set(axis, values[0])
            ElementTree.SubElement(head, "animate", {"attributeName": axis, "values": ";".join(values), **duration})
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _and_last(track: np.ndarray) -> list[np.ndarray]:
    """Return the frames of a track, and the last one again."""
    return [*track, track[-1]]


def _text(number: float | np.ndarray) -> str:
    return f"{round(float(number), _DIGITS) + 0.0:.10g}"


def _hex(colour: Colour) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
