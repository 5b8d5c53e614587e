"""Adapters of Hadamard products, against their formula."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.lora import LoHaLinear


def make() -> LoHaLinear:
    torch.manual_seed(0)
    layer = LoHaLinear(nn.Linear(12, 7, dtype=torch.float64), 3, 6.0)
    nn.init.normal_(layer.hada_w2_b)
    return layer


def formula(layer: LoHaLinear, x: Tensor) -> Tensor:
    """Entry by entry: ``ΔW[o, i] = scaling · (Σ_r w1_a[o, r] w1_b[r, i]) · (Σ_r w2_a[o, r] w2_b[r, i])``."""
    first = torch.einsum("or,ri->oi", layer.hada_w1_a, layer.hada_w1_b)
    second = torch.einsum("or,ri->oi", layer.hada_w2_a, layer.hada_w2_b)
    return F.linear(x, layer.weight + 2.0 * first * second, layer.bias)


def test_output_and_gradients_equal_the_formula() -> None:
    layer, x = make(), torch.randn(2, 5, 12, dtype=torch.float64, requires_grad=True)
    inputs = [x, *layer.factors().values()]
    torch.testing.assert_close(layer(x), formula(layer, x))
    ours = torch.autograd.grad(layer(x).square().sum(), inputs)
    theirs = torch.autograd.grad(formula(layer, x).square().sum(), inputs)
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected)


def test_the_rank_is_up_to_the_square() -> None:
    layer = make()
    assert torch.linalg.matrix_rank(layer.delta_weight()) == 7
    down, up = layer.thin(layer.factors())
    assert (list(down.shape), list(up.shape)) == ([9, 12], [7, 9])


def test_a_fresh_one_has_one_factor_of_zeros() -> None:
    torch.manual_seed(0)
    layer = LoHaLinear(nn.Linear(12, 7), 3, 6.0)
    assert [name for name, value in layer.factors().items() if not value.any()] == ["hada_w2_b"]
