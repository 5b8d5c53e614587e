"""How far a command is: a bar with the time left on a terminal, elsewhere a line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LINE_SECONDS = 60.0
"""Between two lines where nobody watches a terminal."""


@contextmanager
def shown_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that is told a step, how many of its items are done, and how many there are.

    Everything goes to standard error.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        from rich.progress import Progress

        with Progress(console=console, transient=True) as bar:
            tasks: dict[str, Any] = {}

            def show(step: str, done: int, total: int) -> None:
                if step not in tasks:  # what an earlier command has done says nothing about the speed of this one
                    tasks[step] = bar.add_task(step, total=total, completed=done)
                bar.update(tasks[step], completed=done)

            yield show
        return
    begun: dict[str, tuple[float, int]] = {}
    last = time.monotonic()

    def tell(step: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        started, before = begun.setdefault(step, (now, done))
        if now - last >= LINE_SECONDS and done > before:
            last = now
            left = (now - started) / (done - before) * (total - done)
            minutes, seconds = divmod(round(left), 60)
            console.print(f"{step}: {done:,} of {total:,}, about {minutes}:{seconds:02} min left", highlight=False)

    yield tell
