"""Stores of clips, and sets of clips that are read when they are asked for."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, overload

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from stickgen.data.clips import Clip, ClipInfo, clip_digest
from stickgen.data.table import ClipInfos, joined
from stickgen.errors import DataError
from stickgen.motion.skeleton import to_stick_5


class ClipStore(Protocol):
    """The clips of one file, or of several.

    Attributes:
        infos: one a clip; an info's ``position`` is its place here.
        sequences: how many sequences of the file they come from.
        files: the digest of each packed file that they are read from, None where it has none; of others nothing.
    """

    infos: ClipInfos
    sequences: int

    @property
    def files(self) -> Mapping[str, str | None]:
        """See above."""

    def load(self, position: int) -> Clip:
        """Read a clip and check its numbers.

        Raises:
            DataError: a number is not finite; the message names the file, the sequence and the key.
        """

    def digest(self, position: int) -> str:
        """Return :func:`clip_digest` of a clip's whole motion, however many frames of it are read."""


class ClipsInMemory:
    """A store of clips that no file holds.

    Args:
        clips: the clips.
    """

    files: Mapping[str, str | None] = {}

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.sequences = len(clips)
        self.infos = ClipInfos.of(clips)
        self._clips = clips

    def load(self, position: int) -> Clip:
        """Return a clip."""
        return self._clips[position]

    def digest(self, position: int) -> str:
        """Return a clip's digest; see :class:`ClipStore`."""
        clip = self._clips[position]
        return clip_digest(clip.motion, clip.description)


class JoinedClips:
    """The chosen clips of several sets, one after the other.

    Args:
        parts: sets of clips of one figure, their embeddings equally wide.
    """

    files: Mapping[str, str | None] = {}

    def __init__(self, parts: Sequence["ClipSet"]) -> None:
        self.sequences = sum(len(part) for part in parts)
        self.infos = ClipInfos(joined([part.infos for part in parts]))
        self._parts = parts
        self._begins = _begins(parts)

    def load(self, position: int) -> Clip:
        """Read a clip; see :class:`ClipStore`."""
        part, index = _place(self._begins, position)
        return self._parts[part][index]

    def digest(self, position: int) -> str:
        """Return a clip's digest; see :class:`ClipStore`."""
        number, index = _place(self._begins, position)
        part = self._parts[number]
        return part.store.digest(part.infos[index].position)


class RecaptionedClips:
    """The clips of a store, some of them with other captions.

    Args:
        store: the clips.
        captions: position → new caption, and its embedding ``[E]``, as wide as the store's.
    """

    def __init__(self, store: ClipStore, captions: Mapping[int, tuple[str, Tensor]]) -> None:
        self.sequences = store.sequences
        self.files = store.files
        self.infos = ClipInfos.of(
            [
                replace(info, description=captions[info.position][0]) if info.position in captions else info
                for info in store.infos
            ]
        )
        self._store = store
        self._captions = captions

    def load(self, position: int) -> Clip:
        """Read a clip; see :class:`ClipStore`."""
        clip = self._store.load(position)
        if position not in self._captions:
            return clip
        caption, embedding = self._captions[position]
        return replace(clip, description=caption, embedding=embedding)

    def digest(self, position: int) -> str:
        """Return a clip's digest; see :class:`ClipStore`. One with a new caption is another clip."""
        digest = self._store.digest(position)
        if position not in self._captions:
            return digest
        return hashlib.sha256(f"{digest} {self._captions[position][0]}".encode()).hexdigest()[:16]


class Shards:
    """The clips of several files as those of one file, in the order of the files.

    Sequences are numbered through; messages name the file and its own numbers.

    Args:
        stores: of each file.
    """

    def __init__(self, stores: Sequence[ClipStore]) -> None:
        self.sequences = sum(store.sequences for store in stores)
        self.infos = ClipInfos(joined([store.infos for store in stores], apart=True))
        self.files = {path: digest for store in stores for path, digest in store.files.items()}
        self._stores = stores
        self._begins = _begins([store.infos for store in stores])

    def __reduce__(self) -> tuple[Any, ...]:
        return Shards, (self._stores,)

    def load(self, position: int) -> Clip:
        """Read a clip; see :class:`ClipStore`."""
        shard, local = _place(self._begins, position)
        info = self.infos[position]
        return replace(self._stores[shard].load(local), index=info.index, take=info.take)

    def digest(self, position: int) -> str:
        """Return a clip's digest; see :class:`ClipStore`."""
        shard, local = _place(self._begins, position)
        return self._stores[shard].digest(local)


def _begins(parts: Sequence[Sequence[Any]]) -> np.ndarray:
    """Return at which position each part begins; empty ones are passed over by a search from the right."""
    return np.cumsum([0, *(len(part) for part in parts[:-1])])


def _place(begins: np.ndarray, position: int) -> tuple[int, int]:
    """Return the number of the part that a position lies in, and its place there."""
    part = int(np.searchsorted(begins, position, side="right")) - 1
    return part, position - int(begins[part])


class ClipSet(Sequence[Clip]):
    """Clips that are read, and their numbers checked, each time they are asked for.

    Args:
        store: where they lie.
        infos: which of them, and what they are to be: a ``dim`` of 20 where the store has 48 reduces the figure, a
            larger ``width`` fills the embedding up with zeros.
    """

    def __init__(self, store: ClipStore, infos: Sequence[ClipInfo]) -> None:
        self.store = store
        self.infos = ClipInfos.of(infos)

    def __reduce__(self) -> tuple[Any, ...]:
        # A loader's worker that is started anew is sent which rows, not the table, which the store reads itself.
        infos = self.infos
        if infos.table is self.store.infos.table:
            return _clip_set, (self.store, infos.rows, infos.dim, infos.width)
        return ClipSet, (self.store, infos)

    def __len__(self) -> int:
        return len(self.infos)

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> "ClipSet": ...
    def __getitem__(self, index: int | slice) -> "Clip | ClipSet":
        if isinstance(index, slice):
            return ClipSet(self.store, self.infos[index])
        info = self.infos[index]
        return _laid_out(self.store.load(info.position), info)

    def padded(self, width: int) -> "ClipSet":
        """Return the clips with their embeddings filled up to ``[width]``."""
        return ClipSet(self.store, self.infos.changed(width=width))

    def __add__(self, other: "ClipSet") -> "ClipSet":
        """Return the clips of both."""
        both = JoinedClips([self, other])
        return ClipSet(both, both.infos)


def _clip_set(store: ClipStore, rows: np.ndarray, dim: int | None, width: int | None) -> ClipSet:
    return ClipSet(store, ClipInfos(store.infos.table, rows, dim, width))


def _laid_out(clip: Clip, info: ClipInfo) -> Clip:
    """Give a clip the figure and the embedding that its info tells of."""
    changes: dict[str, Any] = {}
    if clip.motion.shape[-1] != info.dim:
        changes["motion"] = to_stick_5(clip.motion)
        changes["partner"] = None if clip.partner is None else to_stick_5(clip.partner)
    missing = info.width - clip.embedding.shape[0]
    if missing:
        changes["embedding"] = F.pad(clip.embedding, (0, missing))
    return replace(clip, **changes) if changes else clip


def check_one_width(infos: ClipInfos, key: Literal["motion", "embedding"], where: str, way_out: str) -> None:
    """Refuse clips of several widths, which no batch can hold.

    Args:
        infos: the clips.
        key: whose last dimension is compared.
        where: the file or source they come from, for the message.
        way_out: what to do about it, for the message.

    Raises:
        DataError: a clip is wider or narrower than the first.
    """
    widths = infos.column("dim" if key == "motion" else "width")
    others = np.flatnonzero(widths != widths[0])
    if len(others):
        info = infos[int(others[0])]
        raise DataError(
            f"{where}: {info.label}: {key} is {widths[others[0]]} wide, {widths[0]} expected as in {infos[0].label}; "
            f"{way_out}"
        )
