import pytest

from stickgen.training.micro_batch import fastest


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
