"""What a stopped ``stickgen prepare`` had done, so that the same command continues there.

A folder beside the output (:func:`~stickgen.locks.unfinished_folder`) has files of the results of each step, in the
order of the step's items: arrays one after the other, and JSON that refers to them. Every file contains the key of the
settings and sources that its results depend on, and a digest. Commands that take a few seconds write nothing.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from stickgen.digests import check_safetensors, write_safetensors
from stickgen.errors import DataError, OutputError
from stickgen.files import atomic_write
from stickgen.locks import SAVE_SECONDS
from stickgen.mocap.importers.importer import Importer

log = logging.getLogger(__name__)

_ARRAY = "array"
_SUFFIX = ".part"
_DAMAGE = (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError, DataError)


class Unfinished:
    """What is done of an output; a context that writes the rest of it when it is stopped.

    Args:
        folder: of :func:`~stickgen.locks.unfinished_folder`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._steps: list[Step] = []
        self._continues = False
        self._saved = time.monotonic()

    def __enter__(self) -> "Unfinished":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        # Mended data are other data, and a disk that is full has no room for this either.
        if kind is not None and not issubclass(kind, DataError | OutputError):
            self.save()

    def step(self, name: str, key: str) -> "Step":
        """Return what is done of a step; results that depend on something else are removed, with those of other steps.

        Args:
            name: of the step.
            key: what its results depend on, see :func:`key_of`.
        """
        step = Step(self, self._folder, name, key)
        try:
            step.read()
        except _DAMAGE:
            log.warning("%s: of other sources or options, or damaged; everything is done anew", self._folder)
            for path in self._folder.glob(f"*{_SUFFIX}"):
                path.unlink()
            step = Step(self, self._folder, name, key)
        if step.results and not self._continues:
            self._continues = True
            log.warning("%s: continues what a stopped command had done", self._folder)
        self._steps.append(step)
        return step

    def save_now_and_then(self) -> None:
        """Write what is not written yet, if the last time is long ago."""
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write what is not written yet.

        Raises:
            OutputError: the disk is full, or cannot be written to.
        """
        for step in self._steps:
            step.save()
        self._saved = time.monotonic()


class Step:
    """The results of one step that are done, in the order of its items.

    Attributes:
        results: those of an earlier command.
    """

    def __init__(self, whole: Unfinished, folder: Path, name: str, key: str) -> None:
        self.results: list[Any] = []
        self._whole, self._folder, self._name, self._key = whole, folder, name, key
        self._files = 0
        self._new: list[Any] = []

    def read(self) -> None:
        """Read the results of an earlier command.

        Raises:
            ValueError: they are of another key, or damaged.
        """
        for path in sorted(self._folder.glob(f"{self._name}-*{_SUFFIX}")):
            self.results += _read(path, self._key)
            self._files += 1

    def add(self, result: Any) -> None:
        """Keep the result of the next item: dicts, lists, texts, numbers and arrays."""
        self._new.append(result)
        self._whole.save_now_and_then()

    def save(self) -> None:
        """Write what is not written yet; see :meth:`Unfinished.save`."""
        if self._new:
            with atomic_write(self._folder / f"{self._name}-{self._files:06}{_SUFFIX}") as scratch:
                _write(scratch, self._new, self._key)
            self._files += 1
            self._new = []


def key_of(*facts: Any) -> str:
    """Return a digest of what results depend on: anything whose ``repr`` is the same for the same settings."""
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogateescape")).hexdigest()


def state_of(sources: Sequence[tuple[Path, Importer | None]], other: Path | None = None) -> list[tuple[str, int, int]]:
    """Return path, size and time of change of the files that sources are read from.

    Args:
        sources: paths and their importers; None for a data file.
        other: a file that they are read with.
    """
    files = [other] if other else []
    for path, importer in sources:
        files += sorted(path.iterdir()) if path.is_dir() else [path, path.with_suffix(".txt")]
        files += importer.beside(path) if importer else ()
    found = []
    for file in files:
        with suppress(OSError):  # there is no such file beside this source
            stat = file.stat()
            found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return found


def _write(path: Path, results: Sequence[Any], key: str) -> None:
    arrays: list[np.ndarray] = []
    numbers: dict[int, int] = {}

    def referred(value: Any) -> dict[str, int]:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{type(value).__name__}: cannot be kept")
        if id(value) not in numbers:  # what several results share stays shared
            numbers[id(value)] = len(arrays)
            arrays.append(np.ascontiguousarray(value))
        return {_ARRAY: numbers[id(value)]}

    text = json.dumps(list(results), default=referred)
    index = {"results": text, "arrays": [[array.dtype.str, array.shape] for array in arrays]}
    content = {
        "index": torch.frombuffer(bytearray(json.dumps(index).encode()), dtype=torch.uint8),
        "data": torch.from_numpy(
            np.concatenate([np.zeros(0, np.uint8), *(array.reshape(-1).view(np.uint8) for array in arrays)])
        ),
    }
    write_safetensors(content, path, {"key": key})


def _read(path: Path, key: str) -> list[Any]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("key") != key:
            raise ValueError("of another key")
        content = {name: file.get_tensor(name) for name in ("index", "data")}
    check_safetensors(content, metadata, path, DataError)
    index = json.loads(content["index"].numpy().tobytes())
    data, arrays, at = content["data"].numpy(), [], 0
    for kind, shape in index["arrays"]:
        dtype = np.dtype(kind)
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        # A copy: each is a tensor of its own in the end.
        arrays.append(data[at : at + size].copy().view(dtype).reshape(shape))
        at += size
    results: list[Any] = json.loads(
        index["results"], object_hook=lambda value: arrays[value[_ARRAY]] if value.keys() == {_ARRAY} else value
    )
    return results
