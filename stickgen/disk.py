"""Putting files and folders in each other's place on the disk, in one step and for good."""

import ctypes
import errno
import os
import sys
from pathlib import Path

REPLACED = ".replaced"
"""What the name of a replaced folder ends in, where two folders cannot change places in one step."""

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links answer."""


def sync(path: Path) -> None:
    """Flush a file, or a folder with its files, to the disk: a rename must not outlive the bytes it names."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            # Some writers make files that only their owner can read; give them the usual permissions.
            file.chmod(0o666 & ~_umask())
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    if path.is_dir():
        sync_folder(path)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(handle)


def replace(written: Path, path: Path, keep: Path | None = None) -> None:
    """Give a file or a folder a name, which an older one may have.

    Args:
        written: the new one, in a temporary folder on the same file system.
        path: the name. An older folder of that name ends up in the temporary folder.
        keep: a further name for an older file.

    Raises:
        OSError: the system refuses; the older one has kept its name.
    """
    if keep is not None and path.is_file():
        _keep(path, keep, written.with_name("kept"))
    if not (written.is_dir() and path.is_dir()):
        os.replace(written, path)
    elif not _exchange(written, path):
        aside = written.with_name(path.name + REPLACED)
        os.rename(path, aside)
        try:
            os.rename(written, path)
        except OSError:
            os.rename(aside, path)
            raise


def _keep(path: Path, keep: Path, link: Path) -> None:
    """Give a file a further name, so that it has one at any time."""
    try:
        os.link(path, link)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.replace(path, keep)
    else:
        os.replace(link, keep)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; return False where the system cannot (Linux can)."""
    at_working_directory, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    if rename(at_working_directory, os.fsencode(one), at_working_directory, os.fsencode(other), exchange) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
