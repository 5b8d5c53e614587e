import pytest
import torch
from torch import Tensor, nn

from stickgen.lora import LoRALinear
from stickgen.lora.functional import lora_linears

Layer = tuple[Tensor, Tensor | None, Tensor, Tensor]


def layers() -> list[Layer]:
    """Two layers that read 7 numbers, of different width and rank, one without bias."""
    torch.manual_seed(0)

    def made(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64)

    return [
        (made(5, 7), made(5), made(3, 7).requires_grad_(), made(5, 3).requires_grad_()),
        (made(4, 7), None, made(2, 7).requires_grad_(), made(4, 2).requires_grad_()),
    ]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_those_of_the_function(dropout: float) -> None:
    both = layers()
    x = torch.randn(2, 3, 7, dtype=torch.float64, requires_grad=True)

    def outputs(x: Tensor, *factors: Tensor) -> tuple[Tensor, ...]:
        torch.manual_seed(1)  # the same mask at every evaluation
        pairs = zip(both, factors[::2], factors[1::2], strict=True)
        return lora_linears(x, [(w, b, a_, b_) for (w, b, _, _), a_, b_ in pairs], 1.5, dropout)

    assert torch.autograd.gradcheck(outputs, (x, both[0][2], both[0][3], both[1][2], both[1][3]))


def test_together_equals_each_alone() -> None:
    both = layers()
    x = torch.randn(2, 3, 7, dtype=torch.float64)
    together = lora_linears(x, both, 1.5, 0.0)
    for output, layer in zip(together, both, strict=True):
        torch.testing.assert_close(output, lora_linears(x, [layer], 1.5, 0.0)[0])


def test_layers_that_read_together_share_the_dropped_input() -> None:
    weight, factor_a, factor_b = torch.zeros(6, 6), torch.eye(6), torch.eye(6)
    first, second = lora_linears(torch.ones(50, 6), [(weight, None, factor_a, factor_b)] * 2, 1.0, 0.5)
    assert torch.equal(first, second)
    assert set(first.unique().tolist()) == {0.0, 2.0}


def test_only_the_input_the_mask_and_rank_sized_products_are_kept() -> None:
    adapted = [LoRALinear(nn.Linear(64, 64), 2, 4.0, 0.1) for _ in range(3)]
    x = torch.randn(32, 64, requires_grad=True)
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        LoRALinear.forward_together(x, adapted)
    parameters = {p.untyped_storage().data_ptr() for layer in adapted for p in layer.parameters()}
    activations = [tensor for pointer, tensor in kept.items() if pointer not in parameters]
    sizes = {(tuple(tensor.shape), tensor.dtype) for tensor in activations}
    assert len(activations) == len(sizes)
    assert sizes == {((32, 64), torch.float32), ((32, 64), torch.bool), ((32, 6), torch.float32)}


def test_layers_of_other_settings_compute_by_themselves() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 7)
    plain = nn.Linear(7, 4)
    scaled, other = (LoRALinear(nn.Linear(7, 4), 2, alpha) for alpha in (4.0, 8.0))
    for layer in (scaled, other):
        nn.init.normal_(layer.lora_B)
    for group in ([scaled, other], [scaled, plain]):
        for output, layer in zip(LoRALinear.forward_together(x, group), group, strict=True):
            torch.testing.assert_close(output, layer(x))


def test_under_autocast_the_products_are_in_its_precision_and_gradients_in_the_adapters() -> None:
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(16, 8), 2, 4.0)
    nn.init.normal_(layer.lora_B)
    x = torch.randn(5, 16)
    exact = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), exact, rtol=0.05, atol=0.1)
    y.float().square().sum().backward()
    assert layer.lora_A.grad is not None
    assert layer.lora_A.grad.dtype == torch.float32
