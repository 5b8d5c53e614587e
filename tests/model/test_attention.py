import math

import pytest
import torch
from torch import Tensor

from stickgen.model import attention as module
from stickgen.model.attention import _BlockAttention, attention


def made(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def inputs(length: int, size: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value as transposed views, the way a model has them."""
    query, key, value = (made(3, length, 3, size, seed=seed).transpose(1, 2) for seed in range(3))
    return query, key, value


def by_hand(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.masked_fill(~seen, -math.inf).softmax(-1) @ value


VISIBLE = torch.rand(3, 1, 1, 130, generator=torch.Generator().manual_seed(7)) < 0.7
VISIBLE[..., 0] = True


@pytest.mark.parametrize("length", [1, 5, 64, 65, 130])
@pytest.mark.parametrize("kind", ["causal", "all", "masked"])
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_the_blocks_give_the_formula_and_its_gradients(
    length: int, kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    padded = -(-length // 64) * 64
    monkeypatch.setattr(module, "_CACHED", at_once * 3 * module._rows(padded) * padded * 8)
    query, key, value = inputs(length)
    visible = VISIBLE[..., :length] if kind == "masked" else None
    seen = torch.ones(length, length, dtype=torch.bool)
    seen = seen.tril() if kind == "causal" else seen if visible is None else visible
    expected = by_hand(query, key, value, seen)
    output = _BlockAttention.apply(query, key, value, visible, kind == "causal", 0.0)
    torch.testing.assert_close(output, expected)
    above = made(*output.shape, seed=5).detach()
    for own, plain in zip(
        torch.autograd.grad(output, (query, key, value), above),
        torch.autograd.grad(expected, (query, key, value), above),
        strict=True,
    ):
        torch.testing.assert_close(own, plain)


@pytest.mark.parametrize("causal", [True, False])
def test_with_dropout_gradients_are_those_of_the_function(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHED", 2 * 3 * 128 * 128 * 8)  # two of the three clips at once

    def output(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        torch.manual_seed(1)  # the same masks at every evaluation
        return attention(query, key, value, None, causal, 0.3)

    assert torch.autograd.gradcheck(
        output, tuple(part.detach().requires_grad_() for part in inputs(66, 2)), fast_mode=True
    )


def test_dropout_drops_weights_at_its_rate_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    query = key = torch.zeros(1, 40, 100, 2, dtype=torch.float64)  # all weights equal: 1/100
    value = torch.ones_like(query)
    drawn = torch.cat([attention(query, key, value, None, False, 0.2)[..., 0].flatten() for _ in range(5)])
    # each is a mean of 100 numbers, 0 or 1/0.8, of which one in five is 0
    deviation = math.sqrt(0.2 / 0.8 / 100)
    assert abs(drawn.mean().item() - 1) < 5 * deviation / math.sqrt(drawn.numel())
    assert drawn.std().item() == pytest.approx(deviation, rel=0.05)


def test_the_output_lies_as_the_projection_after_it_reads_it() -> None:
    query, key, value = inputs(70)
    for dropout in (0.0, 0.1):
        assert attention(query, key, value, None, True, dropout).transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("causal", [True, False])
def test_bfloat16_is_near_the_exact_values(causal: bool) -> None:
    query, key, value = (part.detach() for part in inputs(130, 32))
    exact = attention(query, key, value, None, causal, 0.0)
    coarse = attention(*(part.bfloat16() for part in (query, key, value)), None, causal, 0.0)
    assert coarse.dtype == torch.bfloat16
    torch.testing.assert_close(coarse.double(), exact, rtol=0.03, atol=0.03)


def test_no_attention_weights_are_kept() -> None:
    query, key, value = inputs(200)
    sizes: list[tuple[int, torch.dtype]] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append((tensor.numel(), tensor.dtype))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        attention(query, key, value, None, True, 0.1)
    assert sum(count for count, dtype in sizes if dtype.is_floating_point) < 4 * 3 * 3 * 256 * 4 + 128 * 128 + 1
