"""What a process does with a signal to stop while no run of its own is under way."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""What schedulers, containers and ``kill`` send, and what SLURM can be told to send some time before its limit."""


_received: list[signal.Signals] = []


def received() -> signal.Signals | None:
    """Return the signal to stop that :func:`pass_on` was given; None where there was none."""
    return _received[0] if _received else None


def pass_on(number: int, frame: Any) -> None:
    """Hand a signal on to the processes that a launcher has started, which save and end; without any, end at once.

    How the first of them ends then ends this one, since the launcher waits for it. Submitit's on this machine are
    waited for here. Ctrl-C is handed on as SIGTERM: a terminal sends it to all of them itself, and a second one would
    end them before they have saved.
    """
    workers = multiprocessing.active_children()
    if number == signal.SIGINT and not workers and not _submitit_controllers():
        raise KeyboardInterrupt
    _received[:] = [signal.Signals(number)]
    for worker in workers:
        if worker.pid is not None:
            os.kill(worker.pid, signal.SIGTERM if number == signal.SIGINT else number)
    if not workers:
        _end_submitit_jobs()
        sys.stderr.write(f"error: {signal.Signals(number).name}: stopped\n")
        raise SystemExit(128 + number)


def _end_submitit_jobs() -> None:
    """Ask the jobs that submitit runs on this machine to end until all have.

    Once is not enough: submitit lets SIGTERM, the one signal that it hands on to a job, pass until the job's run has
    begun.
    """
    while controllers := _submitit_controllers():
        for controller in controllers:
            with suppress(ProcessLookupError):  # has just ended
                os.kill(controller, signal.SIGTERM)
        time.sleep(0.5)


def _submitit_controllers() -> list[int]:
    """Return the processes of this one that each start a job of submitit's and wait for it.

    Neither multiprocessing nor submitit has a list of them, so it is read off Linux's. One that has ended has no
    command there any more, though nobody has asked yet how it ended.
    """
    found = []
    for children in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for child in children.read_text().split():
            with suppress(OSError):  # has just ended
                if b"submitit.local._local" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0"):
                    found.append(int(child))
    return found


def pass_signals_on(*, interrupts: bool = False) -> None:
    """Let :func:`pass_on` handle the signals to stop that nobody else does, in the main thread, which gets them.

    Args:
        interrupts: Ctrl-C too, for what starts processes that save before they end.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (*STOPPING, signal.SIGINT) if interrupts else STOPPING:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, pass_on)
