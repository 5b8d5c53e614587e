"""Packed data files: a safetensors file of a few large arrays, which opens at once however many clips it holds.

Its layout is described in docs/data.md. Clips follow each other: each lies where the lengths before it add up to.
The metadata holds a digest of the table, which is compared when the file is opened. The table holds a digest of every
clip, which is compared when the clip is first read.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stickgen.data import packed_table, packed_v1
from stickgen.data.clips import Clip, check_finite, clip_digest, count_actions
from stickgen.data.packed_arrays import LABELS, TRACKS, layout_of
from stickgen.data.table import ClipInfos, ClipTable
from stickgen.digests import DIGEST_KEY, check_safetensors, short_digest
from stickgen.errors import DataError
from stickgen.files import missing_file
from stickgen.motion.actions import NUM_ACTIONS
from stickgen.untrusted import MAX_TENSORS, parse_json

_READERS = {packed_table.FORMAT: packed_table.read_table, packed_v1.FORMAT: packed_v1.read_table}
FORMATS = tuple(_READERS)
"""What stands under "format" in the metadata of the files that are read; the first is written."""


class PackedClips:
    """The clips of a packed file. Nothing but its table is read before a clip is.

    Args:
        path: the file.
        max_frames: longer clips are cut to their first frames.

    Attributes:
        record: the file's own record, see :func:`stickgen.data.file.open_clips`.
        files: see :class:`~stickgen.data.stores.ClipStore`. The digest covers the table, which has
            one of each clip.

    Raises:
        DataError: the file is missing, damaged, or not a packed data file.
    """

    def __init__(self, path: Path, max_frames: int | None = None) -> None:
        self._path = path
        self._max_frames = max_frames
        self._arrays, self._metadata = _read(path)
        self._compared: set[int] = set()
        self.files = {str(path): self._metadata.get(DIGEST_KEY)}
        reader = _READERS.get(self._metadata.get("format", ""))
        if reader is None:
            raise DataError(f"{path}: not a packed data file; `stickgen pack` makes one (see docs/data.md)")
        try:
            self.sequences = int(self._metadata["sequences"])
            self.record: Any = parse_json(self._metadata["info"])
            self._whole, self._digests = reader(self._arrays)
            self._check_arrays()
        except (LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise DataError(f"{path}: damaged, or not a packed data file: {type(error).__name__} {error}") from None
        self._starts = _starts(self._whole)
        self._check_labels()
        self.infos = ClipInfos(self._cut())

    def __reduce__(self) -> tuple[Any, ...]:
        # A loader's worker that is started anew maps the file itself instead of being sent its content.
        return PackedClips, (self._path, self._max_frames)

    def check_table(self) -> None:
        """Compare the table and the record with their digest, where the file has one.

        Raises:
            DataError: they are not what was written.
        """
        table = {name: array for name, array in self._arrays.items() if name not in TRACKS}
        check_safetensors(table, self._metadata, self._path, DataError)

    def load(self, position: int) -> Clip:
        """Read a clip and check its numbers.

        Raises:
            DataError: a number is not finite, or the clip is not what was written.
        """
        info = self.infos[position]
        at = f"{self._path}: clip {info.index}"

        def checked(key: str, of: int = position) -> Tensor:
            track = self._track(key, of)
            return check_finite(track, track, key, at)

        clip = Clip(
            motion=checked("motion"),
            embedding=checked("embedding"),
            description=info.description,
            take=info.take,
            source=info.source,
            actions=self._labels(position, at).long() if info.has_actions else None,
            physics=checked("physics") if info.has_physics else None,
            camera=checked("camera") if info.has_camera else None,
            partner=None if info.partner is None else checked("motion", info.partner),
            quality=info.quality,
            split=info.split,
            index=info.index,
            actor=info.actor,
            style=info.style,
            subject=info.subject,
        )
        for one in {position, position if info.partner is None else info.partner} - self._compared:
            self._compare(one, at)
        return clip

    def digest(self, position: int) -> str:
        """Return a clip's digest; see :class:`~stickgen.data.stores.ClipStore`."""
        return clip_digest(self._track("motion", position, whole=True), self._whole.description.of_row(position))

    def _compare(self, position: int, at: str) -> None:
        """Compare a clip with its digest, where the file has some."""
        if self._digests is not None:
            has = {name: bool(getattr(self._whole, f"has_{name}")[position]) for name in LABELS}
            tracks = [self._track(key, position, whole=True) for key in TRACKS if has.get(key, True)]
            if short_digest(*tracks) != self._digests[position].tobytes().hex():
                raise DataError(f"{at}: damaged: its numbers are not those that were written; make the file anew")
        self._compared.add(position)

    def _track(self, key: str, position: int, *, whole: bool = False) -> Tensor:
        """Return a clip's part of an array, up to the longest length, or the whole of it."""
        if key == "embedding":
            return self._arrays[key][position]
        start = int(self._starts[key][position])
        kept = int((self._whole if whole else self.infos.table).length[position])
        if key != "motion":
            return self._arrays[key][start : start + kept]
        dim = int(self._whole.dim[position])
        return self._arrays[key][start : start + kept * dim].view(kept, dim)

    def _labels(self, position: int, at: str) -> Tensor:
        labels = self._track("actions", position)
        if int(labels.max()) >= NUM_ACTIONS:
            raise DataError(f"{at}: actions: class indices 0 to {NUM_ACTIONS - 1} expected, {int(labels.max())} found")
        return labels

    def _check_arrays(self) -> None:
        """Compare every array with what the table says of it."""
        for name, (kind, shape) in layout_of(self._whole).items():
            array = self._arrays[name]
            if array.dtype != torch.from_numpy(np.empty(0, kind)).dtype or tuple(array.shape) != shape:
                raise ValueError(f"{name}: {kind} {list(shape)} expected, {array.dtype} {list(array.shape)} found")

    def _check_labels(self) -> None:
        """Refuse action classes that there are none of, which a file of the first version only has in its array."""
        beyond = np.flatnonzero(self._whole.labels >= NUM_ACTIONS)
        if len(beyond):
            row = int(np.searchsorted(self._whole.label_ends, beyond[0], side="right"))
            raise DataError(
                f"{self._path}: clip {self._whole.index[row]}: actions: class indices 0 to {NUM_ACTIONS - 1} expected, "
                f"{self._whole.labels[beyond[0]]} found"
            )

    def _cut(self) -> ClipTable:
        """Return the table of the clips as they are read: the longest cut to their first frames."""
        table, most = self._whole, self._max_frames
        if most is None or table.length.max() <= most:
            return table
        rows = np.arange(len(table))
        of, labels, frames = table.labels_of(rows)
        several = np.bincount(of, minlength=len(table)) > 1
        # Only where a clip has several labels do its frames decide which of them are left.
        again = np.flatnonzero((table.length > most) & several)
        kept = ~np.isin(of, again)
        counts = [count_actions(self._first_labels(row, most)) for row in again.tolist()]
        of = np.concatenate((of[kept], np.repeat(again, [len(count) for count in counts])))
        labels = np.concatenate((labels[kept], np.array([n for count in counts for n in count], dtype=np.uint8)))
        new = np.array([n for count in counts for n in count.values()], dtype=np.int32)
        frames = np.concatenate((np.minimum(frames[kept], most), new))
        order = np.argsort(of, kind="stable")
        return replace(
            table,
            length=np.minimum(table.length, np.int32(most)),
            label_ends=np.cumsum(np.bincount(of, minlength=len(table))),
            labels=labels[order],
            label_frames=frames[order],
        )

    def _first_labels(self, row: int, frames: int) -> bytes:
        # A byte is a label; reading them so takes half the time of making numbers of a tensor, clip after clip.
        start = int(self._starts["actions"][row])
        return self._arrays["actions"][start : start + frames].numpy().tobytes()


def _starts(table: ClipTable) -> dict[str, np.ndarray]:
    """Return where each clip begins in each array, in frames, those of motion in numbers."""
    frames = table.length.astype(np.int64)
    whole = _begins(frames)
    starts = {"motion": _begins(frames * table.dim)}
    for name in LABELS:
        has = getattr(table, f"has_{name}")
        starts[name] = whole if has.all() else _begins(frames * has)  # one array for all labels that every clip has
    return starts


def _begins(sizes: np.ndarray) -> np.ndarray:
    begins = np.cumsum(sizes)
    begins -= sizes
    return begins


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the arrays, mapped into memory, and the metadata."""
    if not path.is_file():
        raise DataError(missing_file(path))
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if len(names) > MAX_TENSORS:
                raise DataError(f"{path}: holds {len(names)} arrays; not a packed data file")
            return {key: file.get_tensor(key) for key in names}, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a safetensors file, or damaged: {error}") from None
