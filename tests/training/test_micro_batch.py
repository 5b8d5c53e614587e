import pytest
import torch

from stickgen.training.micro_batch import AGAIN, fastest, search


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        ({1: 3.0, 2: 2.0, 4: 1.0, 8: 1.5}, 4),
        ({1: 1.02, 2: 1.0, 4: 1.01}, 1),  # what hardly differs is no reason for more memory
        ({1: 1.0, 2: 0.9}, 2),
        ({3: 5.0}, 3),
    ],
)
def test_the_fastest_size_wins_and_of_equals_the_smallest(seconds: dict[int, float], size: int) -> None:
    assert fastest(seconds) == size


def test_a_single_slow_measurement_does_not_decide() -> None:
    taken = {1: 2.0, 2: 1.0, 4: 1.1, 8: 3.0}
    asked: list[int] = []

    def measure(size: int) -> float:
        asked.append(size)
        return taken[size] + (0.15 if asked.count(size) == 1 and size == 2 else 0.0)  # disturbed at first

    assert fastest(search([1, 2, 4, 8, 16], measure)) == 2
    assert asked == [1, 2, 4, 8, *([2, 4] * AGAIN)]


def test_sizes_beyond_the_memory_are_left_out() -> None:
    def measure(size: int) -> float:
        if size > 4:
            raise torch.cuda.OutOfMemoryError
        return 1 / size

    assert list(search([1, 2, 4, 8], measure)) == [1, 2, 4]
