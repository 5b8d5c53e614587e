"""Reading files without running what is in them; writing them so that no one ever meets half of one."""

import os
import pickle
import shutil
import struct
import tempfile
import warnings
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

from stickgen.errors import CheckpointError, ConfigError, OutputExistsError, StickgenError

# What torch's readers of both formats raise over damaged files; they check little before they use it.
_DAMAGE = (
    RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError, AssertionError, struct.error,
    BadZipFile,
)  # fmt: skip


def read_torch(path: Path, *, mistake: type[StickgenError], instead: str, mmap: bool = False) -> Any:
    """Return the content of a .pt, .pth or .ckpt file that holds tensors and plain values.

    Args:
        path: the file.
        mistake: the error to raise for what is wrong with the file.
        instead: what to do about a file that holds Python objects, for the message.
        mmap: leave tensors on the disk until they are used.

    Raises:
        StickgenError: as ``mistake``, where the file is missing or damaged, or holds objects that would have to be
            executed.
    """
    import torch  # here, since the command line needs this module and not torch

    if not path.is_file():
        raise mistake(f"{path}: no such file")
    archive = False
    try:
        archive = is_zipfile(path)
        with torch.serialization.safe_globals(_numpy_scalars()), warnings.catch_warnings():
            # What is said of a plain pickle before it is refused.
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            # Files of before torch 1.6 are no zip archives and cannot be mapped into memory.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and archive)
    except pickle.UnpicklingError as error:
        if archive or "GLOBAL" in str(error):
            raise mistake(
                f"{path}: holds Python objects, which would have to be executed, and was refused; {instead}"
            ) from None
        raise mistake(f"{path}: not a torch file, or damaged") from None
    except _DAMAGE as error:
        # What torch's readers say is of their own insides: a key of theirs, or a bug that they may have.
        reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        raise mistake(f"{path}: not a torch file, or damaged{reason}") from None


def _numpy_scalars() -> list[Any]:
    """Return what a pickled numpy number is made of; the reference's checkpoints hold some, and they carry no code."""
    import numpy as np

    scalar = np.float64().__reduce__()[0]
    kinds = {type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)}
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, *kinds]


def check_exists(path: Path) -> None:
    """Refuse an input that is not there, before any work is spent on reading it.

    Raises:
        CheckpointError: ``path`` does not exist.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder")


def check_absent(path: Path, *, overwrite: bool = False, file: bool = False) -> None:
    """Refuse an output that is already there, before any work is spent on it.

    Args:
        path: the output.
        overwrite: whether an existing one may be replaced.
        file: whether the output will be a file, which never replaces a folder.

    Raises:
        OutputExistsError: ``path`` exists and ``overwrite`` is false, or it is a folder and ``file`` is true.
    """
    if file and path.is_dir():
        raise _is_a_folder(path)
    if path.exists() and not overwrite:
        way_out = "name another output, or replace it (--overwrite; merge.py: overwrite=true)"
        raise OutputExistsError(f"{path}: already exists and was kept; {way_out}")


def check_writable(*outputs: Path) -> None:
    """Refuse outputs that could not be written when the work is done, before any is spent on them.

    Args:
        outputs: files that are to be written; their folders need not be there yet, but for those at a disk's root.

    Raises:
        ConfigError: a folder can neither be written to nor be made, or two of the outputs are one file.
    """
    for path in outputs:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if folder == Path(folder.anchor) != path.absolute().parent:
            # Most likely mistyped: nobody's results are to make folders beside the system's.
            raise ConfigError(f"{path}: no such folder as {path.parent}; make it first, or name another output")
        if not folder.is_dir():
            raise ConfigError(f"{path}: {folder} is a file, so nothing can be written in it; name another output")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{path}: {folder} may not be written to; name another output")
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise ConfigError(f"{outputs[0]}: named for two outputs; give each its own file")


def check_folder(path: Path, names: Collection[str], *, overwrite: bool = False) -> None:
    """Refuse a folder as an output, as :func:`check_absent` does, and one that holds what is not its like to replace.

    Args:
        path: the output.
        names: of the files that the folder will hold; one that holds anything else is never replaced.
        overwrite: whether an existing one may be replaced.

    Raises:
        OutputExistsError: ``path`` exists and ``overwrite`` is false, it is a file, or it holds something else.
    """
    check_absent(path, overwrite=overwrite)
    if path.exists() and not path.is_dir():
        raise OutputExistsError(f"{path}: is a file and was kept; name a folder")
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in names) if path.is_dir() else []
    if others:
        raise OutputExistsError(
            f"{path}: holds {others[0]}, which would be lost, and was kept; name a new folder, or one in it"
        )


def check_keeps(outputs: Iterable[Path], sources: Iterable[Path]) -> None:
    """Refuse outputs that would take the place of what they are made from.

    Args:
        outputs: files and folders to be written.
        sources: files and folders that are read for them.

    Raises:
        OutputExistsError: an output is a source, a folder around one, or a file that one holds.
    """
    places = {source: source.resolve() for source in sources}
    for path in outputs:
        output = path.resolve()
        for source, place in places.items():
            if output == place or output in place.parents or (place in output.parents and output.exists()):
                raise OutputExistsError(f"{path}: would replace what it is made from, {source}; name another output")


@contextmanager
def atomic_write(path: Path, *, overwrite: bool = False, folder_of: Collection[str] | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it becomes ``path`` in one step, on an error it is removed.

    The suffix of ``path`` is kept, since some writers choose their format by it.

    Args:
        path: the output.
        overwrite: whether an existing one may be replaced.
        folder_of: None: the caller writes a file at the temporary path, which never replaces a folder. Names: it makes
            a folder there that holds files of these names; it replaces an older one only where that holds no others.

    Raises:
        OutputExistsError: the output is there and must be kept; see :func:`check_absent` and :func:`check_folder`.
        OSError: the place cannot be written to.
    """
    if folder_of is None:
        check_absent(path, overwrite=overwrite, file=True)
    else:
        check_folder(path, folder_of, overwrite=overwrite)
    scratch = _make_scratch(path)
    try:
        written = scratch / path.name
        yield written
        _sync(written)
        if written.is_dir() and path.is_dir():
            path.rename(scratch / "replaced")
        os.replace(written, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _make_scratch(path: Path) -> Path:
    """Make a folder beside a path; where that cannot be, the error names the path that was asked for."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None


def _is_a_folder(path: Path) -> OutputExistsError:
    return OutputExistsError(f"{path}: is a folder and was kept; name a file in it or beside it")


def _sync(path: Path) -> None:
    """Flush what was written to the disk: a rename must not outlive the bytes it names."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            # Some writers make files that only their owner can read; give them the usual permissions.
            file.chmod(0o666 & ~_umask())
            with file.open("rb") as handle:
                os.fsync(handle.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
