"""Which process writes where: locks on folders, and the owners of temporary files.

A lock is a file that its owner keeps locked (POSIX record locks, which the system releases when a process ends, however
it ends, and which child processes do not inherit). The file also names the owner, for messages and for file systems
that do not pass locks on between machines.
"""

import errno
import hashlib
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stickgen.errors import DataError, FolderInUseError, OutputError

LOCK_FILE = "stickgen.lock"
"""Under this name a folder that is in use holds its lock."""

log = logging.getLogger(__name__)

_held: set[Path] = set()
"""Folders that this process has locked: the system grants a process its own locks again."""


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Keep other processes from writing into a folder while the context lasts.

    The folder is made where it does not exist, and removed again where nothing was written into it. The lock of a
    process that has ended is taken over. Windows has no such locks; there nothing is locked.

    Args:
        folder: of a run or a sweep.

    Raises:
        FolderInUseError: another process uses the folder, or one of another machine may.
        OutputError: the lock cannot be written.
        OSError: the folder cannot be made.
    """
    folder = folder.resolve()
    if folder in _held:
        raise _in_use(folder, _owner())
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    handle = _lock(folder)
    _held.add(folder)
    try:
        yield
    finally:
        _held.discard(folder)
        (folder / LOCK_FILE).unlink(missing_ok=True)
        os.close(handle)
        if made:
            with suppress(OSError):  # it holds something
                folder.rmdir()


@dataclass(frozen=True)
class Owner:
    """The process that writes into a folder.

    Attributes:
        pid: its number.
        here: whether it runs on this machine, where it can be sent a signal.
    """

    pid: int
    here: bool


def owner_of(folder: Path) -> Owner | None:
    """Return the process that has locked a folder; None where there is none, or it has ended."""
    try:
        handle = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        owner = _read_owner(handle)
    finally:
        os.close(handle)
    if not owner or _has_ended(owner):
        return None
    return Owner(owner["pid"], owner["host"] == platform.node())


UNFINISHED = ".unfinished"
"""Behind the name of an output, the name of the folder of what a stopped command had done of it."""


SAVE_SECONDS = 10.0
"""So much work a command that is killed loses at most."""


@contextmanager
def unfinished_folder(output: Path) -> Iterator[Path]:
    """Yield a locked folder beside an output, for what is done of it.

    It is removed at the end, and where the data turn out to be wrong: mended data are other data.

    Raises:
        FolderInUseError: another process is making the same output.
        OutputError: the folder cannot be locked.
        OSError: it cannot be made.
    """
    folder = output.with_name(output.name + UNFINISHED)
    try:
        with folder_lock(folder):
            try:
                yield folder
            except DataError:
                _empty(folder)
                raise
            _empty(folder)
    finally:
        with suppress(OSError):  # it is gone, or what is done is to be kept
            folder.rmdir()


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_file() and path.name != LOCK_FILE:
            path.unlink()


def _lock(folder: Path) -> int:
    """Lock a folder and return the open lock file."""
    path = folder / LOCK_FILE
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            locked = _lock_file(handle)
            owner = _read_owner(handle)
            if not locked or (owner and not _has_ended(owner)):
                raise _in_use(folder, owner)
            with suppress(FileNotFoundError):
                if os.fstat(handle).st_ino == path.stat().st_ino:  # its former owner has not removed it meanwhile
                    if owner:
                        log.info(
                            "%s: took over the lock of process %s on %s, which has ended",
                            folder, owner["pid"], owner["host"],
                        )  # fmt: skip
                    os.ftruncate(handle, 0)
                    os.pwrite(handle, json.dumps(_owner()).encode(), 0)
                    return handle
        except BaseException as error:
            os.close(handle)
            if isinstance(error, OSError):
                raise OutputError(f"{path}: {error.strerror}; the folder cannot be locked, name another") from None
            raise
        os.close(handle)


def _lock_file(handle: int) -> bool:
    """Lock an open file; return whether no other process has. Where files cannot be locked, its text decides alone."""
    import fcntl  # here, since Windows has none

    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def _owner() -> dict[str, Any]:
    """Return what names this process to others."""
    pid = os.getpid()
    return {
        "host": platform.node(),
        "pid": pid,
        "process_start": _process_start(pid),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _read_owner(handle: int) -> dict[str, Any]:
    """Return the owner that a lock file names; {} where it names none, as one whose owner was killed while writing."""
    with suppress(ValueError):
        owner = json.loads(os.pread(handle, 4096, 0))
        if isinstance(owner, dict) and {"host", "pid", "since"} <= owner.keys() and isinstance(owner["pid"], int):
            return owner
    return {}


def _has_ended(owner: dict[str, Any]) -> bool:
    """Return whether the owner of a file that is not locked has ended, as far as this machine can tell."""
    if owner["host"] == platform.node():
        return not is_running(owner["pid"], owner.get("process_start"))
    # A scheduler starts a job again only after its former processes have ended.
    job = os.environ.get("SLURM_JOB_ID")
    return job is not None and job == owner.get("slurm_job")


def _in_use(folder: Path, owner: dict[str, Any]) -> FolderInUseError:
    who = f"process {owner['pid']} on {owner['host']} since {owner['since']}" if owner else "another process"
    if owner and owner["host"] != platform.node():
        way_out = f"wait until it has ended; if it was killed, remove {folder / LOCK_FILE}"
    else:
        way_out = "wait until it has ended, stop it, or choose another folder"
    return FolderInUseError(f"{folder}: in use by {who}; {way_out}")


def scratch_prefix() -> str:
    """Return how the names of this process's temporary folders begin: with its machine, its number and its start."""
    return f"{SCRATCH}{_machine()}-{os.getpid()}-{_process_start(os.getpid()) or 0}-"


SCRATCH = ".stickgen-"
"""How the names of all temporary folders begin."""

_DAY = 24 * 3600.0


def is_left_over(folder: Path) -> bool:
    """Return whether a temporary folder belongs to a process that has ended.

    Processes of another machine cannot be asked; they are taken to have ended when their folder is a day old.
    """
    try:
        machine, pid, start = folder.name.removeprefix(SCRATCH).split("-")[:3]
        if machine != _machine():
            return time.time() - folder.stat().st_mtime > _DAY
        return not is_running(int(pid), int(start) or None)
    except (ValueError, OSError):
        return False


def _machine() -> str:
    """Return a short name of this machine, another one in each container, whose process numbers are its own."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def is_running(pid: int, start: int | None = None) -> bool:
    """Return whether a process of this machine is running.

    Args:
        pid: its number.
        start: when it started, in the system's ticks; None: any process of that number is meant.
    """
    if sys.platform == "win32":  # which has no harmless way to ask
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    found = _process_start(pid)
    return found != -1 and (start is None or found is None or found == start)


def _process_start(pid: int) -> int | None:
    """Return when a process started, in ticks; None where the system does not tell, −1 where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
