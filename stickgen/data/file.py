"""The data file, ``sft_data_embedded.pt`` or packed: read without running anything in it, written in one step."""

import glob
import json
import logging
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stickgen.data.licenses import joined_licenses, with_licenses
from stickgen.data.packed import PackedClips
from stickgen.data.packed_writer import Progress, Unfinished, write_packed
from stickgen.data.sequences import SequenceClips
from stickgen.data.stores import ClipStore, Shards
from stickgen.digests import write_torch
from stickgen.errors import ConfigError, DataError
from stickgen.files import atomic_write, check_absent, read_torch
from stickgen.locks import unfinished_folder
from stickgen.untrusted import parse_json

log = logging.getLogger(__name__)

PACKED_SUFFIX = ".safetensors"
"""A data file of this name, in small letters or capitals, is a packed one; any other is torch's."""

MOTION_CAPTURE = (".npz", ".bvh", ".c3d", ".amc", ".npy", ".skeleton", ".motion", ".pkl")
"""Names of what ``stickgen prepare`` makes data files of."""

SLOW_SECONDS = 5.0
"""From here on, opening a file of torch's is worth a line about packing it."""


def is_packed(path: Path) -> bool:
    """Return whether a data file of this name is a packed one."""
    return path.suffix.lower() == PACKED_SUFFIX


def check_data_name(path: Path) -> None:
    """Refuse an output whose name is that of another kind of file.

    Raises:
        ConfigError: it ends neither in .pt or .pth, nor in .safetensors.
    """
    if not is_packed(path) and path.suffix.lower() not in (".pt", ".pth"):
        raise ConfigError(f"{path}: a name that ends in .pt, or in {PACKED_SUFFIX} for a packed file, expected")


def shards(path: Path) -> list[Path] | None:
    """Return the packed files of a folder or of a pattern such as ``data/*.safetensors``, by name.

    Returns:
        None where the path is neither.

    Raises:
        DataError: the folder holds no packed file, or none matches the pattern.
    """
    if path.is_dir():
        files = [file for file in path.iterdir() if is_packed(file) and not file.name.startswith(".")]
    elif not path.exists() and glob.has_magic(str(path)):
        files = [Path(file) for file in glob.glob(str(path)) if is_packed(Path(file))]
    else:
        return None
    if not files:
        raise DataError(f"{path}: no packed files ({PACKED_SUFFIX}) found; `stickgen pack` writes them")
    return sorted(files)


def open_clips(path: Path, max_frames: int | None = None) -> tuple[ClipStore, dict[str, Any]]:
    """Open a data file, packed or of torch's, without reading the clips' motion.

    Args:
        path: the file; or a folder or pattern of packed files, which are read as one (:func:`shards`).
        max_frames: longer clips are cut to their first frames.

    Returns:
        the clips, and the file's own record, as :func:`read_sequences` returns it.

    Raises:
        DataError: the file is missing, damaged or refused, or a clip in it is not as docs/data.md describes.
    """
    if path.suffix.lower() in MOTION_CAPTURE and path.is_file():
        raise DataError(
            f"{path}: motion capture, not a data file; stickgen prepare {shlex.quote(str(path))} --output data.pt "
            "makes one of it (see docs/data.md)"
        )
    files = shards(path)
    if files is not None:
        return _open_shards(files, max_frames)
    if is_packed(path):
        packed = PackedClips(path, max_frames)
        info = _file_record(packed.record, path)
        packed.check_table()
        return packed, info
    started = time.monotonic()
    sequences, info = read_sequences(path)
    clips = SequenceClips(sequences, str(path), max_frames)
    seconds = time.monotonic() - started
    if seconds > SLOW_SECONDS:
        packed_path = path.with_suffix(PACKED_SUFFIX)
        log.info(
            "%s: took %.0f s to open; `stickgen pack %s %s` makes a file that opens at once",
            path, seconds, path, packed_path,
        )  # fmt: skip
    return clips, with_licenses(info, sequences)


def _open_shards(files: Sequence[Path], max_frames: int | None) -> tuple[ClipStore, dict[str, Any]]:
    """Open packed files as one set of clips.

    Raises:
        DataError: see :func:`open_clips`; captions of two files were embedded by different encoders.
    """
    opened = [open_clips(file, max_frames) for file in files]
    first, record = opened[0]
    for file, (store, info) in zip(files[1:], opened[1:], strict=True):
        width, expected = store.infos[0].width, first.infos[0].width
        if width != expected:
            raise DataError(f"{file}: embeddings of {width} numbers, {expected} expected as in {files[0]}")
        encoder, wanted = (of.get("text_encoder") or {} for of in (info, record))
        if encoder != wanted:
            names = [str(of.get("id", "an unknown encoder")) for of in (encoder, wanted)]
            raise DataError(
                f"{file}: captions embedded by {names[0]}, in {files[0]} by {names[1]} or in another way; prepare all "
                "of them with one encoder"
            )
    stores = [store for store, _ in opened]
    return (Shards(stores) if len(stores) > 1 else first), joined_licenses([info for _, info in opened])


def pack_each(
    sources: Sequence[Path], folder: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> dict[Path, ClipStore]:
    """Pack data files into a folder, each as a file of its name; return the clips of each file written.

    If it is stopped, the same call continues: it keeps the files that it had written.

    Raises:
        ConfigError: two sources are of one name.
        OutputExistsError: an output exists and ``overwrite`` is false.
        StickgenError: see :func:`pack`.
    """
    outputs = [folder / f"{source.stem}{PACKED_SUFFIX}" for source in sources]
    for place, output in enumerate(outputs):
        if output in outputs[:place]:
            raise ConfigError(f"{sources[place]}: another source would be {output} too; rename one of them")
    with unfinished_folder(folder) as done:
        pairs = list(zip(sources, outputs, strict=True))
        written = {output for source, output in pairs if _is_made_of(output, source, done)}
        for output in outputs:
            if output not in written:
                check_absent(output, overwrite=overwrite, file=True)
        folder.mkdir(parents=True, exist_ok=True)
        packed: dict[Path, ClipStore] = {}
        for source, output in pairs:
            if output in written:
                packed[output], _ = open_clips(output)
                continue
            packed[output] = pack(source, output, overwrite=overwrite, progress=progress)
            with atomic_write(done / f"{output.name}.json", overwrite=True) as scratch:
                scratch.write_text(json.dumps([_state(source), _state(output)]), encoding="utf-8")
        return packed


def _is_made_of(output: Path, source: Path, done: Path) -> bool:
    """Return whether a stopped command has made an output of a source, and neither has changed."""
    with suppress(OSError, ValueError):
        known = parse_json((done / f"{output.name}.json").read_text(encoding="utf-8"))
        return bool(known == [_state(source), _state(output)])
    return False


def _state(path: Path) -> list[list[Any]]:
    """Return path, size and time of change of a data file, or of each of several."""
    found = [(file, file.stat()) for file in shards(path) or [path]]
    return [[str(file.resolve()), stat.st_size, stat.st_mtime_ns] for file, stat in found]


def pack(source: Path, output: Path, *, overwrite: bool = False, progress: Progress | None = None) -> ClipStore:
    """Write the clips of a data file into a packed one, checking every number; return them.

    If it is stopped, the same call continues after the last clip that it had written to the disk.

    Raises:
        ConfigError: the output's name is not that of a packed file.
        DataError: the source cannot be read, or a clip in it cannot be used.
        OutputExistsError: the output exists and ``overwrite`` is false, or it is a folder.
        FolderInUseError: another process is making the same output.
    """
    if not is_packed(output):
        raise ConfigError(f"{output}: a name that ends in {PACKED_SUFFIX} expected")
    check_absent(output, overwrite=overwrite, file=True)
    clips, info = open_clips(source)
    with unfinished_folder(output) as folder, Unfinished(folder, str(_state(source))) as unfinished:
        write_packed(output, clips, info, overwrite=overwrite, progress=progress, unfinished=unfinished)
    return clips


def read_sequences(path: Path) -> tuple[list[Any], dict[str, Any]]:
    """Read the sequences of a data file and the file's own record.

    Tensors stay on the disk until they are used (``mmap``).

    Returns:
        the list of sequences, and the dict under ``"info"`` that ``stickgen prepare`` writes ({} elsewhere): the
        text encoder, frames a second, and how the file was made.

    Raises:
        DataError: the file is missing, is not a torch file, wants code to be run, or holds no list of clips,
            or its own record is none.
    """
    content = read_torch(
        path,
        mistake=DataError,
        instead="save plain lists, dicts, strings, numbers and tensors (see docs/data.md)",
        mmap=True,
    )
    info: dict[str, Any] = {}
    if isinstance(content, dict):
        info = _file_record(content.get("info"), path)
        content = content.get("sequences")
    if not isinstance(content, list):
        raise DataError(f"{path}: a list of clips, or a dict with one under 'sequences', expected (see docs/data.md)")
    if not content:
        raise DataError(f"{path}: holds no clips")
    return content, info


def _file_record(value: Any, path: Path) -> dict[str, Any]:
    info = _record(value, "info", path)
    _record(info.get("text_encoder"), "info.text_encoder", path)
    return info


def _record(value: Any, key: str, path: Path) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DataError(f"{path}: {key}: a dict expected, {type(value).__name__} found (see docs/data.md)")
    return value


def write_sequences(
    path: Path, sequences: Sequence[dict[str, Any]], info: dict[str, Any], *, overwrite: bool = False
) -> None:
    """Write a data file.

    Args:
        path: where to; a name that ends in .safetensors makes a packed file.
        sequences: the clips, as docs/data.md describes them.
        info: the file's own record: ``{"text_encoder": {"id": str, "dim": int}, "fps": 25, "made_by": str, …}``.
        overwrite: replace an existing file.

    Raises:
        OutputExistsError: ``path`` exists and ``overwrite`` is false, or it is a folder.
        DataError: a packed file was asked for, and a sequence is not as documented.
    """
    check_absent(path, overwrite=overwrite, file=True)
    if is_packed(path):
        write_packed(path, SequenceClips(sequences, str(path)), with_licenses(info, sequences), overwrite=overwrite)
        return
    with atomic_write(path, overwrite=overwrite) as scratch:
        write_torch({"sequences": list(sequences), "info": info}, scratch)
