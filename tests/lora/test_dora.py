"""Weight-decomposed adapters, against the paper's formula."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.generation.stepping import stepping_copy
from stickgen.lora import (
    DoRALinear,
    LoRALinear,
    LoRASettings,
    adapted_layers,
    adapters_disabled,
    detach_lora_adapters,
    get_lora_state_dict,
    inject_lora_adapters,
    load_lora_state_dict,
    lora_settings,
    merge_lora_weights,
)

CARD = ["transformer_encoder", "pose_decoder"]


def make(dropout: float = 0.0, bias: bool = True, dtype: torch.dtype = torch.float32) -> DoRALinear:
    """A layer after some training: neither B nor the lengths are as they started."""
    torch.manual_seed(0)
    layer = DoRALinear(nn.Linear(12, 7, bias=bias, dtype=dtype), 3, 6.0, dropout)
    nn.init.normal_(layer.lora_B)
    with torch.no_grad():
        layer.lora_magnitude_vector.mul_(torch.rand(7) + 0.5)
    return layer


def formula(layer: DoRALinear, x: Tensor) -> Tensor:
    """``(m / ‖V‖) V x + b`` with ``V = W + scaling · B A``, equation 5 of the paper, in float64."""
    turned = layer.weight.double() + layer.scaling * layer.lora_B.double() @ layer.lora_A.double()
    weight = layer.lora_magnitude_vector.double()[:, None] * turned / turned.norm(dim=1, keepdim=True).detach()
    return F.linear(x.double(), weight, None if layer.bias is None else layer.bias.double())


@pytest.mark.parametrize("bias", [True, False])
def test_output_and_gradients_equal_the_formula(bias: bool) -> None:
    layer = make(bias=bias)
    x = torch.randn(2, 5, 12, requires_grad=True)
    inputs = [x, layer.lora_A, layer.lora_B, layer.lora_magnitude_vector]
    torch.testing.assert_close(layer(x).double(), formula(layer, x), rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(layer(x).square().sum(), inputs)
    theirs = torch.autograd.grad(formula(layer, x).square().sum(), inputs)
    for mine, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


def test_a_fresh_one_computes_what_the_wrapped_layer_does() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(12, 7)
    x = torch.randn(5, 12)
    expected = linear(x)
    torch.testing.assert_close(DoRALinear(linear, 3, 6.0)(x), expected, rtol=1e-6, atol=1e-6)


def test_dropout_is_for_both_products_of_the_update_and_leaves_the_bases_alone() -> None:
    layer = make(dropout=0.5).train()
    x = torch.ones(4000, 12)
    with torch.no_grad():
        mean, expected = layer(x).mean(0), layer.eval()(x)[0]
        deviation = layer.train()(x).std(0)
    torch.testing.assert_close(mean, expected, rtol=0.1, atol=0.25)
    assert (deviation > 0).all()
    with torch.no_grad():  # without an update there is nothing to drop
        layer.lora_B.zero_()
        layer.lora_magnitude_vector.copy_(layer.weight.norm(dim=1))
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))


def test_a_row_of_zeros_stays_one() -> None:
    linear = nn.Linear(4, 3)
    nn.init.zeros_(linear.weight)
    layer = DoRALinear(linear, 2, 4.0)
    nn.init.normal_(layer.lora_B)
    y = layer(torch.randn(5, 4))
    assert torch.equal(y, layer.bias.expand(5, 3))
    y.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in layer.parameters() if p.grad is not None)
    assert not layer.delta_weight().any()


def test_beside_a_base_in_bfloat16_the_update_survives() -> None:
    layer, x = make(dtype=torch.bfloat16), torch.randn(6, 12, dtype=torch.bfloat16)
    assert layer.lora_magnitude_vector.dtype == torch.float32
    y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), formula(layer, x), rtol=0.05, atol=0.1)


def test_layers_that_read_together_may_be_of_both_kinds() -> None:
    dora, x = make(), torch.randn(3, 12)
    plain = LoRALinear(nn.Linear(12, 7), 3, 6.0)
    for group in ([dora, plain], [plain, dora], [dora, copy.deepcopy(dora)]):
        for output, layer in zip(group[0].forward_together(x, group), group, strict=True):
            torch.testing.assert_close(output, layer(x))


# In a model


@pytest.fixture
def model(transformer, trained) -> nn.Module:
    made = trained(transformer(causal=True), CARD, kind="dora")
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in adapted_layers(made).values():
            layer.lora_magnitude_vector.mul_(0.8 + 0.4 * torch.rand(layer.out_features, generator=random))
    return made


def test_lengths_are_trained_saved_and_loaded(model: nn.Module, transformer, arguments: dict[str, Tensor]) -> None:
    assert lora_settings(model) == LoRASettings(4, 6.0, 0.0, kind="dora")
    model(**arguments).square().sum().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    state = get_lora_state_dict(model)
    assert trained == set(state)
    assert len(state) == 3 * len(adapted_layers(model))
    again = inject_lora_adapters(transformer(causal=True), CARD, 4, 6.0, 0.0, kind="dora")
    load_lora_state_dict(again, state, settings=lora_settings(model))
    assert torch.equal(again(**arguments), model(**arguments))


def test_merging_keeps_the_outputs_and_detaching_gives_the_base_back(
    model: nn.Module, transformer, arguments: dict[str, Tensor]
) -> None:
    base = transformer(causal=True)
    adapted = model(**arguments)
    merged = merge_lora_weights(copy.deepcopy(model))
    assert list(merged.state_dict()) == list(base.state_dict())
    torch.testing.assert_close(merged(**arguments), adapted, rtol=1e-4, atol=1e-5)
    with adapters_disabled(model):
        assert torch.equal(model(**arguments), base(**arguments))
    assert torch.equal(detach_lora_adapters(model)(**arguments), base(**arguments))


def test_a_stepping_copy_computes_the_same(model: nn.Module, arguments: dict[str, Tensor]) -> None:
    with torch.no_grad():
        torch.testing.assert_close(stepping_copy(model)(**arguments), model(**arguments), rtol=1e-4, atol=1e-5)
