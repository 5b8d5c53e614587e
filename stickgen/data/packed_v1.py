"""The table of packed files of the first version: a JSON object of lists (docs/data.md)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from stickgen.data.clips import count_actions
from stickgen.data.table import FLAGS, SPLITS, TEXTS, ClipTable
from stickgen.data.texts import Texts
from stickgen.digests import DIGEST_LENGTH
from stickgen.motion.skeleton import SKELETONS
from stickgen.untrusted import parse_json

FORMAT = "stickgen clips 1"
"""Stands under "format" in the metadata."""

TABLE = "clips"

_COLUMNS: dict[str, tuple[type, ...]] = {
    "frames": (int,),
    "dim": (int,),
    "description": (str,),
    "take": (str,),
    "source": (str,),
    "quality": (int, float, type(None)),
    "split": (str, type(None)),
    "index": (int,),
    "actor": (int,),
    "partner": (int, type(None)),
    "actions": (bool,),
    "physics": (bool,),
    "camera": (bool,),
    "style": (str,),
}


def read_table(arrays: dict[str, torch.Tensor]) -> tuple[ClipTable, np.ndarray | None]:
    """Return the table of a file, and its digests as :func:`stickgen.data.packed_table.read_table` returns them.

    Raises:
        LookupError, TypeError, ValueError: it is not as documented.
    """
    lists = _checked(parse_json(arrays[TABLE].numpy().tobytes().decode()))
    frames = np.array(lists["frames"], dtype=np.int32)
    counts = _label_counts(arrays.get("actions", torch.empty(0)).numpy(), lists)
    texts: dict[str, Any] = {name: Texts.of(lists[name]) for name in TEXTS if name in lists}
    flags: dict[str, Any] = {f"has_{name}": np.array(lists[name], dtype=np.bool_) for name in FLAGS}
    table = ClipTable(
        length=frames,
        dim=np.array(lists["dim"], dtype=np.uint8),
        width=np.broadcast_to(np.int32(arrays["embedding"].shape[-1]), frames.shape),
        **texts,
        subject=Texts.none(len(frames)),
        label_ends=np.cumsum([len(count) for count in counts], dtype=np.int64),
        labels=np.array([label for count in counts for label in count], dtype=np.uint8),
        label_frames=np.array([n for count in counts for n in count.values()], dtype=np.int32),
        **flags,
        partner=np.array([-1 if partner is None else partner for partner in lists["partner"]], dtype=np.int32),
        quality=np.array([np.nan if quality is None else quality for quality in lists["quality"]], dtype=np.float64),
        split=np.array([0 if split is None else SPLITS.index(split) + 1 for split in lists["split"]], dtype=np.uint8),
        index=np.array(lists["index"], dtype=np.int32),
        actor=np.array(lists["actor"], dtype=np.int32),
    )
    return table, _digests(lists.get("digest"), len(frames))


def _label_counts(labels: np.ndarray, lists: dict[str, list[Any]]) -> Sequence[dict[int, int]]:
    """Return the label counts of each clip, in the order of their first frames; none of clips without labels."""
    counts = []
    end = 0
    for frames, has in zip(lists["frames"], lists["actions"], strict=True):
        begin, end = end, end + (frames if has else 0)
        counts.append(count_actions(labels[begin:end].tobytes()))
    return counts


def _digests(digests: Any, count: int) -> np.ndarray | None:
    """Return the digests of the clips; None in files of before they had any."""
    if digests is None:
        return None
    if len(digests) != count or {type(one) for one in digests} != {str}:
        raise ValueError("digest: a text for each clip expected")
    return np.frombuffer(bytes.fromhex("".join(digests)), dtype=np.uint8).reshape(count, DIGEST_LENGTH // 2)


def _checked(table: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return the table, its columns of one length and of the kinds expected.

    Raises:
        KeyError: a column is missing.
        ValueError: a column is not as expected.
    """
    count = len(table["frames"])
    if count == 0:
        raise ValueError("no clips")
    table.setdefault("style", [""] * count)  # files of earlier versions have no styles
    for name, kinds in _COLUMNS.items():
        column = table[name]
        if len(column) != count or not {type(value) for value in column} <= set(kinds):
            raise ValueError(f"{name}: {count} of {' or '.join(kind.__name__ for kind in kinds)} expected")
    if min(table["frames"]) < 1 or not set(table["dim"]) <= set(SKELETONS):
        raise ValueError("frames, dim: clips of at least one frame of a known figure expected")
    if not set(table["split"]) <= {None, "train", "val", "test"}:
        raise ValueError("split: train, val, test or null expected")
    if not all(quality is None or 0 <= quality <= 1 for quality in table["quality"]):
        raise ValueError("quality: numbers from 0 to 1, or null, expected")
    for position, partner in enumerate(table["partner"]):
        if partner is not None and not (
            0 <= partner < count
            and table["frames"][partner] == table["frames"][position]
            and table["dim"][partner] == table["dim"][position]
        ):
            raise ValueError(f"partner: clip {position} and clip {partner} do not go together")
    return table
