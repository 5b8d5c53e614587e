"""The data file, ``sft_data_embedded.pt``: read without running anything in it, written in one step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stickgen.errors import DataError
from stickgen.files import atomic_write, check_absent, read_torch


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
        info = _record(content.get("info"), "info", path)
        _record(info.get("text_encoder"), "info.text_encoder", path)
        content = content.get("sequences")
    if not isinstance(content, list):
        raise DataError(f"{path}: a list of clips, or a dict with one under 'sequences', expected (see docs/data.md)")
    if not content:
        raise DataError(f"{path}: holds no clips")
    return content, info


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
        path: where to.
        sequences: the clips, as docs/data.md describes them.
        info: the file's own record: ``{"text_encoder": {"id": str, "dim": int}, "fps": 25, "made_by": str, …}``.
        overwrite: replace an existing file.

    Raises:
        OutputExistsError: ``path`` exists and ``overwrite`` is false, or it is a folder.
    """
    check_absent(path, overwrite=overwrite, file=True)
    with atomic_write(path, overwrite=overwrite) as scratch:
        torch.save({"sequences": list(sequences), "info": info}, scratch)
