"""Reading files of tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

from safetensors import SafetensorError, safe_open
from torch import Tensor

from stickgen import files
from stickgen.digests import check_safetensors
from stickgen.errors import CheckpointError
from stickgen.untrusted import MAX_TENSORS, check_archive


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of a .safetensors file, compared with its digest where it has one.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with _opened(path) as file:
        names = list(file.keys())
        if len(names) > MAX_TENSORS:
            raise CheckpointError(f"{path}: holds {len(names)} tensors; at most {MAX_TENSORS} expected")
        tensors, metadata = {key: file.get_tensor(key) for key in names}, file.metadata() or {}
        check_safetensors(tensors, metadata, path, CheckpointError)
        return tensors, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a .safetensors file, without its tensors.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    with _opened(path) as file:
        return file.metadata() or {}


def read_content(path: Path) -> tuple[Any, dict[str, str]]:
    """Return what a file holds, of either format, and its metadata, which only a .safetensors file has.

    Raises:
        CheckpointError: see :func:`read_safetensors` and :func:`read_torch`.
    """
    return read_safetensors(path) if path.suffix == ".safetensors" else (read_torch(path), {})


def read_torch(path: Path) -> Any:
    """Return the content of a .pth, .pt or .ckpt file.

    Raises:
        CheckpointError: the file is missing or damaged, or holds objects that would have to be executed.
    """
    try:
        if path.is_file() and is_zipfile(path):
            check_archive(path, stored=True)
    except BadZipFile:
        pass  # damaged, as is said below
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return files.read_torch(
        path,
        mistake=CheckpointError,
        instead="where it was made, save the tensors alone: torch.save(checkpoint['model_state_dict'], 'base.pth')",
    )


def is_dense(tensor: Tensor) -> bool:
    """Return whether a tensor's numbers are all in its file; a view can repeat a few of them any number of times."""
    return tensor.is_meta or tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise CheckpointError(files.missing_file(path))
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a safetensors file, or damaged: {error}") from None
