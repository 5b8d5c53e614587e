"""The injector: counts the write boundaries of this process, and makes one of them fail.

It replaces what Python's writers call: open, the writes of the file object, fsync, and the names' changes. All of
stickgen's writers go through these but FFmpeg's; see docs/reliability.md.
"""

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
KINDS = (*ERRORS, "kill")
"""How a boundary fails: a disk that is full, and stays so; one that fails once; a process that is killed."""

_GROWING = ("open", "write", "mkdir", "link")
"""What a full disk refuses."""


class Faults:
    """Watches the writes into some folders.

    Args:
        roots: the folders.
        at: which boundary fails, from 1; 0: none.
        kind: of :data:`KINDS`.

    Attributes:
        passed: the boundaries that were reached: what, and where.
    """

    def __init__(self, roots: list[Path], at: int = 0, kind: str = "EIO") -> None:
        self._roots = [str(root.resolve()) for root in roots]
        self._at, self._kind = at, kind
        self._process = os.getpid()
        self._full = False
        self.passed: list[tuple[str, str]] = []

    def reach(self, what: str, path: Any, partly: Callable[[], object] | None = None) -> None:
        """Count a boundary and let it fail if it is the one; ``partly`` does half of a write first."""
        where = os.path.abspath(os.fsdecode(path))
        if os.getpid() != self._process or not any(where.startswith(f"{root}/") for root in self._roots):
            return
        if self._full and what in _GROWING:
            raise self._error(what, where)
        self.passed.append((what, where))
        if len(self.passed) != self._at:
            return
        if partly is not None:
            partly()
        if self._kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        self._full = self._kind == "ENOSPC"
        raise self._error(what, where)

    def _error(self, what: str, where: str) -> OSError:
        number = ERRORS[self._kind]
        # As the system's: what is asked for by a handle names no file.
        return OSError(number, os.strerror(number), *([] if what in ("write", "fsync") else [where]))

    def install(self) -> None:
        """Watch from here on, for as long as the process lives."""
        faults, real_open = self, io.open

        class Preview(io.FileIO):
            def write(self, data: Any) -> int:
                half = memoryview(data).cast("B")
                faults.reach("write", self.name, lambda: super(Preview, self).write(half[: len(half) // 2]))
                return super().write(data)

        def watched_open(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **named: Any) -> Any:
            if isinstance(file, int) or not set(mode) & set("wax+"):
                return real_open(file, mode, buffering, *more, **named)
            faults.reach("open", file)
            if not any(os.path.abspath(os.fsdecode(file)).startswith(f"{root}/") for root in faults._roots):
                return real_open(file, mode, buffering, *more, **named)
            raw = Preview(file, mode.replace("b", "").replace("t", ""))
            if buffering == 0:
                return raw
            held = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
            if "b" in mode:
                return held
            options = dict(zip(("encoding", "errors", "newline"), more, strict=False)) | named
            text = {name: options.get(name) for name in ("encoding", "errors", "newline")}
            return io.TextIOWrapper(held, **text)

        builtins.open = watched_open  # type: ignore[assignment]
        io.open = watched_open  # type: ignore[assignment]
        self._watch_system()

    def _watch_system(self) -> None:
        def at(handle: int) -> str:
            return os.readlink(f"/proc/self/fd/{handle}")

        def named(what: str, name: str, position: int = 0) -> None:
            real = getattr(os, name)

            def call(*arguments: Any, **more: Any) -> Any:
                path = arguments[position]
                folder = more.get("dir_fd")
                self.reach(
                    what, at(path) if isinstance(path, int) else os.path.join(at(folder), path) if folder else path
                )
                return real(*arguments, **more)

            setattr(os, name, call)

        real_open = os.open

        def watched_open(path: Any, flags: int, *more: Any, **rest: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.reach("open", path)
            return real_open(path, flags, *more, **rest)

        os.open = watched_open
        named("fsync", "fsync")
        named("write", "pwrite")
        named("mkdir", "mkdir")
        named("rename", "replace", 1)
        named("rename", "rename", 1)
        named("link", "link", 1)
        named("unlink", "unlink")
        named("unlink", "remove")
        named("unlink", "rmdir")
        from stickgen import disk

        real = disk._exchange

        def exchange(one: Path, other: Path) -> bool:
            self.reach("rename", other)
            return real(one, other)

        disk._exchange = exchange
