import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stickgen.model.functional import RotaryTable, rms_norm, rotate


def made(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def table(length: int, half: int) -> RotaryTable:
    angles = made(length, half, seed=9).detach()
    return angles.cos().repeat(1, 2), torch.cat((-angles.sin(), angles.sin()), dim=-1)


def test_rotation_equals_the_plain_formula() -> None:
    x = made(2, 3, 5, 8)
    cos, sin = (part[:, 4:] for part in table(5, 4))
    first, second = x.chunk(2, dim=-1)
    expected = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    torch.testing.assert_close(rotate(x, table(5, 4)), expected)


def test_norm_equals_torchs() -> None:
    x, weight = made(2, 5, 8), made(8, seed=1)
    torch.testing.assert_close(rms_norm(x, weight, 1e-6), F.rms_norm(x, (8,), weight, 1e-6))


def test_gradients_are_those_of_the_functions() -> None:
    assert torch.autograd.gradcheck(lambda x: rotate(x, table(5, 4)), made(2, 3, 5, 8))
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-6), (made(2, 5, 8), made(8, seed=1)))


def test_rotation_of_a_transposed_view_as_attention_has_it() -> None:
    x = made(2, 5, 3, 8)
    torch.testing.assert_close(
        rotate(x.transpose(1, 2), table(5, 4)), rotate(x.transpose(1, 2).contiguous(), table(5, 4))
    )


def test_without_gradients_the_same_numbers_come_out() -> None:
    x, weight = made(2, 3, 5, 8), made(8, seed=1)
    operations = (lambda: rotate(x, table(5, 4)), lambda: rms_norm(x, weight, 1e-6))
    for operation in operations:
        with torch.no_grad():
            plain = operation()
        assert not plain.requires_grad
        assert torch.equal(plain, operation())


def test_the_norm_of_a_frozen_weight_computes_no_gradient_for_it() -> None:
    x, weight = made(2, 8), made(8, seed=1).detach()
    rms_norm(x, weight, 1e-6).sum().backward()
    assert weight.grad is None
    assert x.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_in_its_width_and_near_the_exact_values(dtype: torch.dtype) -> None:
    x, weight = made(2, 4, 64).detach(), made(64, seed=1).detach()
    turned = rotate(x.to(dtype).unsqueeze(1), tuple(part.float() for part in table(4, 32)))  # type: ignore[arg-type]
    for half, exact in (
        (rms_norm(x.to(dtype), weight.to(dtype), 1e-6), F.rms_norm(x, (64,), weight, 1e-6)),
        (turned, rotate(x.unsqueeze(1), table(4, 32))),
    ):
        assert half.dtype == dtype
        torch.testing.assert_close(half.double(), exact, rtol=0.03, atol=0.03)


@pytest.mark.parametrize("operation", ["rotate", "rms_norm"])
def test_only_the_inputs_are_kept_for_the_backward_pass(operation: str) -> None:
    x, weight = made(2, 3, 5, 8), made(8, seed=1)
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        if operation == "rotate":
            rotate(x, table(5, 4))
        else:
            rms_norm(x, weight, 1e-6)
    full = [tensor for tensor in kept if tensor.shape == x.shape]
    inputs = {"rotate": set(), "rms_norm": {x.data_ptr()}}[operation]
    assert {tensor.data_ptr() for tensor in full} == inputs
