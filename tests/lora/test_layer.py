import copy
import math
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stickgen.lora import LoRALinear, PiSSALinear

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}


def make(
    inputs: int = 7,
    outputs: int = 5,
    rank: int = 3,
    alpha: float = 6.0,
    dropout: float = 0.0,
    *,
    bias: bool = True,
    use_rslora: bool = False,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> LoRALinear:
    """An adapted layer whose B is not zero any more."""
    torch.manual_seed(seed)
    linear = nn.Linear(inputs, outputs, bias=bias, dtype=dtype)
    layer = LoRALinear(linear, rank, alpha, dropout, use_rslora=use_rslora)
    nn.init.normal_(layer.lora_B)
    return layer


def formula(layer: LoRALinear, x: Tensor, scaling: float, lora_A: Tensor, lora_B: Tensor) -> Tensor:
    """``y = W x + b + scaling · B A x`` in float64."""
    y = x.double() @ layer.weight.double().T
    if layer.bias is not None:
        y = y + layer.bias.double()
    return y + scaling * (x.double() @ (lora_B.double() @ lora_A.double()).T)


@settings(max_examples=60, deadline=None)
@given(
    inputs=st.integers(1, 12),
    outputs=st.integers(1, 12),
    rank=st.integers(1, 15),
    alpha=st.floats(0.1, 32),
    lead=st.lists(st.integers(0, 4), max_size=3),
    bias=st.booleans(),
    use_rslora=st.booleans(),
    dtype=st.sampled_from(list(TOLERANCE)),
    seed=st.integers(0, 2**16),
)
def test_output_equals_the_formula(
    inputs: int,
    outputs: int,
    rank: int,
    alpha: float,
    lead: list[int],
    bias: bool,
    use_rslora: bool,
    dtype: torch.dtype,
    seed: int,
) -> None:
    layer = make(inputs, outputs, rank, alpha, bias=bias, use_rslora=use_rslora, dtype=dtype, seed=seed)
    x = torch.randn(*lead, inputs, dtype=dtype)
    scaling = alpha / (math.sqrt(rank) if use_rslora else rank)
    expected = formula(layer, x, scaling, layer.lora_A, layer.lora_B)
    y = layer(x)
    assert y.dtype == dtype
    assert y.shape == (*lead, outputs)
    # Rounding is in proportion to the sum's terms, which may be much larger than the sum.
    with torch.no_grad():
        layer.weight.abs_()
        if layer.bias is not None:
            layer.bias.abs_()
        terms = formula(layer, x.abs(), scaling, layer.lora_A.abs(), layer.lora_B.abs())
    assert ((y - expected).abs() <= TOLERANCE[dtype] * (1 + terms)).all()


@settings(max_examples=30, deadline=None)
@given(
    inputs=st.integers(1, 8),
    outputs=st.integers(1, 8),
    rank=st.integers(1, 8),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**16),
)
def test_gradients_equal_those_of_the_formula(
    inputs: int, outputs: int, rank: int, dtype: torch.dtype, seed: int
) -> None:
    layer = make(inputs, outputs, rank, dtype=dtype, seed=seed)
    x = torch.randn(4, 3, inputs, dtype=dtype, requires_grad=True)
    weights = torch.randn(4, 3, outputs, dtype=dtype)
    (layer(x) * weights).sum().backward()

    A, B, z = (t.detach().double().requires_grad_() for t in (layer.lora_A, layer.lora_B, x))
    (formula(layer, z, 6.0 / rank, A, B) * weights).sum().backward()
    for ours, theirs in ((layer.lora_A, A), (layer.lora_B, B), (x, z)):
        assert ours.grad is not None
        assert theirs.grad is not None
        size = 1 + theirs.grad.abs().max().item()
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=0, atol=TOLERANCE[dtype] * size)
    assert layer.weight.grad is None
    assert layer.bias is not None
    assert layer.bias.grad is None


def test_a_bfloat16_base_gets_float32_adapters_that_small_steps_reach() -> None:
    layer = make(16, 8, dtype=torch.bfloat16)
    assert (layer.weight.dtype, layer.lora_A.dtype, layer.lora_B.dtype) == (
        torch.bfloat16,
        torch.float32,
        torch.float32,
    )
    before = layer.lora_B.detach().clone()
    layer(torch.randn(4, 16, dtype=torch.bfloat16)).square().mean().backward()
    torch.optim.AdamW(layer.parameters(), lr=1e-4).step()
    moved = (layer.lora_B - before).abs()
    assert (moved > 0).all()


def test_autocast_computes_the_update_in_its_own_precision() -> None:
    layer = make(32, 16)
    x = torch.randn(8, 32)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0.05, atol=0.2)


# Initialisation


def test_training_starts_from_the_bases_function() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(20, 10).requires_grad_(False)
    layer = LoRALinear(linear, 4, 8.0)
    x = torch.randn(6, 20)
    assert not layer.lora_B.any()
    assert layer.lora_A.all()
    assert torch.equal(layer(x), linear(x))


def test_a_is_kaiming_uniform_with_a_of_root_five() -> None:
    torch.manual_seed(0)
    layer = LoRALinear(nn.Linear(64, 4), 2000, 8.0)
    bound = 1 / math.sqrt(64)  # √(6 / ((1 + 5) · in))
    values = layer.lora_A.detach()
    assert values.abs().max() <= bound
    assert values.abs().max() > 0.999 * bound
    assert values.mean().abs() < 0.01 * bound
    assert values.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_a_follows_the_seed_and_differs_between_layers() -> None:
    torch.manual_seed(3)
    first, second = (LoRALinear(nn.Linear(8, 8), 2, 4.0).lora_A for _ in range(2))
    torch.manual_seed(3)
    again = LoRALinear(nn.Linear(8, 8), 2, 4.0).lora_A
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("use_rslora", "scaling"), [(False, 16.0 / 9), (True, 16.0 / 3)], ids=["standard", "rank-stabilised"]
)
def test_scaling(use_rslora: bool, scaling: float) -> None:
    layer = make(rank=9, alpha=16.0, use_rslora=use_rslora)
    assert layer.scaling == pytest.approx(scaling)
    torch.testing.assert_close(layer.delta_weight(), scaling * (layer.lora_B.double() @ layer.lora_A.double()).detach())


def test_the_update_has_no_more_than_its_rank() -> None:
    assert torch.linalg.matrix_rank(make(12, 10, rank=3).delta_weight()) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank=0"),
        ({"rank": -2}, "rank=-2"),
        ({"rank": 2.0}, "rank=2.0: a whole number"),
        ({"rank": True}, "rank=True"),
        ({"alpha": 0.0}, "alpha=0"),
        ({"alpha": -1.0}, "alpha=-1"),
        ({"alpha": math.nan}, "alpha=nan"),
        ({"alpha": math.inf}, "alpha=inf"),
        ({"dropout": 1.0}, "dropout=1"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"dropout": math.nan}, "dropout=nan"),
    ],
)
def test_impossible_settings(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoRALinear(nn.Linear(4, 4), **{"rank": 2, "alpha": 4.0, **settings})


# The wrapped layer


def test_the_wrapped_tensors_are_shared_and_frozen() -> None:
    linear = nn.Linear(6, 4)
    layer = LoRALinear(linear, 2, 4.0)
    assert layer.weight is linear.weight
    assert layer.bias is linear.bias
    assert {name for name, p in layer.named_parameters() if p.requires_grad} == {"lora_A", "lora_B"}


@pytest.mark.parametrize("bias", [True, False])
def test_the_plain_layer_comes_back_as_it_was(bias: bool) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(6, 4, bias=bias).requires_grad_(False)
    x = torch.randn(3, 6)
    expected = linear(x)
    back = LoRALinear(linear, 2, 4.0).to_linear()
    assert type(back) is nn.Linear
    assert (back.in_features, back.out_features) == (6, 4)
    assert (back.bias is None) == (not bias)
    assert torch.equal(back(x), expected)
    assert back.state_dict().keys() == linear.state_dict().keys()


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_handed_on(training: bool) -> None:
    layer = LoRALinear(nn.Linear(3, 3).train(training), 1, 1.0)
    assert layer.training == training
    assert layer.to_linear().training == training


def test_disabled_is_the_base_bit_for_bit() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(9, 5).requires_grad_(False)
    x = torch.randn(4, 9)
    expected = linear(x)
    layer = LoRALinear(linear, 3, 300.0)
    nn.init.normal_(layer.lora_B)
    assert not torch.equal(layer(x), expected)
    layer.enabled = False
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_compute_the_same_and_are_independent(way) -> None:
    layer = make(dropout=0.25)
    layer.eval()
    x = torch.randn(4, 7)
    expected = layer(x).detach()
    twin = way(layer)
    with torch.no_grad():
        layer.lora_A.zero_()
        layer.weight.zero_()
    assert torch.equal(twin(x), expected)
    assert (twin.rank, twin.alpha, twin.dropout, twin.scaling) == (3, 6.0, 0.25, 2.0)


def test_its_print_shows_the_settings() -> None:
    text = repr(make(dropout=0.05))
    for part in ("in_features=7", "out_features=5", "rank=3", "alpha=6", "dropout=0.05"):
        assert part in text


# Dropout


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_dropout_keeps_the_mean_and_adds_the_variance_of_theory(p: float) -> None:
    layer = make(6, 4, rank=2, dropout=p)
    layer.train()
    x = torch.randn(6)
    samples = 40_000
    with torch.no_grad():
        drawn = layer(x.expand(samples, 6)).double()
        layer.eval()
        expected = layer(x).double()
    # Each input of the adapter path is x/(1 − p) with probability 1 − p and else 0: variance x² · p/(1 − p).
    variance = layer.delta_weight().square() @ x.double().square() * p / (1 - p)
    assert (variance > 1e-3).all()
    error = (drawn.mean(0) - expected).abs() / (variance / samples).sqrt()
    assert error.max() < 5
    torch.testing.assert_close(drawn.var(0), variance, rtol=0.05, atol=0)


def test_dropout_never_touches_the_base_path() -> None:
    layer = make(dropout=0.9)
    layer.train()
    nn.init.zeros_(layer.lora_B)
    x = torch.randn(50, 7)
    assert torch.equal(layer(x), layer.eval()(x))


def test_no_dropout_in_eval_mode() -> None:
    layer = make(dropout=0.5).eval()
    x = torch.randn(50, 7)
    assert torch.equal(layer(x), layer(x))
    torch.testing.assert_close(
        layer(x).double(), formula(layer, x, 2.0, layer.lora_A, layer.lora_B), rtol=1e-5, atol=1e-5
    )


# The formula, and the lean way of computing it


@pytest.mark.parametrize("kind", [LoRALinear, PiSSALinear])
@pytest.mark.parametrize("p", [0.0, 0.4])
def test_the_lean_path_computes_the_formula_and_its_gradients(kind: type[LoRALinear], p: float) -> None:
    """As it stands in ``forward``, step by step, on the same dropped input."""
    torch.manual_seed(0)
    layers = [kind(nn.Linear(7, out, bias=out > 4, dtype=torch.float64), 3, 6.0, p).train() for out in (5, 4)]
    for layer in layers:
        nn.init.normal_(layer.lora_B)
    x = torch.randn(2, 6, 7, dtype=torch.float64, requires_grad=True)
    inputs = [x, *(parameter for layer in layers for parameter in (layer.lora_A, layer.lora_B))]

    def computed(lean: bool) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        for layer in layers:
            layer.lean = lean
        outputs = []
        for way in (lambda: [layer(x) for layer in layers], lambda: layers[0].forward_together(x, layers[:1])):
            torch.manual_seed(1)  # the same masks
            outputs += way()
        return outputs, torch.autograd.grad(sum(y.pow(3).sum() for y in outputs), inputs)

    (lean, lean_gradients), (plain, gradients) = computed(True), computed(False)
    for mine, expected in zip([*lean, *lean_gradients], [*plain, *gradients], strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)


def test_layers_that_share_an_input_compute_the_formula_too() -> None:
    torch.manual_seed(0)
    layers = [LoRALinear(nn.Linear(7, out), 3, 6.0, 0.4).train() for out in (5, 4)]
    for layer in layers:
        nn.init.normal_(layer.lora_B)
    x = torch.randn(6, 7)
    torch.manual_seed(1)
    together = LoRALinear.forward_together(x, layers)
    for layer, output in zip(layers, together, strict=True):
        layer.lean = False
        torch.manual_seed(1)  # the mask that both shared
        torch.testing.assert_close(output, layer(x))


def test_the_formula_can_be_differentiated_twice() -> None:
    layer = make(dtype=torch.float64)
    layer.lean = False
    x = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, (x,))
