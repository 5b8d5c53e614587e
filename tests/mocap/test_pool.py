import os
from pathlib import Path

import pytest

from stickgen.errors import DataError, StickgenError
from stickgen.mocap.pool import each


def square(number: int) -> int:
    if number < 0:
        raise DataError(f"{number}: below 0")
    return number**2


def end(number: int) -> int:
    os._exit(1)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_order_and_progress_is_told(workers: int) -> None:
    told: list[tuple[str, int, int]] = []
    results = each(square, range(50), workers, "squaring", lambda *done: told.append(done))
    assert results == [number**2 for number in range(50)]
    assert told == [("squaring", done, 50) for done in range(51)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_is_raised(workers: int) -> None:
    with pytest.raises(DataError, match=r"^-7: below 0$"):
        each(square, [*range(20), -7, *range(20), -8], workers)


def test_a_process_that_is_killed_is_told() -> None:
    with pytest.raises(StickgenError, match="ended before its time"):
        each(end, range(50), 2)


def test_few_items_start_no_process(tmp_path: Path) -> None:
    assert set(each(lambda _: os.getpid(), range(5), 2)) == {os.getpid()}
