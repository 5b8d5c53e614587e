import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from stickgen.lora import inject_lora_adapters
from stickgen.model import StickFigureTransformer, layers
from stickgen.model.recompute import recomputed


def test_gradients_are_the_same_and_the_activation_is_not_kept() -> None:
    torch.manual_seed(0)
    x = torch.randn(50, 8, requires_grad=True)
    layer = nn.Linear(8, 8)
    calls = 0

    def compute() -> Tensor:
        nonlocal calls
        calls += 1
        return x.tanh()

    activation = compute()
    reference = weakref.ref(activation)
    with recomputed(activation, compute):
        output = layer(activation)
    inputs = (x, layer.weight)
    plain = torch.autograd.grad(layer(x.tanh()).square().sum(), inputs)
    del activation
    assert reference() is None
    assert calls == 1
    for own, expected in zip(torch.autograd.grad(output.square().sum(), inputs), plain, strict=True):
        torch.testing.assert_close(own, expected)
    assert calls == 2


def test_other_tensors_are_kept_as_they_are() -> None:
    x = torch.randn(5, 8, requires_grad=True)
    other = torch.randn(5, 8)
    with recomputed(other, lambda: torch.zeros(5, 8)):
        output = (x * x).sum()
    (grad,) = torch.autograd.grad(output, x)
    torch.testing.assert_close(grad, 2 * x)


def test_a_training_pass_keeps_neither_norms_nor_gated_products(monkeypatch: pytest.MonkeyPatch) -> None:
    activations: list[weakref.ref[Tensor]] = []

    def watched(activation: Tensor, compute: Callable[[], Tensor]) -> AbstractContextManager[None]:
        activations.append(weakref.ref(activation))
        return recomputed(activation, compute)

    monkeypatch.setattr(layers, "recomputed", watched)
    model = StickFigureTransformer(d_model=16, nhead=2, num_layers=2, embedding_dim=12, num_actions=3, causal=True)
    inject_lora_adapters(model, rank=2)
    outputs = model.train()(torch.randn(9, 3, 20), torch.randn(3, 12))
    assert [activation() for activation in activations] == [None] * 6
    outputs.sum().backward()
