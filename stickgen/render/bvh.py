"""Planar skeletons as BVH, which Blender, MotionBuilder and most other animation software open.

BVH describes bones of constant length by rotations. A stick figure is a projection, so its bones change their length,
and no constant skeleton moves as it does. So every joint has both kinds of channels:

* a rotation about z, which turns the joint's frame so that the bone to its child points as in the motion. Software that
  reads rotations only gets the right directions, with bones of mean length;
* a position, in the frame of its parent, which replaces the OFFSET. Blender and most other readers take it so. It
  carries the length of the bone, and joints then lie where they lie in the motion: Blender 5.0 shows them within 2e-6
  body heights.

The figure lies in the plane z = 0, y points up, and a body is about 1 high. The rest pose hangs arms and legs down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np

from stickgen.motion.skeleton import STICK_5, STICK_12, Skeleton
from stickgen.render.angles import angles_of
from stickgen.render.panel import Panel
from stickgen.render.style import Style

_CHANNELS = "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
_UP, _DOWN = (0.0, 1.0), (0.0, -1.0)
_END = 0.05
"""Length of the End Sites, which software draws as the last bone of a limb."""
_DIGITS = 6


@dataclass(frozen=True)
class _Node:
    """A joint of the file.

    Attributes:
        name: its name.
        parent: that of the joint it hangs on.
        at: the figure's joint where it lies.
        to: the figure's joint that its bone points to; None: it turns with its parent.
        rest: where the bone points in the rest pose.
    """

    name: str
    parent: str | None
    at: str
    to: str | None = None
    rest: tuple[float, float] = _DOWN


_TREES: dict[Skeleton, tuple[_Node, ...]] = {
    STICK_5: (
        _Node("pelvis", None, "pelvis", "neck", _UP),
        _Node("neck", "pelvis", "neck", rest=_UP),
        _Node("head", "neck", "head", rest=_UP),
        # The joints where limbs begin, since a joint turns only one bone.
        *(node for side in ("left", "right") for node in (
            _Node(f"{side}_shoulder", "neck", "neck", f"{side}_wrist"),
            _Node(f"{side}_wrist", f"{side}_shoulder", f"{side}_wrist"),
        )),
        *(node for side in ("left", "right") for node in (
            _Node(f"{side}_hip", "pelvis", "pelvis", f"{side}_ankle"),
            _Node(f"{side}_ankle", f"{side}_hip", f"{side}_ankle"),
        )),
    ),
    STICK_12: (
        _Node("pelvis", None, "pelvis", "chest", _UP),
        _Node("chest", "pelvis", "chest", "neck", _UP),
        _Node("neck", "chest", "neck", "head", _UP),
        _Node("head", "neck", "head", rest=_UP),
        *(node for parent, names in (
            ("chest", ("shoulder", "elbow", "wrist")), ("pelvis", ("hip", "knee", "ankle")),
        ) for side in ("left", "right") for node in (
            _Node(f"{side}_{names[0]}", parent, f"{side}_{names[0]}", f"{side}_{names[1]}"),
            _Node(f"{side}_{names[1]}", f"{side}_{names[0]}", f"{side}_{names[1]}", f"{side}_{names[2]}"),
            _Node(f"{side}_{names[2]}", f"{side}_{names[1]}", f"{side}_{names[2]}"),
        )),
    ),
}  # fmt: skip
"""Depth first, for the channels of a frame are in the order of the joints."""


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write the motion of one panel with one figure.

    Where the segments of a motion do not meet, the first one that has a joint counts, see
    :meth:`~stickgen.motion.skeleton.Skeleton.to_joints`. The 20-number figure gets a head as pictures draw it.
    """
    (panel,) = panels
    tree = _TREES[panel.skeleton]
    offsets, channels = _channels(panel, tree)
    text = StringIO()
    text.write("HIERARCHY\n")
    _write_node(text, tree, offsets, tree[0], 0)
    text.write(f"MOTION\nFrames: {panel.frames}\nFrame Time: {1 / fps:.8f}\n")
    np.savetxt(text, channels, fmt=f"%.{_DIGITS}f")
    path.write_text(text.getvalue(), encoding="utf-8")


def _channels(panel: Panel, tree: Sequence[_Node]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the OFFSET ``[2]`` of every node, and the numbers of all channels ``[T, 6 N]``."""
    places = {name: panel.joints[:, 0, number] for number, name in enumerate(panel.skeleton.joints)}
    places["head"] = panel.heads[:, 0]
    turned: dict[str | None, np.ndarray] = {None: np.zeros(panel.frames)}
    offsets: dict[str, np.ndarray] = {}
    channels = np.zeros((panel.frames, len(tree), 6))
    at_of = {node.name: node.at for node in tree}
    for number, node in enumerate(tree):
        before = turned[node.parent]
        away = places[node.at] - (0.0 if node.parent is None else places[at_of[node.parent]])
        local = _rotated(away, -before)
        turned[node.name] = before
        if node.to is not None:
            rest = float(np.arctan2(node.rest[1], node.rest[0]))
            bone = angles_of(places[node.to] - places[node.at], rest) - rest
            # The whole turns between this joint's count and its parent's mean nothing.
            turned[node.name] = bone - 2 * np.pi * np.round((bone[0] - before[0]) / (2 * np.pi))
        channels[:, number, :2] = local
        channels[:, number, 3] = np.degrees(turned[node.name] - before)
        offsets[node.name] = np.zeros(2) if node.parent is None else _typical(local)
    # Adding 0 makes of -0 what it is.
    return offsets, channels.reshape(panel.frames, -1).round(_DIGITS) + 0.0


def _typical(local: np.ndarray) -> np.ndarray:
    """Return the OFFSET of places ``[T, 2]``: their mean, or 0 for those that lie around the parent.

    Some readers guess from the OFFSET whether positions replace it or are added to it. With 0 both are the same.
    """
    mean = local.mean(axis=0)
    around = np.median(np.linalg.norm(local - mean, axis=1)) >= np.median(np.linalg.norm(local, axis=1))
    return np.zeros(2) if around else mean


def _rotated(vectors: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return vectors ``[T, 2]`` turned by angles ``[T]``."""
    x, y = vectors.T
    return np.stack((x * np.cos(angles) - y * np.sin(angles), x * np.sin(angles) + y * np.cos(angles)), axis=1)


def _write_node(text: StringIO, tree: Sequence[_Node], offsets: dict[str, np.ndarray], node: _Node, depth: int) -> None:
    tab = "\t" * depth
    text.write(f"{tab}{'ROOT' if node.parent is None else 'JOINT'} {node.name}\n{tab}{{\n")
    text.write(f"{tab}\tOFFSET {_offset(offsets[node.name])}\n{tab}\t{_CHANNELS}\n")
    children = [child for child in tree if child.parent == node.name]
    for child in children:
        _write_node(text, tree, offsets, child, depth + 1)
    if not children:
        end = _offset(_END * np.array(node.rest))
        text.write(f"{tab}\tEnd Site\n{tab}\t{{\n{tab}\t\tOFFSET {end}\n{tab}\t}}\n")
    text.write(f"{tab}}}\n")


def _offset(place: np.ndarray) -> str:
    x, y = place.round(_DIGITS) + 0.0
    return f"{x:.{_DIGITS}f} {y:.{_DIGITS}f} {0:.{_DIGITS}f}"
