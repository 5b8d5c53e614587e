"""glTF 2.0 scenes in one binary file, ``.glb``, for 3-D viewers, game engines and Blender.

A figure lies in a plane and its bones change their length, so it is not a skinned mesh. Every segment is a unit
cylinder that a node places, turns and stretches, and every joint is a ball. One animation has the tracks of all nodes.
"""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import stickgen
from stickgen.render.angles import angles_of
from stickgen.render.draw import HEAD_RADIUS, LINE
from stickgen.render.panel import Panel
from stickgen.render.style import Colour, Style

_FLOAT, _USHORT = 5126, 5123
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963
_MAGIC, _VERSION, _JSON, _BIN = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
_DEPTH = {"left": -0.02, "right": 0.02}
"""z of limbs: where they cover each other, surfaces in one plane would flicker."""
_SIDES = 12
_SHORTEST = 1e-6
"""A segment without length would make its node's matrix singular."""


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write the motion of one panel.

    Every actor is a node, with a child for each joint, which moves, and one for each segment: ``translation`` is the
    segment's start, ``rotation`` about z its direction, and ``scale`` along x its length. Names are those of
    :mod:`stickgen.motion.skeleton`, those of segments with ``_segment`` behind them. Lengths are body heights. Left
    limbs lie 0.02 behind the body, right ones before it.
    """
    (panel,) = panels
    scene = _Scene(np.arange(panel.frames) / fps)
    roots = []
    for actor in range(panel.actors.shape[1]):
        children = [*_joints(scene, panel, actor, style), *_segments(scene, panel, actor, style)]
        roots.append(scene.node("figure" if actor == 0 else f"figure {actor + 1}", children=children))
    path.write_bytes(scene.packed(roots, panel.caption or "stick figure"))


def _joints(scene: "_Scene", panel: Panel, actor: int, style: Style) -> list[int]:
    tracks = {name: panel.joints[:, actor, number] for number, name in enumerate(panel.skeleton.joints)}
    tracks["head"] = panel.heads[:, actor]
    nodes = []
    for name, track in tracks.items():
        limb = _limb_of_joint(name)
        radius = HEAD_RADIUS if name == "head" else LINE / 2
        mesh = scene.mesh("ball", style.colours.of_limb(limb, actor))
        node = scene.node(name, mesh=mesh, scale=[radius] * 3)
        scene.animate(node, "translation", _at_depth(track, limb))
        nodes.append(node)
    return nodes


def _limb_of_joint(joint: str) -> str:
    side, _, part = joint.partition("_")
    if not part:
        return "body"
    return f"{side}_arm" if part in ("shoulder", "elbow", "wrist") else f"{side}_leg"


def _segments(scene: "_Scene", panel: Panel, actor: int, style: Style) -> list[int]:
    nodes = []
    for name, limb, ends in panel.named_lines:
        pair = ends[:, actor]
        way = pair[:, 1] - pair[:, 0]
        half = angles_of(way) / 2
        length = np.maximum(np.linalg.norm(way, axis=1), _SHORTEST)
        node = scene.node(f"{name}_segment", mesh=scene.mesh("bone", style.colours.of_limb(limb, actor)))
        scene.animate(node, "translation", _at_depth(pair[:, 0], limb))
        scene.animate(node, "rotation", np.stack((0 * half, 0 * half, np.sin(half), np.cos(half)), axis=1))
        scene.animate(node, "scale", np.stack((length, np.ones_like(length), np.ones_like(length)), axis=1))
        nodes.append(node)
    return nodes


def _at_depth(track: np.ndarray, limb: str) -> np.ndarray:
    """Return a track ``[T, 2]`` in space."""
    depth = _DEPTH.get(limb.partition("_")[0], 0.0)
    return np.concatenate((track, np.full((len(track), 1), depth)), axis=1)


class _Scene:
    """A scene of nodes with one animation, whose numbers lie in one buffer.

    Args:
        times: of the frames, in seconds.
    """

    def __init__(self, times: np.ndarray) -> None:
        self._buffer = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._nodes: list[dict[str, Any]] = []
        self._meshes: dict[tuple[str, Colour], int] = {}
        self._channels: list[dict[str, Any]] = []
        self._samplers: list[dict[str, Any]] = []
        self._times = self._numbers(times, "SCALAR", bounds=True)
        self._shapes = {
            name: (
                self._numbers(points, "VEC3", _ARRAY_BUFFER, bounds=True),
                self._numbers(corners, "SCALAR", _ELEMENT_BUFFER, _USHORT),
            )
            for name, (points, corners) in (("bone", _cylinder()), ("ball", _ball()))
        }

    def node(self, name: str, **properties: Any) -> int:
        """Add a node and return its number."""
        self._nodes.append({"name": name, **properties})
        return len(self._nodes) - 1

    def mesh(self, shape: str, colour: Colour) -> int:
        """Return the mesh of a shape in a colour."""
        return self._meshes.setdefault((shape, colour), len(self._meshes))

    def animate(self, node: int, path: str, values: np.ndarray) -> None:
        """Give a node a track ``[T, 3]``, or ``[T, 4]`` of rotations."""
        output = self._numbers(values, f"VEC{values.shape[1]}")
        self._channels.append({"sampler": len(self._samplers), "target": {"node": node, "path": path}})
        self._samplers.append({"input": self._times, "output": output, "interpolation": "LINEAR"})

    def packed(self, roots: list[int], name: str) -> bytes:
        """Return the file."""
        content = {
            "asset": {"version": "2.0", "generator": f"stickgen {stickgen.__version__}"},
            "extensionsUsed": ["KHR_materials_unlit"],
            "scene": 0,
            "scenes": [{"name": name, "nodes": roots}],
            "nodes": self._nodes,
            "meshes": [
                {"name": shape, "primitives": [{"attributes": {"POSITION": points}, "indices": corners, "material": i}]}
                for i, (shape, _) in enumerate(self._meshes)
                for points, corners in [self._shapes[shape]]
            ],
            "materials": [
                {
                    "pbrMetallicRoughness": {"baseColorFactor": [*_linear(colour), 1.0], "metallicFactor": 0.0},
                    "extensions": {"KHR_materials_unlit": {}},
                }
                for _, colour in self._meshes
            ],
            "animations": [{"name": "motion", "channels": self._channels, "samplers": self._samplers}],
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._buffer)}],
        }
        text = json.dumps(content, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), _JSON) + text
        chunks += struct.pack("<II", len(self._buffer), _BIN) + self._buffer
        return struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks

    def _numbers(
        self, values: np.ndarray, kind: str, target: int | None = None, of: int = _FLOAT, bounds: bool = False
    ) -> int:
        """Add numbers ``[N]`` or ``[N, C]`` to the buffer and return the number of their accessor."""
        stored = values.astype("<f4" if of == _FLOAT else "<u2")
        view = {"buffer": 0, "byteOffset": len(self._buffer), "byteLength": stored.nbytes}
        self._views.append(view if target is None else {**view, "target": target})
        self._buffer += stored.tobytes() + bytes(-stored.nbytes % 4)
        accessor = {"bufferView": len(self._views) - 1, "componentType": of, "count": len(stored), "type": kind}
        if bounds:
            columns = stored.reshape(len(stored), -1)
            accessor |= {"min": columns.min(axis=0).tolist(), "max": columns.max(axis=0).tolist()}
        self._accessors.append(accessor)
        return len(self._accessors) - 1


def _cylinder() -> tuple[np.ndarray, np.ndarray]:
    """Return the points and triangles of a tube from x = 0 to 1, as wide as a line."""
    turn = np.arange(_SIDES) * 2 * np.pi / _SIDES
    ring = LINE / 2 * np.stack((np.cos(turn), np.sin(turn)), axis=1)
    points = np.concatenate([np.insert(ring, 0, x, axis=1) for x in (0.0, 1.0)])
    return points, _band(0, _SIDES)


def _ball() -> tuple[np.ndarray, np.ndarray]:
    """Return the points and triangles of a ball of radius 1."""
    turn = np.arange(_SIDES) * 2 * np.pi / _SIDES
    heights = np.linspace(0, np.pi, _SIDES // 2 + 1)[1:-1]
    rings = [
        np.stack((np.full(_SIDES, np.cos(h)), np.sin(h) * np.cos(turn), np.sin(h) * np.sin(turn)), axis=1)
        for h in heights
    ]
    points = np.concatenate([*rings, [[1.0, 0, 0], [-1.0, 0, 0]]])
    first, last = len(points) - 2, len(points) - 1
    here, after = np.arange(_SIDES), (np.arange(_SIDES) + 1) % _SIDES
    end = last - 1 - _SIDES
    caps = [
        np.stack((np.full(_SIDES, first), here, after), axis=1).ravel(),
        np.stack((np.full(_SIDES, last), end + after, end + here), axis=1).ravel(),
    ]
    return points, np.concatenate([*caps, *(_band(k * _SIDES, (k + 1) * _SIDES) for k in range(len(rings) - 1))])


def _band(first: int, second: int) -> np.ndarray:
    """Return the triangles between two rings of points, which begin at these numbers."""
    here, after = np.arange(_SIDES), (np.arange(_SIDES) + 1) % _SIDES
    corners = (first + here, second + here, second + after, first + here, second + after, first + after)
    return np.stack(corners, axis=1).ravel()


def _linear(colour: Colour) -> list[float]:
    """Return an sRGB colour as shares of light, as glTF wants it (IEC 61966-2-1)."""
    shares = np.array(colour) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4).tolist()
