import math

import pytest
import torch

from stickgen.errors import AdapterError
from stickgen.lora import route

PROTOTYPES = {
    "tired": torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.1, 0.0]]),
    "sneaky": torch.tensor([[0.0, 2.0, 0.0]]),
    "energetic": torch.tensor([[-1.0, 0.0, 0.0]]),
}


def test_weights_are_the_softmax_of_the_closest_prototypes() -> None:
    weights = route(torch.tensor([1.0, 1.0, 0.0]), PROTOTYPES, temperature=0.5, floor=0.0)
    closest = {"tired": 1.0 / math.sqrt(0.82 * 2), "sneaky": 1 / math.sqrt(2), "energetic": -1 / math.sqrt(2)}
    total = sum(math.exp(value / 0.5) for value in closest.values())
    assert weights == pytest.approx({name: math.exp(value / 0.5) / total for name, value in closest.items()})
    assert list(weights) == ["tired", "sneaky", "energetic"], "the largest first"


def test_below_the_floor_none_is_left_and_the_rest_sum_to_one() -> None:
    weights = route(torch.tensor([1.0, 1.0, 0.0]), PROTOTYPES, temperature=0.5, floor=0.1)
    assert list(weights) == ["tired", "sneaky"]
    assert sum(weights.values()) == pytest.approx(1)
    assert list(route(torch.tensor([1.0, 1.0, 0.0]), PROTOTYPES, temperature=10.0, floor=0.9)) == ["tired"]


def test_a_low_temperature_decides() -> None:
    assert route(torch.tensor([0.1, 3.0, 0.0]), PROTOTYPES, temperature=0.01) == pytest.approx({"sneaky": 1.0})


@pytest.mark.parametrize(
    ("prompt", "prototypes", "options", "message"),
    [
        (torch.ones(3), {}, {}, "no adapter given"),
        (torch.ones(4), PROTOTYPES, {}, r"prototypes of tired: \[n, 4\] expected, \[2, 3\] found"),
        (torch.ones(3), {"a": torch.ones(3)}, {}, r"prototypes of a: .* \[3\] found"),
        (torch.zeros(3), PROTOTYPES, {}, "an embedding is zero"),
        (torch.ones(3), {"a": torch.full((1, 3), math.nan)}, {}, "NaN"),
        (torch.ones(3), PROTOTYPES, {"temperature": 0.0}, "temperature=0"),
        (torch.ones(3), PROTOTYPES, {"floor": 1.0}, "floor=1"),
    ],
)
def test_what_cannot_be_compared(prompt, prototypes, options, message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        route(prompt, prototypes, **options)
