"""What is known of many clips, in NumPy columns: a million clips are some arrays, not a million objects.

A :class:`ClipTable` has a row a clip, and :class:`ClipInfos` is a choice of rows. It makes a
:class:`~stickgen.data.clips.ClipInfo` when one is asked for. The columns of a packed file are mapped into memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from stickgen.data.clips import Clip, ClipInfo
from stickgen.data.texts import Texts, TextsOfParts, of_one_value, places_of

SPLITS = ("train", "val", "test")
"""A row's ``split`` is 0 where its file fixes none, else 1, 2 or 3."""

TEXTS = ("description", "take", "source", "style", "subject")
"""Columns of texts."""

FLAGS = ("actions", "physics", "camera")
"""Labels that a clip has or lacks."""


@dataclass(frozen=True, eq=False)
class ClipTable:
    """Columns of N clips, as the attributes of :class:`~stickgen.data.clips.ClipInfo`.

    Attributes:
        label_ends: where each row's labels end in ``labels`` and ``label_frames``, int64 ``[N]``. A row's labels are
            in the order of their first frames.
        labels: action labels, uint8 ``[L]``.
        label_frames: how many frames have them, int32 ``[L]``.
        partner: -1 where there is none.
        quality: NaN where there is none.
        split: see :data:`SPLITS`.
        position: None where each row's is its own number.
    """

    length: np.ndarray
    dim: np.ndarray
    width: np.ndarray
    description: Texts
    take: Texts
    source: Texts
    style: Texts
    subject: Texts
    label_ends: np.ndarray
    labels: np.ndarray
    label_frames: np.ndarray
    has_actions: np.ndarray
    has_physics: np.ndarray
    has_camera: np.ndarray
    partner: np.ndarray
    quality: np.ndarray
    split: np.ndarray
    index: np.ndarray
    actor: np.ndarray
    position: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.length)

    def labels_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the labels of rows one after the other: which of the rows, the label, and its frames."""
        begins = np.where(rows > 0, self.label_ends[rows - 1], 0)
        counts = self.label_ends[rows] - begins
        of = np.repeat(np.arange(len(rows)), counts)
        places = places_of(begins, counts)
        return of, self.labels[places], self.label_frames[places]

    def info(self, row: int) -> ClipInfo:
        """Return what is known of a clip."""
        counts = None
        if self.has_actions[row]:
            places = slice(int(self.label_ends[row - 1]) if row else 0, int(self.label_ends[row]))
            counts = dict(zip(self.labels[places].tolist(), self.label_frames[places].tolist(), strict=True))
        partner, quality, split = int(self.partner[row]), float(self.quality[row]), int(self.split[row])
        return ClipInfo(
            position=row if self.position is None else int(self.position[row]),
            length=int(self.length[row]),
            dim=int(self.dim[row]),
            width=int(self.width[row]),
            **{name: getattr(self, name).of_row(row) for name in TEXTS},
            action_counts=counts,
            has_physics=bool(self.has_physics[row]),
            has_camera=bool(self.has_camera[row]),
            partner=None if partner < 0 else partner,
            quality=None if quality != quality else quality,
            split=SPLITS[split - 1] if split else None,
            index=int(self.index[row]),
            actor=int(self.actor[row]),
        )


class ClipInfos(Sequence[ClipInfo]):
    """Some rows of a table, in an order; an info is made when it is asked for.

    Args:
        table: the columns.
        rows: which of its rows; None: all.
        dim: what the clips' figure is to be instead of the table's.
        width: how wide the embeddings are to be, likewise.
    """

    def __init__(
        self, table: ClipTable, rows: np.ndarray | None = None, dim: int | None = None, width: int | None = None
    ) -> None:
        self.table = table
        self.rows = np.arange(len(table)) if rows is None else rows
        self.dim = dim
        self.width = width

    @classmethod
    def of(cls, clips: "Sequence[Clip | ClipInfo] | ClipInfos") -> "ClipInfos":
        """Return clips' infos in columns; the positions of :class:`Clip` are their places."""
        return clips if isinstance(clips, cls) else cls(_table_of(clips))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> ClipInfo: ...
    @overload
    def __getitem__(self, index: slice) -> "ClipInfos": ...
    def __getitem__(self, index: int | slice) -> "ClipInfo | ClipInfos":
        if isinstance(index, slice):
            return self.chosen(np.arange(len(self))[index])
        info = self.table.info(int(self.rows[index]))
        if self.dim is None and self.width is None:
            return info
        return replace(info, dim=self.dim or info.dim, width=self.width or info.width)

    def __iter__(self) -> Iterator[ClipInfo]:
        return (self[place] for place in range(len(self)))

    def chosen(self, places: np.ndarray) -> "ClipInfos":
        """Return those at some places ``[n]``."""
        return ClipInfos(self.table, self.rows[places], self.dim, self.width)

    def changed(self, *, dim: int | None = None, width: int | None = None) -> "ClipInfos":
        """Return the same clips with another figure or wider embeddings."""
        return ClipInfos(self.table, self.rows, dim or self.dim, width or self.width)

    def column(self, name: str) -> np.ndarray:
        """Return a column ``[n]``; of texts their codes."""
        value = getattr(self, name, None) if name in ("dim", "width") else None
        if value is not None:
            return np.full(len(self), value)
        column = getattr(self.table, name)
        if column is None:  # position
            return self.rows
        return (column.codes if isinstance(column, Texts) else column)[self.rows]

    def labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the clips' action labels; see :meth:`ClipTable.labels_of`."""
        return self.table.labels_of(self.rows)

    def main_actions(self) -> np.ndarray:
        """Return each clip's main action, int64 ``[n]``; -1 without labels (:attr:`ClipInfo.main_action`)."""
        of, labels, frames = self.labels()
        main = np.full(len(self), -1)
        order = np.lexsort((-labels.astype(np.int64), frames, of))  # each clip's last: most frames, then least label
        main[of[order]] = labels[order]
        return main

    def counts(self, name: str) -> dict[str, int]:
        """Return the different texts of a column and how many clips have each, in the order of the first ones."""
        texts: Texts = getattr(self.table, name)
        codes, of = numbered(self.column(name), len(texts.ends))
        sizes = np.bincount(of, minlength=len(codes)).tolist()
        counts: dict[str, int] = {}
        for code, size in zip(codes.tolist(), sizes, strict=True):
            text = texts.text(code)
            counts[text] = counts.get(text, 0) + size
        return counts

    def people(self) -> int:
        """Return how many different people the clips name."""
        return len(self.counts("subject").keys() - {""})

    def amount(self) -> tuple[int, int, int]:
        """Return how many clips, takes and frames there are."""
        return len(self), len(np.unique(self.column("take"))), int(self.column("length").sum(dtype=np.int64))


def column(clips: Sequence[Clip | ClipInfo], name: str) -> np.ndarray:
    """Return an attribute of clips, numbers or truth values, as an array ``[n]``."""
    if isinstance(clips, ClipInfos):
        return clips.column(name)
    return np.array([getattr(clip, name) for clip in clips])


def numbered(codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Number codes by their first appearance.

    Args:
        codes: numbers below ``count``, ``[n]``.
        count: how many codes there are.

    Returns:
        the codes that appear, in that order, and the number of each of ``codes`` among them ``[n]``.
    """
    firsts = np.full(count, len(codes))
    firsts[codes[::-1]] = np.arange(len(codes))[::-1]  # of several, the last assignment holds: the first place
    present = np.flatnonzero(firsts < len(codes))
    present = present[np.argsort(firsts[present])]
    numbers = np.empty(count, dtype=np.int64)
    numbers[present] = np.arange(len(present))
    return present, numbers[codes]


def joined(parts: Sequence[ClipInfos], *, apart: bool = False) -> ClipTable:
    """Return the chosen clips of several tables as one, each at the place it then has.

    Args:
        parts: what is joined.
        apart: whether each is the whole of a file: sequences are numbered through, partners stay partners, and takes
            without a name (``"#17"``, by their sequence) keep to their file.
    """
    columns: dict[str, Any] = {}
    names = ("length", "dim", "width", "has_actions", "has_physics", "has_camera", "partner", "quality", "split")
    for name in (*names, "index", "actor"):
        columns[name] = np.concatenate([part.column(name) for part in parts])
    renamed: list[dict[int, str]] = [{} for _ in parts]
    if apart:
        clips = sequences = 0
        for part, new in zip(parts, renamed, strict=True):
            here = slice(clips, clips + len(part))
            partner = columns["partner"][here]
            partner[partner >= 0] += clips
            new.update(_renamed(part, sequences))
            columns["index"][here] += sequences
            clips, sequences = clips + len(part), int(columns["index"][here].max()) + 1
    columns = {name: of_one_value(column) for name, column in columns.items()}
    nothing: list[dict[int, str]] = [{} for _ in parts]
    for name, instead in (("take", renamed), ("source", nothing), ("style", nothing)):
        columns[name] = Texts.joined(
            [(getattr(part.table, name), part.rows, new) for part, new in zip(parts, instead, strict=True)]
        )
    columns["subject"] = (
        Texts.joined([(part.table.subject, part.rows, {}) for part in parts])
        if any(len(part.table.subject.data) for part in parts)
        else Texts.none(sum(map(len, parts)))
    )
    # Captions are hardly ever alike, and a copy of a million of them would take more memory than all the rest.
    columns["description"] = TextsOfParts([(part.table.description, part.rows) for part in parts])
    labels = [part.labels() for part in parts]
    per_clip = [np.bincount(of, minlength=len(part)) for (of, _, _), part in zip(labels, parts, strict=True)]
    return ClipTable(
        **columns,
        label_ends=np.cumsum(np.concatenate(per_clip), dtype=np.int64),
        labels=np.concatenate([label for _, label, _ in labels]),
        label_frames=np.concatenate([frames for _, _, frames in labels]),
    )


def _renamed(part: ClipInfos, sequences: int) -> dict[int, str]:
    """Return the new names, by code, of takes that are called by their sequence's number."""
    takes = part.table.take
    begins = np.concatenate(([0], takes.ends[:-1]))
    hashed = np.flatnonzero((takes.ends > begins) & (takes.data[np.minimum(begins, len(takes.data) - 1)] == ord("#")))
    if not len(hashed) or not sequences:
        return {}
    first = np.zeros(len(takes.ends), dtype=np.int64)
    first[part.column("take")[::-1]] = part.column("index")[::-1]
    names = {code: (takes.text(code), int(first[code])) for code in hashed.tolist()}
    return {code: f"#{index + sequences}" for code, (name, index) in names.items() if name == f"#{index}"}


def _table_of(clips: Sequence[Clip | ClipInfo]) -> ClipTable:
    def column(name: str, kind: type) -> np.ndarray:
        return np.array([getattr(clip, name) for clip in clips], dtype=kind)

    counts = [clip.action_counts or {} for clip in clips]
    texts: dict[str, Any] = {name: Texts.of(getattr(clip, name) for clip in clips) for name in TEXTS}
    flags: dict[str, Any] = {f"has_{name}": column(f"has_{name}", np.bool_) for name in FLAGS}
    return ClipTable(
        length=column("length", np.int32),
        dim=np.array([c.motion.shape[-1] if isinstance(c, Clip) else c.dim for c in clips], dtype=np.uint8),
        width=np.array([len(c.embedding) if isinstance(c, Clip) else c.width for c in clips], dtype=np.int32),
        **texts,
        label_ends=np.cumsum([len(count) for count in counts], dtype=np.int64),
        labels=np.array([label for count in counts for label in count], dtype=np.int64),
        label_frames=np.array([frames for count in counts for frames in count.values()], dtype=np.int32),
        **flags,
        partner=np.array([-1 if isinstance(c, Clip) or c.partner is None else c.partner for c in clips], np.int32),
        quality=np.array([np.nan if c.quality is None else c.quality for c in clips], dtype=np.float64),
        split=np.array([0 if c.split is None else SPLITS.index(c.split) + 1 for c in clips], dtype=np.uint8),
        index=column("index", np.int32),
        actor=column("actor", np.int32),
        position=np.array([i if isinstance(c, Clip) else c.position for i, c in enumerate(clips)], dtype=np.int64),
    )
