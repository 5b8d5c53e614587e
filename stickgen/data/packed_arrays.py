"""The arrays of clips in a packed file, and the head of the file that says where each lies."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from stickgen.data.clips import CAMERA_DIM, PHYSICS_DIM
from stickgen.data.table import FLAGS as LABELS
from stickgen.data.table import ClipTable

TRACKS = ("motion", "embedding", "physics", "camera", "actions")
"""Arrays of clips, in the order in which a clip's digest covers them."""

_SAFETENSORS = {"float32": "F32", "float64": "F64", "int32": "I32", "int64": "I64", "uint8": "U8"}

Layout: TypeAlias = dict[str, tuple[str, tuple[int, ...]]]
"""Array → its type, as NumPy calls it, and its shape; in the order of the file."""


def layout_of(table: ClipTable) -> Layout:
    """Return the arrays of clips that are not cut; labels that no clip has have none."""
    frames = table.length.astype(np.int64)
    labelled = {name: int(frames[getattr(table, f"has_{name}")].sum()) for name in LABELS}
    arrays: Layout = {
        "motion": ("float32", (int((frames * table.dim).sum()),)),
        "embedding": ("float32", (len(table), int(table.width[0]))),
        "physics": ("float32", (labelled["physics"], PHYSICS_DIM)),
        "camera": ("float32", (labelled["camera"], CAMERA_DIM)),
        "actions": ("uint8", (labelled["actions"],)),
    }
    return {name: array for name, array in arrays.items() if labelled.get(name) != 0}


def aligned(layout: Layout) -> Layout:
    """Return the arrays, those of the widest numbers first: then each begins at a whole multiple of its width."""
    return dict(sorted(layout.items(), key=lambda item: -np.dtype(item[1][0]).itemsize))


def header(layout: Layout, metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """Return the head of a safetensors file, and at which byte of the file each array begins."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    begins, at = {}, 0
    for name, (kind, shape) in layout.items():
        size = np.dtype(kind).itemsize * int(np.prod(shape, dtype=np.int64))
        entries[name] = {"dtype": _SAFETENSORS[kind], "shape": shape, "data_offsets": [at, at + size]}
        begins[name] = at
        at += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays lie at whole multiples of their numbers' size
    head = len(text).to_bytes(8, "little") + text
    return head, {name: len(head) + begin for name, begin in begins.items()}
