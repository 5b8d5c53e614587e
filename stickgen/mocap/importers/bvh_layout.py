"""Rewriting BVH files that pybvh refuses into ones that it reads.

pybvh (0.9) reads any rotation order, but wants the root to have X, Y, Z position and three rotations, every other joint
exactly three rotations and no position, and names without spaces. Files in the wild differ: MotionBuilder, Blender and
Bandai Namco write six channels on every joint, others leave channels out or list the root's positions in another order.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from stickgen.errors import DataError

_XYZ = ("X", "Y", "Z")


@dataclass
class _Node:
    """A ROOT or JOINT and its channels in the order of the file, as ("p" or "r", axis)."""

    name: str
    root: bool
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: list[tuple[str, str]] = field(default_factory=list)

    def axes(self, kind: str) -> list[str]:
        return [axis for k, axis in self.channels if k == kind]

    @property
    def rotation_order(self) -> list[str]:
        """The three rotation axes; those the file leaves out, which stay at 0, come last."""
        return self.axes("r") + [axis for axis in _XYZ if axis not in self.axes("r")]

    @property
    def plain(self) -> bool:
        positions = list(_XYZ) if self.root else []
        return self.axes("p") == positions and len(self.axes("r")) == 3 and " " not in self.name


def canonical_bvh(text: str, where: str) -> tuple[str, dict[int, np.ndarray]] | None:
    """Rewrite a BVH file for pybvh.

    Args:
        text: the file.
        where: its path, for messages.

    Returns:
        None where pybvh reads the file as it is; else the text for it, and the translations that had to be taken out:
        for a joint, counted in the order of the file without End Sites, float64 ``[T, 3]``, its place relative to its
        parent in every frame.

    Raises:
        DataError: the file is not BVH, or its numbers do not fit its channels.
    """
    nodes, lines, motion_at = _read_hierarchy(text, where)
    if all(node.plain for node in nodes):
        return None
    count, frame_time, values = _read_motion(lines[motion_at:], sum(len(node.channels) for node in nodes), where)
    columns: list[np.ndarray] = []
    translations: dict[int, np.ndarray] = {}
    first = 0
    for index, node in enumerate(nodes):
        block = {channel: values[:, first + i] for i, channel in enumerate(node.channels)}
        first += len(node.channels)
        zero = np.zeros(count)
        if node.root:
            columns += [block.get(("p", axis), zero) for axis in _XYZ]
        elif node.axes("p"):
            translations[index] = _translation(node, block, count)
        columns += [block.get(("r", axis), zero) for axis in node.rotation_order]
    motion = "\n".join(" ".join(repr(float(v)) for v in row) for row in np.stack(columns, axis=1))
    header = "\n".join(_rewrite_hierarchy(lines[:motion_at], nodes))
    return f"{header}\nMOTION\nFrames: {count}\nFrame Time: {frame_time!r}\n{motion}\n", translations


def _translation(node: _Node, block: dict[tuple[str, str], np.ndarray], count: int) -> np.ndarray:
    """Place of a joint relative to its parent.

    Most programs write the whole translation, which replaces the OFFSET; some write the deviation from it. Whichever
    lies nearer to the bone that OFFSET describes is taken.
    """
    whole = np.stack([block.get(("p", axis), np.full(count, node.offset[i])) for i, axis in enumerate(_XYZ)], axis=1)
    deviation = np.stack([block.get(("p", axis), np.zeros(count)) for axis in _XYZ], axis=1)
    strays_as_whole = np.median(np.linalg.norm(whole - node.offset, axis=1))
    strays_as_deviation = np.median(np.linalg.norm(deviation, axis=1))
    return node.offset + deviation if strays_as_deviation < strays_as_whole else whole


def _read_hierarchy(text: str, where: str) -> tuple[list[_Node], list[str], int]:
    lines = text.lstrip("\ufeff").splitlines()
    nodes: list[_Node] = []
    open_node: _Node | None = None
    for number, line in enumerate(lines):
        words = line.split()
        if not words:
            continue
        keyword = words[0].upper()
        try:
            if keyword == "MOTION":
                if nodes:
                    return nodes, lines, number
                break
            if keyword in ("ROOT", "JOINT"):
                if len(words) < 2:
                    raise ValueError("a name expected")
                open_node = _Node(name=" ".join(words[1:]), root=keyword == "ROOT")
                nodes.append(open_node)
            elif keyword == "END":
                open_node = None
            elif keyword == "OFFSET" and open_node is not None:
                x, y, z = (float(word) for word in words[1:])
                open_node.offset = np.array([x, y, z])
            elif keyword == "CHANNELS" and open_node is not None:
                open_node.channels = _channels(words)
        except ValueError as error:
            raise DataError(f"{where}: line {number + 1}: {line.strip()!r}: {error}") from None
    raise DataError(f"{where}: not a BVH file: no HIERARCHY with a ROOT, followed by MOTION, found")


def _channels(words: list[str]) -> list[tuple[str, str]]:
    if len(words) < 2:
        raise ValueError("a number of channels expected")
    channels: list[tuple[str, str]] = []
    for word in words[2:]:
        match = re.fullmatch(r"([XYZ])(position|rotation)", word, flags=re.IGNORECASE)
        if match is None:
            raise ValueError(f"channel {word} is neither a position nor a rotation about X, Y or Z")
        channels.append((match[2][0].lower(), match[1].upper()))
    if len(channels) != int(words[1]) or len(set(channels)) != len(channels):
        raise ValueError(f"{words[1]} different channels expected")
    return channels


def _read_motion(lines: list[str], channels: int, where: str) -> tuple[int, float, np.ndarray]:
    body = "\n".join(lines[1:])
    head = re.match(r"\s*Frames\s*:\s*(\d+)\s+Frame\s+Time\s*:\s*(\S+)", body, flags=re.IGNORECASE)
    if head is None:
        raise DataError(f"{where}: MOTION without 'Frames:' and 'Frame Time:'")
    try:
        count, frame_time = int(head[1]), float(head[2])
        values = np.array(body[head.end() :].split(), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: MOTION: {error}") from None
    if values.size != count * channels or not count:
        raise DataError(
            f"{where}: MOTION: {count} frames of {channels} channels make {count * channels} numbers, "
            f"{values.size} found"
        )
    return count, frame_time, values.reshape(count, channels)


def _rewrite_hierarchy(lines: list[str], nodes: list[_Node]) -> list[str]:
    written: list[str] = []
    rest = iter(nodes)
    node: _Node | None = None
    for line in lines:
        words = line.split()
        keyword = words[0].upper() if words else ""
        if keyword in ("ROOT", "JOINT"):
            node = next(rest)
            written.append(f"{keyword} {re.sub(r'[ ]+', '_', node.name)}")
        elif keyword == "END":
            node = None
            written.append("End Site")
        elif keyword == "OFFSET" and node is not None:
            # The channels follow right here, so that a joint without any gets its rotations too.
            positions = "Xposition Yposition Zposition " if node.root else ""
            rotations = " ".join(f"{axis}rotation" for axis in node.rotation_order)
            written += [line, f"CHANNELS {6 if node.root else 3} {positions}{rotations}"]
        elif keyword != "CHANNELS":
            written.append(line)
    return written
