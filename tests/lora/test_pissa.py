"""Adapters of principal singular directions, against the paper's formulation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.lora import LoRASettings, PiSSALinear


def make(rank: int = 3, alpha: float = 6.0, *, use_rslora: bool = False) -> PiSSALinear:
    torch.manual_seed(0)
    return PiSSALinear(nn.Linear(12, 7, dtype=torch.float64), rank, alpha, use_rslora=use_rslora)


def as_in_the_paper(layer: PiSSALinear, x: Tensor) -> Tensor:
    """``(W_res + scaling · B A) x + b`` with ``W_res = W − scaling · B₀ A₀``."""
    rest = layer.weight - layer.scaling * layer.initial_B @ layer.initial_A
    return F.linear(x, rest + layer.scaling * layer.lora_B @ layer.lora_A, layer.bias)


@pytest.mark.parametrize("use_rslora", [False, True])
def test_the_factors_start_as_the_largest_singular_directions(use_rslora: bool) -> None:
    layer = make(use_rslora=use_rslora)
    left, values, right = torch.linalg.svd(layer.weight, full_matrices=False)
    best = left[:, :3] @ values[:3].diag() @ right[:3]
    torch.testing.assert_close(layer.scaling * (layer.lora_B @ layer.lora_A).detach(), best)
    halves = (layer.lora_A @ layer.lora_A.T, layer.lora_B.T @ layer.lora_B)
    for half in halves:  # each of the two has the root of the values
        torch.testing.assert_close(half.detach(), (values[:3] / layer.scaling).diag())
    assert layer.delta_weight().abs().max() < 1e-15


def test_output_and_gradients_are_the_papers() -> None:
    layer = make()
    x = torch.randn(4, 12, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        layer.lora_A.add_(torch.randn_like(layer.lora_A))
        layer.lora_B.add_(torch.randn_like(layer.lora_B))
    inputs = [x, layer.lora_A, layer.lora_B]
    torch.testing.assert_close(layer(x), as_in_the_paper(layer, x))
    ours = torch.autograd.grad(layer(x).square().sum(), inputs)
    theirs = torch.autograd.grad(as_in_the_paper(layer, x).square().sum(), inputs)
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected)


def test_the_start_is_fixed_and_the_base_untouched() -> None:
    linear = nn.Linear(12, 7)
    before = linear.weight.detach().clone()
    layer = PiSSALinear(linear, 3, 6.0)
    start = layer.initial_A.clone(), layer.initial_B.clone()
    trained = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    assert trained.keys() == {"lora_A", "lora_B"}
    layer(torch.randn(5, 12)).square().sum().backward()
    torch.optim.SGD(trained.values(), lr=0.1).step()
    assert bool(layer.delta_weight().any())
    assert torch.equal(layer.initial_A, start[0])
    assert torch.equal(layer.initial_B, start[1])
    assert layer.weight is linear.weight
    assert torch.equal(linear.weight, before)


def test_ranks_beyond_the_directions_can_be_trained() -> None:
    layer = make(rank=10)
    torch.testing.assert_close(layer.scaling * (layer.lora_B @ layer.lora_A).detach(), layer.weight)
    layer(torch.randn(5, 12, dtype=torch.float64)).square().sum().backward()
    assert layer.lora_B.grad is not None
    assert bool(layer.lora_B.grad.any(dim=0).all())


def test_files_hold_lora_of_twice_the_rank() -> None:
    layer = make(use_rslora=True)
    state = {f"some.path.{name}": value.detach() for name, value in layer.factors().items()}
    settings = LoRASettings(3, 6.0, use_rslora=True, kind="pissa", rank_pattern={"x": 2}, alpha_pattern={"y": 5.0})
    made, saved = PiSSALinear.as_saved(state, settings)
    assert {key: list(value.shape) for key, value in made.items()} == {
        "some.path.lora_A": [6, 12],
        "some.path.lora_B": [7, 6],
    }
    assert (saved.kind, saved.rank, saved.rank_pattern) == ("lora", 6, {"x": 4})
    assert saved.alpha == pytest.approx(6 * math.sqrt(2))
    assert saved.alpha_pattern == {"y": pytest.approx(5 * math.sqrt(2))}
    assert saved.scaling_of("some.path") == pytest.approx(layer.scaling)
