"""What a base's frozen layers give for training clips, stored on the disk.

Below the first adapter nothing changes in training, so the output of these layers for a clip and a variant of it is
computed once. A folder holds ``hidden.npy``, all rows ``[rows, d]`` in float32, or bfloat16 as its 16 bits;
``places.npy``, int64 ``[variants, clips, 2]``, the first row and the number of rows of each; and ``record.json``, with
the key of what the rows were computed from and the digest of both files.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stickgen.files import atomic_write

ROWS, PLACES, RECORD = "hidden.npy", "places.npy", "record.json"
FILES = (ROWS, PLACES, RECORD)

_NUMBERS = {torch.float32: "<f4", torch.bfloat16: "<i2"}
_BLOCK = 1 << 22

Computed = Iterable[tuple[int, Sequence[int], Sequence[Tensor]]]
"""Batches: a variant, positions of clips, and the hidden states ``[T, d]`` of each."""


class HiddenStates:
    """Reads stored hidden states; they stay on the disk until they are asked for.

    Args:
        folder: of the three files.
        layers: how many frozen layers they are the output of.
    """

    def __init__(self, folder: Path, layers: int) -> None:
        self.folder = folder
        self.layers = layers
        self._places = np.load(folder / PLACES, allow_pickle=False)
        self._rows: np.ndarray | None = self._mapped()  # now: the files may be deleted while a run uses them

    @property
    def clips(self) -> int:
        """Clips that there are."""
        return int(self._places.shape[1])

    @property
    def variants(self) -> int:
        """Variants of each."""
        return int(self._places.shape[0])

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum((self.folder / name).stat().st_size for name in FILES)

    def read(self, clip: int, variant: int) -> Tensor:
        """Return float32 ``[T, d]`` of a clip by position: the text, then frames 0 to T − 2."""
        if self._rows is None:
            self._rows = self._mapped()
        start, count = self._places[variant, clip]
        rows = torch.from_numpy(np.array(self._rows[start : start + count]))
        return rows if rows.dtype == torch.float32 else rows.view(torch.bfloat16).float()

    def _mapped(self) -> np.ndarray:
        with suppress(OSError):  # another user's
            os.utime(self.folder)  # stores that nobody opens for long are deleted
        return np.load(self.folder / ROWS, mmap_mode="r", allow_pickle=False)

    def __getstate__(self) -> dict[str, Any]:
        # A mapped array would be sent to a loader's worker as a copy.
        return {**self.__dict__, "_rows": None}


def open_hidden(folder: Path, key: str, layers: int) -> HiddenStates | None:
    """Open stored hidden states; return None where there are none, or damaged ones, or those of another key."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if record["key"] != key or record["sha256"] != _digest(folder):
            return None
        return HiddenStates(folder, layers)
    except (OSError, ValueError, KeyError, TypeError):  # files of any content
        return None


def write_hidden(
    folder: Path,
    key: str,
    layers: int,
    shape: tuple[int, int],
    rows: tuple[int, int],
    dtype: torch.dtype,
    made: Computed,
) -> HiddenStates:
    """Write hidden states as they are computed, and open them.

    Args:
        folder: is made, or replaced in one step when all are there.
        key: of what they are computed from.
        layers: see :class:`HiddenStates`.
        shape: variants and clips.
        rows: how many rows there will be, and how wide each is.
        dtype: float32 or bfloat16.
        made: every variant of every clip once.

    Raises:
        OutputError: the folder cannot be written, or the disk is full; nothing was replaced.
    """
    with atomic_write(folder, overwrite=True, folder_of=FILES) as scratch:
        scratch.mkdir()
        places = np.zeros((*shape, 2), dtype=np.int64)
        at = 0
        with (scratch / ROWS).open("wb") as file:
            header = {"descr": _NUMBERS[dtype], "fortran_order": False, "shape": rows}
            np.lib.format.write_array_header_1_0(file, header)
            for variant, clips, states in made:
                for clip, hidden in zip(clips, states, strict=True):
                    places[variant, clip] = at, len(hidden)
                    at += len(hidden)
                    numbers = hidden.to("cpu", dtype).contiguous()
                    file.write(numbers.view(torch.uint8).numpy().tobytes())
        np.save(scratch / PLACES, places)
        content = {"key": key, "layers": layers, "sha256": _digest(scratch)}
        (scratch / RECORD).write_text(json.dumps(content) + "\n", encoding="utf-8")
    return HiddenStates(folder, layers)


def free_bytes(folder: Path) -> int:
    """Return the free space where a folder is or would be."""
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (ROWS, PLACES):
        with (folder / name).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
