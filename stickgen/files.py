"""Writing files so that a reader, or a crash, never meets half of one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stickgen.errors import OutputExistsError


def check_absent(path: Path, *, overwrite: bool = False) -> None:
    """Refuse an output that is already there, before any work is spent on it.

    Raises:
        OutputExistsError: ``path`` exists and ``overwrite`` is false.
    """
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path}: already exists and was kept; name another output or pass overwrite")


@contextmanager
def atomic_write(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it becomes ``path`` in one step, on an error it is removed.

    The caller writes a file, or makes a folder, at the temporary path. A folder replaces an older one only where
    ``overwrite`` is true. The suffix of ``path`` is kept, since some writers choose their format by it.

    Raises:
        OutputExistsError: ``path`` exists and ``overwrite`` is false.
        OSError: the place cannot be written to.
    """
    check_absent(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        written = scratch / path.name
        yield written
        _sync(written)
        if path.is_dir():
            path.rename(scratch / "replaced")
        os.replace(written, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sync(path: Path) -> None:
    """Flush what was written to the disk: a rename must not outlive the bytes it names."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
