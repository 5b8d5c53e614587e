"""Packed data files: a safetensors file of a few large arrays, which opens at once however many clips it holds.

Its layout is described in docs/data.md. Clips follow each other: each lies where the lengths before it add up to.
The metadata holds a digest of the table, which is compared when the file is opened. The table holds a digest of every
clip, which is compared when the clip is first read.
"""

import json
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stickgen.data.clips import (
    CAMERA_DIM,
    PHYSICS_DIM,
    Clip,
    ClipInfo,
    ClipStore,
    check_finite,
    clip_digest,
    count_actions,
)
from stickgen.digests import (
    DIGEST_KEY,
    DIGEST_LENGTH,
    DIGEST_PREFIX,
    check_safetensors,
    short_digest,
    tensor_digest,
)
from stickgen.errors import DataError
from stickgen.files import atomic_write, check_absent, missing_file
from stickgen.motion.actions import NUM_ACTIONS
from stickgen.motion.skeleton import SKELETONS
from stickgen.untrusted import MAX_TENSORS, parse_json

FORMAT = "stickgen clips 1"
"""Stands under "format" in the metadata."""

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
_TRACKS = ("motion", "embedding", "physics", "camera", "actions")
"""Arrays of clips, in the order in which a clip's digest covers them."""
_TABLE = "clips"
_TORCH_TYPES = {"F32": torch.float32, "U8": torch.uint8}

_Layout: TypeAlias = dict[str, tuple[str, tuple[int, ...]]]
"""Array → its type in the safetensors header, and its shape; in the order of the file."""


class PackedClips:
    """The clips of a packed file. Nothing but its table and its action labels is read before a clip is.

    Args:
        path: the file.
        max_frames: longer clips are cut to their first frames.

    Attributes:
        record: the file's own record, see :func:`stickgen.data.file.open_clips`.

    Raises:
        DataError: the file is missing, damaged, or not a packed data file.
    """

    def __init__(self, path: Path, max_frames: int | None = None) -> None:
        self._path = path
        self._max_frames = max_frames
        self._arrays, metadata = _read(path)
        self._compared: set[int] = set()
        if metadata.get("format") != FORMAT:
            raise DataError(f"{path}: not a packed data file; `stickgen pack` makes one (see docs/data.md)")
        try:
            self.sequences = int(metadata["sequences"])
            self.record: Any = parse_json(metadata["info"])
            table = parse_json(self._arrays[_TABLE].numpy().tobytes().decode())
            self._frames, self._dims = table["frames"], table["dim"]
            self._starts = _starts(_checked(table))
            self._check_arrays(table)
            self._digests = _digests(table)
            self._labels_of_all = self._arrays.get("actions", torch.empty(0)).numpy()
            self.infos = self._infos(table)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise DataError(f"{path}: damaged, or not a packed data file: {type(error).__name__} {error}") from None
        self._metadata = metadata

    def __reduce__(self) -> tuple[Any, ...]:
        # A loader's worker that is started anew maps the file itself instead of being sent its content.
        return PackedClips, (self._path, self._max_frames)

    def check_table(self) -> None:
        """Compare the table and the record with their digest, where the file has one.

        Raises:
            DataError: they are not what was written.
        """
        check_safetensors({_TABLE: self._arrays[_TABLE]}, self._metadata, self._path, DataError)

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
            actions=self._track("actions", position).long() if info.has_actions else None,
            physics=checked("physics") if info.has_physics else None,
            camera=checked("camera") if info.has_camera else None,
            partner=None if info.partner is None else checked("motion", info.partner),
            quality=info.quality,
            split=info.split,
            index=info.index,
            actor=info.actor,
            style=info.style,
        )
        for one in {position, position if info.partner is None else info.partner} - self._compared:
            self._compare(one, at)
        return clip

    def digest(self, position: int) -> str:
        """Return a clip's digest; see :class:`~stickgen.data.clips.ClipStore`."""
        return clip_digest(self._track("motion", position, whole=True), self.infos[position].description)

    def _compare(self, position: int, at: str) -> None:
        """Compare a clip with its digest, where the file has some."""
        if self._digests is not None:
            info = self.infos[position]
            has = {"actions": info.has_actions, "physics": info.has_physics, "camera": info.has_camera}
            tracks = [self._track(key, position, whole=True) for key in _TRACKS if has.get(key, True)]
            if short_digest(*tracks) != self._digests[position]:
                raise DataError(f"{at}: damaged: its numbers are not those that were written; make the file anew")
        self._compared.add(position)

    def _track(self, key: str, position: int, *, whole: bool = False) -> Tensor:
        """Return a clip's part of an array, up to the longest length, or the whole of it."""
        if key == "embedding":
            return self._arrays[key][position]
        start, kept = self._starts[key][position], self._frames[position] if whole else self._kept(position)
        if key != "motion":
            return self._arrays[key][start : start + kept]
        dim = self._dims[position]
        return self._arrays[key][start : start + kept * dim].view(kept, dim)

    def _kept(self, position: int) -> int:
        return min(self._frames[position], self._max_frames or self._frames[position])

    def _check_arrays(self, table: dict[str, list[Any]]) -> None:
        """Compare every array with what the table says of it."""
        width = self._arrays["embedding"].shape[-1]
        for name, (kind, shape) in _layout(table, width).items():
            array = self._arrays[name]
            if array.dtype != _TORCH_TYPES[kind] or tuple(array.shape) != shape:
                raise ValueError(f"{name}: {kind} {list(shape)} expected, {array.dtype} {list(array.shape)} found")

    def _infos(self, table: dict[str, list[Any]]) -> list[ClipInfo]:
        width = self._arrays["embedding"].shape[-1]
        return [
            ClipInfo(
                position=position,
                length=self._kept(position),
                dim=dim,
                width=width,
                description=description,
                take=take,
                source=source,
                action_counts=self._labels(position, index) if actions else None,
                has_physics=physics,
                has_camera=camera,
                partner=partner,
                quality=quality,
                split=split,
                index=index,
                actor=actor,
                style=style,
            )
            for position, (
                _, dim, description, take, source, quality, split, index, actor, partner, actions, physics, camera,
                style,
            ) in enumerate(zip(*(table[name] for name in _COLUMNS), strict=True))
        ]  # fmt: skip

    def _labels(self, position: int, index: int) -> dict[int, int]:
        # A byte is a label; reading them so takes half the time of making numbers of a tensor, clip after clip.
        start = self._starts["actions"][position]
        counts = count_actions(self._labels_of_all[start : start + self._kept(position)].tobytes())
        for label in counts:
            if label >= NUM_ACTIONS:
                raise DataError(
                    f"{self._path}: clip {index}: actions: class indices 0 to {NUM_ACTIONS - 1} expected, {label} found"
                )
        return counts


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
    table = _table(store)
    layout = _layout(table, store.infos[0].width)
    with atomic_write(path, overwrite=overwrite) as scratch, scratch.open("w+b") as first, ExitStack() as stack:
        # Digests are of one length, so all places are known before the first of them is.
        table["digest"] = ["0" * DIGEST_LENGTH] * len(store.infos)
        layout[_TABLE] = ("U8", (len(json.dumps(table).encode()),))
        header, offsets = _header(layout, metadata | {DIGEST_KEY: _digest_of(b"", metadata)})
        first.write(header)
        first.flush()
        files = {}
        for name, offset in offsets.items():  # one handle an array, each at its own place in the file
            files[name] = stack.enter_context(scratch.open("r+b"))
            files[name].seek(offset)
        for position in range(len(store.infos)):
            clip = store.load(position)
            tracks = {name: getattr(clip, name) for name in _TRACKS if getattr(clip, name) is not None}
            if "actions" in tracks:
                tracks["actions"] = tracks["actions"].to(torch.uint8)
            table["digest"][position] = short_digest(*tracks.values())
            for name, track in tracks.items():
                files[name].write(track.contiguous().numpy().tobytes())
        text = json.dumps(table).encode()
        files[_TABLE].write(text)
        first.seek(0)
        first.write(_header(layout, metadata | {DIGEST_KEY: _digest_of(text, metadata)})[0])


def _digest_of(text: bytes, metadata: dict[str, str]) -> str:
    """Return the digest of a file's table and metadata."""
    table = torch.frombuffer(bytearray(text), dtype=torch.uint8) if text else torch.empty(0)
    return DIGEST_PREFIX + tensor_digest({_TABLE: table}, metadata)


def _table(store: ClipStore) -> dict[str, list[Any]]:
    infos = store.infos
    own = {"frames": "length", "actions": "has_actions", "physics": "has_physics", "camera": "has_camera"}
    return {name: [getattr(info, own.get(name, name)) for info in infos] for name in _COLUMNS}


def _digests(table: dict[str, list[Any]]) -> list[str] | None:
    """Return the digests of the clips; None in files of before they had any."""
    digests = table.get("digest")
    if digests is not None and (len(digests) != len(table["frames"]) or {type(one) for one in digests} != {str}):
        raise ValueError("digest: a text for each clip expected")
    return digests


def _layout(table: dict[str, list[Any]], width: int) -> _Layout:
    """Return the arrays of clips; labels that no clip has have none."""
    frames = table["frames"]
    labelled = {name: sum(n for n, has in zip(frames, table[name], strict=True) if has) for name in _LABELS}
    arrays: _Layout = {
        "motion": ("F32", (sum(n * dim for n, dim in zip(frames, table["dim"], strict=True)),)),
        "embedding": ("F32", (len(frames), width)),
        "physics": ("F32", (labelled["physics"], PHYSICS_DIM)),
        "camera": ("F32", (labelled["camera"], CAMERA_DIM)),
        "actions": ("U8", (labelled["actions"],)),
    }
    return {name: array for name, array in arrays.items() if labelled.get(name) != 0}


_LABELS = ("actions", "physics", "camera")


def _starts(table: dict[str, list[Any]]) -> dict[str, list[int]]:
    """Return where each clip begins in each array, in frames, those of motion in numbers."""
    frames = table["frames"]
    sizes = {name: [n if has else 0 for n, has in zip(frames, table[name], strict=True)] for name in _LABELS}
    sizes["motion"] = [n * dim for n, dim in zip(frames, table["dim"], strict=True)]
    return {name: list(accumulate(counts, initial=0))[:-1] for name, counts in sizes.items()}


def _header(layout: _Layout, metadata: dict[str, str]) -> tuple[bytes, dict[str, int]]:
    """Return the head of a safetensors file, and at which byte of the file each array begins."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    begins, at = {}, 0
    for name, (kind, shape) in layout.items():
        size = _TORCH_TYPES[kind].itemsize * torch.Size(shape).numel()
        entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        begins[name] = at
        at += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # so that the arrays lie at whole multiples of their numbers' size
    head = len(text).to_bytes(8, "little") + text
    return head, {name: len(head) + begin for name, begin in begins.items()}


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
