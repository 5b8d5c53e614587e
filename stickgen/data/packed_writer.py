"""Writing packed data files, clip by clip."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from stickgen.data.clips import Clip
from stickgen.data.packed_arrays import TRACKS, aligned, header, layout_of
from stickgen.data.packed_table import FORMAT, PREFIX, table_arrays
from stickgen.data.stores import ClipStore
from stickgen.digests import DIGEST_KEY, DIGEST_PREFIX, short_digest, tensor_digest
from stickgen.errors import DataError
from stickgen.files import atomic_write, check_absent
from stickgen.locks import SAVE_SECONDS
from stickgen.untrusted import parse_json

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Is told what is under way, how many items are done, and how many there are."""

_TOLD = 100
"""Clips from one call of it to the next."""


def write_packed(
    path: Path,
    store: ClipStore,
    info: dict[str, Any],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    unfinished: "Unfinished | None" = None,
) -> None:
    """Write a packed data file, clip by clip, so that no more than one is held in memory.

    Args:
        path: where to.
        store: the clips; every number of them is checked.
        info: the file's own record.
        overwrite: replace an existing file.
        progress: is told "packing", how many clips are done, and how many there are.
        unfinished: where the file grows, so that it can be continued.

    Raises:
        DataError: a clip cannot be used, or the record holds what JSON does not.
        OutputExistsError: ``path`` exists and ``overwrite`` is false, or it is a folder.
    """
    check_absent(path, overwrite=overwrite, file=True)
    try:
        metadata = {"format": FORMAT, "sequences": str(store.sequences), "info": json.dumps(info)}
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: info: plain lists, dicts, strings and numbers expected: {error}") from None
    table = table_arrays(store.infos)
    digests = table[f"{PREFIX}digest"]
    layout = layout_of(store.infos.table) | {name: (str(of.dtype), of.shape) for name, of in table.items()}
    layout = aligned(layout)
    # Digests are of one length, so all places are known before the first of them is.
    head, offsets = header(layout, metadata | {DIGEST_KEY: _digest_of({}, metadata)})
    with atomic_write(path, overwrite=overwrite) as scratch:
        growing = unfinished.file if unfinished else scratch
        done = unfinished.read(head) if unfinished else _Done()
        with growing.open("r+b" if done.clips else "w+b") as first, ExitStack() as stack:
            if done.clips:
                first.seek(offsets[f"{PREFIX}digest"])
                digests[: done.clips] = np.frombuffer(first.read(digests[: done.clips].nbytes), np.uint8).reshape(-1, 8)
            else:
                first.write(head)
                first.flush()
            files = {}
            for name in TRACKS:  # one handle an array, each at its own place in the file
                if name in offsets:
                    files[name] = stack.enter_context(growing.open("r+b"))
                    files[name].seek(done.places.get(name, offsets[name]))
            for position in range(done.clips, len(store.infos)):
                if progress and position % _TOLD == 0:
                    progress("packing", position, len(store.infos))
                if position and unfinished and time.monotonic() - unfinished.saved >= SAVE_SECONDS:
                    first.seek(offsets[f"{PREFIX}digest"])
                    first.write(digests[:position].tobytes())
                    unfinished.save(head, position, files | {"": first})
                digests[position] = _write_clip(store.load(position), files)
            for name, array in table.items():
                first.seek(offsets[name])
                first.write(array.tobytes())
            first.seek(0)
            first.write(header(layout, metadata | {DIGEST_KEY: _digest_of(table, metadata)})[0])
        if unfinished:
            os.replace(growing, scratch)


def _write_clip(clip: Clip, files: Mapping[str, IO[bytes]]) -> np.ndarray:
    """Write a clip's arrays; return its digest, uint8 ``[8]``."""
    tracks = {name: getattr(clip, name) for name in TRACKS if getattr(clip, name) is not None}
    if "actions" in tracks:
        tracks["actions"] = tracks["actions"].to(torch.uint8)
    for name, track in tracks.items():
        files[name].write(track.contiguous().numpy().tobytes())
    return np.frombuffer(bytes.fromhex(short_digest(*tracks.values())), dtype=np.uint8)


@dataclass(frozen=True)
class _Done:
    """What is done of a file: its first clips, and where the next number of each array goes."""

    clips: int = 0
    places: Mapping[str, int] = field(default_factory=dict)


class Unfinished:
    """A packed file that grows in a folder, and how far it is; a context that removes the file where that is unknown.

    Args:
        folder: of :func:`~stickgen.locks.unfinished_folder`.
        source: what the clips come from, such as path, size and time of change of a file.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.file = folder / "clips.part"
        self.saved = time.monotonic()
        self._journal = folder / "clips.json"
        self._source = source

    def __enter__(self) -> "Unfinished":
        return self

    def __exit__(self, *error: object) -> None:
        if not self._journal.exists():
            self.file.unlink(missing_ok=True)

    def read(self, head: bytes) -> _Done:
        """Return what is done, if it is of the same source, and the same head of the file."""
        if not self._journal.is_file():
            return _Done()
        with suppress(OSError, ValueError, LookupError, TypeError):
            found = parse_json(self._journal.read_text(encoding="utf-8"))
            done = _Done(int(found["clips"]), {str(name): int(place) for name, place in found["places"].items()})
            if found["key"] == self._key(head) and self.file.stat().st_size >= int(found["size"]):
                log.warning("%s: continues what a stopped command had done", self.file.parent)
                return done
        log.warning("%s: of another source, or damaged; everything is done anew", self.file.parent)
        return _Done()

    def save(self, head: bytes, clips: int, files: Mapping[str, IO[bytes]]) -> None:
        """Record that the first clips are in the file."""
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
        places = {name: file.tell() for name, file in files.items()}
        size = self.file.stat().st_size
        known = {"key": self._key(head), "clips": clips, "places": places, "size": size}
        with atomic_write(self._journal, overwrite=True) as scratch:
            scratch.write_text(json.dumps(known), encoding="utf-8")
        self.saved = time.monotonic()

    def _key(self, head: bytes) -> str:
        return hashlib.sha256(self._source.encode("utf-8", "surrogateescape") + head).hexdigest()


def _digest_of(table: Mapping[str, np.ndarray], metadata: dict[str, str]) -> str:
    """Return the digest of a file's table and metadata."""
    return DIGEST_PREFIX + tensor_digest({name: torch.from_numpy(array) for name, array in table.items()}, metadata)
