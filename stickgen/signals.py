"""What a process does with a signal to stop while no run of its own is under way."""

import multiprocessing
import os
import signal
import sys
import threading
from typing import Any

STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""What schedulers, containers and ``kill`` send, and what SLURM can be told to send some time before its limit."""


_received: list[signal.Signals] = []


def received() -> signal.Signals | None:
    """Return the signal to stop that :func:`pass_on` was given; None where there was none."""
    return _received[0] if _received else None


def pass_on(number: int, frame: Any) -> None:
    """Hand a signal on to the processes that a launcher has started, which save and end; without any, end at once.

    How the first of them ends then ends this one, since the launcher waits for it.
    """
    _received[:] = [signal.Signals(number)]
    workers = multiprocessing.active_children()
    for worker in workers:
        if worker.pid is not None:
            os.kill(worker.pid, number)
    if not workers:
        sys.stderr.write(f"error: {signal.Signals(number).name}: stopped\n")
        raise SystemExit(128 + number)


def pass_signals_on() -> None:
    """Let :func:`pass_on` handle the signals to stop that nobody else does, in the main thread, which gets them."""
    if threading.current_thread() is threading.main_thread():
        for number in STOPPING:
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, pass_on)
