"""Reading files without running what is in them; writing them so that no one ever meets half of one."""

import logging
import os
import pickle
import shutil
import struct
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

from stickgen.digests import check_torch
from stickgen.disk import REPLACED, replace, sync, sync_folder
from stickgen.errors import CheckpointError, ConfigError, OutputError, OutputExistsError, StickgenError
from stickgen.locks import SCRATCH, is_left_over, scratch_prefix

log = logging.getLogger(__name__)

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
        mmap: leave tensors on the disk until they are used; the digest of the file is then not compared.

    Raises:
        StickgenError: as ``mistake``, where the file is missing or damaged, or holds objects that would have to be
            executed.
    """
    import torch  # here, since the command line needs this module and not torch

    if not path.is_file():
        raise mistake(missing_file(path))
    archive = False
    try:
        archive = is_zipfile(path)
        if not mmap:
            check_torch(path, mistake)
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


def missing_file(path: Path) -> str:
    """Return the message about an input that is no file."""
    return f"{path}: is a folder; name a file" if path.is_dir() else f"{path}: no such file"


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
def atomic_write(
    path: Path,
    *,
    overwrite: bool = False,
    folder_of: Collection[str] | None = None,
    keep: Path | None = None,
    verify: Callable[[Path], object] | None = None,
) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it becomes ``path`` in one step, on an error it is removed.

    The bytes are on the disk before the name is. The suffix of ``path`` is kept, since some writers choose their format
    by it. What killed commands have left in the folder is removed first.

    Args:
        path: the output.
        overwrite: whether an existing one may be replaced.
        folder_of: None: the caller writes a file at the temporary path, which never replaces a folder. Names: it makes
            a folder there that holds files of these names; it replaces an older one only where that holds no others.
        keep: a file beside ``path`` under which a replaced file is kept.
        verify: is called with the temporary path when the bytes are on the disk, and raises where they are wrong.

    Raises:
        OutputExistsError: the output is there and must be kept; see :func:`check_absent` and :func:`check_folder`.
        OutputError: the place cannot be written to, or is full; nothing was replaced.
    """
    if folder_of is None:
        check_absent(path, overwrite=overwrite, file=True)
    else:
        check_folder(path, folder_of, overwrite=overwrite)
    scratch = _make_scratch(path)
    try:
        written = scratch / path.name
        with _told_of(path, scratch):
            yield written
            sync(written)
            if verify is not None:
                verify(written)
            replace(written, path, keep)
        # Also the name has to reach the disk; the file is in place already.
        with _told_of(path, scratch, "was replaced, but the disk did not confirm it"):
            sync_folder(path.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder of the system's temporary ones, which is removed again.

    Raises:
        OutputError: it cannot be written to, or is full.
    """
    try:
        remove_leftovers(Path(tempfile.gettempdir()))
        scratch = Path(tempfile.mkdtemp(prefix=scratch_prefix()))
    except OSError as error:
        raise OutputError(f"{tempfile.gettempdir()}: {error.strerror}; TMPDIR names another folder") from None
    try:
        with _told_of(scratch.parent, scratch, "the temporary folder is needed; TMPDIR names another"):
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _told_of(path: Path, scratch: Path, outcome: str = "nothing was replaced") -> Iterator[None]:
    """Let the system's errors name the output instead of a temporary file or nothing; others pass."""
    try:
        yield
    except Exception as error:  # FFmpeg's errors with a number are not all OSErrors
        if not isinstance(getattr(error, "errno", None), int):
            raise
        name = getattr(error, "filename", None)
        # Some writers make the path absolute before they open it.
        place, own, asked = (
            p.absolute() for p in (scratch if name is None else Path(os.fsdecode(name)), scratch, path)
        )
        if own not in (place, *place.parents) and place not in (asked, asked.parent):
            raise
        raise OutputError(f"{path}: {getattr(error, 'strerror', None) or error}; {outcome}") from None


def _make_scratch(path: Path) -> Path:
    """Make a folder beside a path; where that cannot be, the error names the path that was asked for."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        return Path(tempfile.mkdtemp(prefix=scratch_prefix(), dir=path.parent))
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; name another output") from None


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary folders that killed commands have left in a folder.

    A folder that was being replaced, and has not got its name back, gets it back.
    """
    for scratch in folder.glob(f"{SCRATCH}*"):
        if not is_left_over(scratch):
            continue
        for replaced in scratch.glob(f"*{REPLACED}"):
            target = folder / replaced.name.removesuffix(REPLACED)
            if not target.exists():
                replaced.rename(target)
        shutil.rmtree(scratch, ignore_errors=True)
        if not scratch.exists():
            log.info("%s: removed; a killed command had left it", scratch)


def _is_a_folder(path: Path) -> OutputExistsError:
    return OutputExistsError(f"{path}: is a folder and was kept; name a file in it or beside it")
