"""The same function for many items, on several processes, in the order of the items."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Protocol, TypeVar

from stickgen.errors import StickgenError

Progress = Callable[[str, int, int], None]
"""Is told what is under way, how many items are done, and how many there are."""


class Kept(Protocol):
    """Results that an earlier command has left, and where new ones go; see :class:`~stickgen.mocap.unfinished.Step`."""

    results: list[Any]

    def add(self, result: Any) -> None:
        """Keep the result of the next item."""


Item = TypeVar("Item")
Result = TypeVar("Result")

_WORTH_A_POOL = 16
"""Fewer items are done before other processes have started."""


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int = 1,
    what: str = "",
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> list[Result]:
    """Return the function's results, in the order of the items whatever the number of processes.

    Args:
        function: what to do; with several workers it and its results have to be picklable. It is sent to each process
            once, so that what it holds may be large.
        items: what to do it with.
        workers: processes; 1 uses this one alone.
        what: what is done, for ``progress``.
        progress: is called at the start and after every item.
        kept: results of the first items, and where those of the others are kept.

    Raises:
        StickgenError: a process ended before its time; or what the function raises, of several errors that of the first
            item.
    """
    results: list[Result] = list(kept.results) if kept else []
    if progress:
        progress(what, len(results), len(items))
    for result in _results(function, items[len(results) :], workers):
        results.append(result)
        if kept:
            kept.add(result)
        if progress:
            progress(what, len(results), len(items))
    return results


def _results(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    workers = min(workers, len(items))
    if workers < 2 or len(items) < _WORTH_A_POOL:
        yield from map(function, items)
        return
    executor = ProcessPoolExecutor(workers, initializer=_set_function, initargs=(function,))
    try:
        yield from executor.map(_call, items, chunksize=max(1, min(4, len(items) // (4 * workers))))
    except BrokenProcessPool:
        raise StickgenError(
            "a worker process ended before its time, for want of memory perhaps; try --workers 1"
        ) from None
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


# A worker's own; sent once when it starts, and not with every item.
_function: Callable[[Any], Any] | None = None


def _set_function(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    # An interrupt reaches every process of a terminal; the one that started the others ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _call(item: Any) -> Any:
    assert _function is not None
    return _function(item)
