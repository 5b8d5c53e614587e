"""Steps on all threads or on one, whichever is faster at the time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_TRIAL = 20
"""Times its own length that a trial waits: so trials take at most a twentieth of the time."""

_WEIGHT = 0.3
"""Of a step in the mean of its kind: one that the machine has held up does not decide alone."""


class ThreadChoice:
    """Chooses the number of threads for steps of the same work, by what each number took of late.

    Threads wait actively for each other, several hundred times a step. On free cores that is the fastest; where another
    program keeps one of them busy, a step takes ten times as long as on one thread, and it cannot be known beforehand.

    Args:
        clock: seconds, as :func:`time.perf_counter`.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._before = torch.get_num_threads()
        self._seconds = dict.fromkeys((self._before, 1), 0.0)
        self._tried = dict.fromkeys(self._seconds, -float("inf"))

    @contextmanager
    def step(self) -> Iterator[None]:
        """Compute one step on as many threads as are best; then PyTorch has its own number again."""
        start = self._clock()
        due = [n for n, seconds in self._seconds.items() if start - self._tried[n] > _TRIAL * seconds]
        threads = due[0] if due else min(self._seconds, key=self._seconds.__getitem__)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(self._before)
        self._tried[threads] = self._clock()
        taken = self._tried[threads] - start
        # What was not tried for a while is another machine now.
        weight = 1.0 if due else _WEIGHT
        self._seconds[threads] += weight * (taken - self._seconds[threads])
