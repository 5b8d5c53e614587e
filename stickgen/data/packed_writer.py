"""Writing packed data files, clip by clip."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stickgen.data.packed_arrays import TRACKS, aligned, header, layout_of
from stickgen.data.packed_table import FORMAT, PREFIX, table_arrays
from stickgen.data.stores import ClipStore
from stickgen.digests import DIGEST_KEY, DIGEST_PREFIX, short_digest, tensor_digest
from stickgen.errors import DataError
from stickgen.files import atomic_write, check_absent


def write_packed(path: Path, store: ClipStore, info: dict[str, Any], *, overwrite: bool = False) -> None:
    """Write a packed data file, clip by clip, so that no more than one is held in memory.

    Args:
        path: where to.
        store: the clips; every number of them is checked.
        info: the file's own record.
        overwrite: replace an existing file.

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
    with atomic_write(path, overwrite=overwrite) as scratch, scratch.open("w+b") as first, ExitStack() as stack:
        # Digests are of one length, so all places are known before the first of them is.
        head, offsets = header(layout, metadata | {DIGEST_KEY: _digest_of({}, metadata)})
        first.write(head)
        first.flush()
        files = {}
        for name in TRACKS:  # one handle an array, each at its own place in the file
            if name in offsets:
                files[name] = stack.enter_context(scratch.open("r+b"))
                files[name].seek(offsets[name])
        for position in range(len(store.infos)):
            clip = store.load(position)
            tracks = {name: getattr(clip, name) for name in TRACKS if getattr(clip, name) is not None}
            if "actions" in tracks:
                tracks["actions"] = tracks["actions"].to(torch.uint8)
            digests[position] = np.frombuffer(bytes.fromhex(short_digest(*tracks.values())), dtype=np.uint8)
            for name, track in tracks.items():
                files[name].write(track.contiguous().numpy().tobytes())
        for name, array in table.items():
            first.seek(offsets[name])
            first.write(array.tobytes())
        first.seek(0)
        first.write(header(layout, metadata | {DIGEST_KEY: _digest_of(table, metadata)})[0])


def _digest_of(table: Mapping[str, np.ndarray], metadata: dict[str, str]) -> str:
    """Return the digest of a file's table and metadata."""
    return DIGEST_PREFIX + tensor_digest({name: torch.from_numpy(array) for name, array in table.items()}, metadata)
