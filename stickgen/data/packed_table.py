"""The table of packed files: a column an array, so that it is mapped into memory and no row of it is parsed."""

import codecs
from typing import Any

import numpy as np
import torch

from stickgen.data.table import FLAGS, SPLITS, TEXTS, ClipInfos, ClipTable
from stickgen.data.texts import Texts
from stickgen.digests import DIGEST_LENGTH
from stickgen.motion.actions import NUM_ACTIONS
from stickgen.motion.skeleton import SKELETONS

FORMAT = "stickgen clips 2"
"""Stands under "format" in the metadata."""

PREFIX = "clips."
"""Of the names of the table's arrays."""

_COLUMNS = {
    "frames": np.int32,
    "dim": np.uint8,
    "label_ends": np.int64,
    "actions": np.uint8,
    "physics": np.uint8,
    "camera": np.uint8,
    "partner": np.int32,
    "quality": np.float64,
    "split": np.uint8,
    "index": np.int32,
    "actor": np.int32,
    **dict.fromkeys(TEXTS, np.int32),
}
"""Arrays of a number a row. The texts of a column are in two more (:class:`~stickgen.data.texts.Texts`)."""

_OTHERS = {
    "labels": np.uint8,
    "label_frames": np.int32,
    **{f"{name}.text": np.uint8 for name in TEXTS},
    **{f"{name}.ends": np.int64 for name in TEXTS},
}
_SUBJECT = ("subject", "subject.text", "subject.ends")
"""Left out of files in which nobody is named."""

_CHECKED_AT_ONCE = 1 << 20


def table_arrays(infos: ClipInfos) -> dict[str, np.ndarray]:
    """Return the arrays of the table of a whole store, with digests of zeros.

    Args:
        infos: of clips that are not cut.
    """
    table = infos.table
    own = {"frames": "length", **{name: f"has_{name}" for name in FLAGS}}
    arrays: dict[str, np.ndarray] = {
        name: getattr(table, own.get(name, name)) for name in (*_COLUMNS, "labels", "label_frames") if name not in TEXTS
    }
    for name in TEXTS:
        texts: Texts = getattr(table, name)
        arrays |= {name: texts.codes, f"{name}.text": texts.data, f"{name}.ends": texts.ends}
    if not len(table.subject.data):
        arrays = {name: array for name, array in arrays.items() if name not in _SUBJECT}
    kinds = _COLUMNS | _OTHERS
    digests = np.zeros((len(table), DIGEST_LENGTH // 2), dtype=np.uint8)
    return {PREFIX + name: array.astype(kinds[name]) for name, array in arrays.items()} | {f"{PREFIX}digest": digests}


def read_table(arrays: dict[str, torch.Tensor]) -> tuple[ClipTable, np.ndarray | None]:
    """Return the table of a file and its digests, uint8 ``[N, 8]``; None where it has none.

    Raises:
        LookupError, ValueError: it is not as documented.
    """
    kinds = _COLUMNS | _OTHERS
    if f"{PREFIX}subject" not in arrays:
        kinds = {name: kind for name, kind in kinds.items() if name not in _SUBJECT}
    columns = {name: arrays[PREFIX + name].numpy() for name in kinds}
    count = len(columns["frames"])
    for name, kind in kinds.items():
        column = columns[name]
        if column.dtype != kind or column.ndim != 1 or (name in _COLUMNS and len(column) != count):
            raise ValueError(f"{PREFIX}{name}: {np.dtype(kind)} of {count} rows expected")
    same = ("label_ends", "labels", "label_frames", "partner", "quality", "split", "index", "actor")
    others: dict[str, Any] = {name: columns[name] for name in same}
    others |= {f"has_{name}": _flags(columns[name], name) for name in FLAGS}
    others |= {name: _texts(columns, name) if name in columns else Texts.none(count) for name in TEXTS}
    table = ClipTable(
        length=columns["frames"],
        dim=columns["dim"],
        width=np.broadcast_to(np.int32(arrays["embedding"].shape[-1]), count),
        **others,
    )
    _check(table)
    digests = arrays[f"{PREFIX}digest"].numpy() if f"{PREFIX}digest" in arrays else None
    if digests is not None and (digests.dtype != np.uint8 or digests.shape != (count, DIGEST_LENGTH // 2)):
        raise ValueError(f"{PREFIX}digest: uint8 [{count}, {DIGEST_LENGTH // 2}] expected")
    return table, digests


def _texts(columns: dict[str, np.ndarray], name: str) -> Texts:
    codes, data, ends = columns[name], columns[f"{name}.text"], columns[f"{name}.ends"]
    _check_ends(ends, len(data), f"{name}.ends")
    if not 0 <= codes.min() <= codes.max() < len(ends):
        raise ValueError(f"{PREFIX}{name}: numbers of its {len(ends)} texts expected")
    decoder = codecs.getincrementaldecoder("utf-8")()
    for begin in range(0, len(data), _CHECKED_AT_ONCE):
        decoder.decode(data[begin : begin + _CHECKED_AT_ONCE].tobytes())
    decoder.decode(b"", final=True)
    # What continues a character is 10xxxxxx; no text may end before it.
    if bool(np.any(data[ends[ends < len(data)]] & 0xC0 == 0x80)):
        raise ValueError(f"{PREFIX}{name}.ends: ends of characters expected")
    return Texts(codes, data, ends)


def _flags(column: np.ndarray, name: str) -> np.ndarray:
    if column.max() > 1:
        raise ValueError(f"{PREFIX}{name}: 0 or 1 expected")
    return column.view(np.bool_)


def _check_ends(ends: np.ndarray, size: int, name: str) -> None:
    if not len(ends) or ends[0] < 0 or ends[-1] != size or bool(np.any(ends[1:] < ends[:-1])):
        raise ValueError(f"{PREFIX}{name}: rising numbers up to {size} expected")


def _check(table: ClipTable) -> None:
    _check_ends(table.label_ends, len(table.labels), "label_ends")
    if len(table.labels) != len(table.label_frames):
        raise ValueError("labels, label_frames: as many of one as of the other expected")
    begins = np.concatenate(([0], table.label_ends[:-1]))
    if bool(np.any((table.label_ends > begins) != table.has_actions)):
        raise ValueError("label_ends: labels of the clips that have some expected")
    if len(table.labels) and (table.labels.max() >= NUM_ACTIONS or table.label_frames.min() < 1):
        raise ValueError(f"labels: class indices 0 to {NUM_ACTIONS - 1} of at least one frame expected")
    if table.length.min() < 1 or not set(np.unique(table.dim).tolist()) <= set(SKELETONS):
        raise ValueError("frames, dim: clips of at least one frame of a known figure expected")
    if table.split.max() > len(SPLITS) or min(table.index.min(), table.actor.min()) < 0:
        raise ValueError("split, index, actor: a split's number from 0 to 3, and numbers from 0, expected")
    scored = table.quality[~np.isnan(table.quality)]
    if len(scored) and not 0 <= scored.min() <= scored.max() <= 1:
        raise ValueError("quality: numbers from 0 to 1, or NaN, expected")
    if not -1 <= table.partner.min() <= table.partner.max() < len(table):
        raise ValueError("partner: rows of the table, or -1, expected")
    paired = np.flatnonzero(table.partner >= 0)
    others = table.partner[paired]
    for column in (table.length, table.dim):
        wrong = paired[column[paired] != column[others]]
        if len(wrong):
            raise ValueError(f"partner: clip {wrong[0]} and clip {table.partner[wrong[0]]} do not go together")
