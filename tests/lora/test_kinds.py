"""What holds for every kind of adapter."""

import copy

import pytest
import torch
from torch import Tensor, nn

from stickgen import adapter_settings
from stickgen.errors import AdapterError
from stickgen.generation.stepping import stepping_copy
from stickgen.lora import (
    KINDS,
    AdaptedLinear,
    Combination,
    LoRASettings,
    adapted_layers,
    adapters_disabled,
    combine_adapters,
    detach_lora_adapters,
    get_lora_state_dict,
    inject_lora_adapters,
    load_lora_state_dict,
    lora_settings,
    merge_lora_weights,
)

CARD = ["transformer_encoder", "pose_decoder"]

every_kind = pytest.mark.parametrize("kind", KINDS)


def layer_of(kind: str, dtype: torch.dtype = torch.float32) -> AdaptedLinear:
    torch.manual_seed(0)
    layer = KINDS[kind](nn.Linear(12, 7, dtype=dtype), 3, 6.0)
    with torch.no_grad():
        for factor in layer.factors().values():
            if factor.requires_grad:
                factor.add_(0.1 * torch.randn_like(factor))
    return layer


def test_every_kind_has_a_name_a_title_and_a_class() -> None:
    assert list(KINDS) == list(adapter_settings.KINDS)
    assert [kind.title() for kind in KINDS.values()] == list(adapter_settings.KINDS.values())


def test_a_kind_that_does_not_exist(transformer) -> None:
    model = transformer()
    with pytest.raises(ValueError, match="kind=vera: one of lora, dora, pissa, loha expected"):
        inject_lora_adapters(model, CARD, kind="vera")
    assert all(p.requires_grad for p in model.parameters())


@every_kind
def test_factors_have_the_dimensions_that_are_declared(kind: str) -> None:
    layer = layer_of(kind)
    sizes = {"rank": 3, "in": 12, "out": 7}
    for name, dimensions in layer.FACTORS.items():
        assert list(getattr(layer, name).shape) == [sizes[dimension] for dimension in dimensions], name
    own = {name for name, _ in layer.named_parameters()} - {"weight", "bias"}
    assert own == set(layer.FACTORS)


@every_kind
def test_training_starts_from_the_bases_function(kind: str, transformer, arguments: dict[str, Tensor]) -> None:
    model = transformer(causal=True)
    expected = model(**arguments)
    inject_lora_adapters(model, CARD, 4, 6.0, kind=kind)
    torch.testing.assert_close(model(**arguments), expected, rtol=0, atol=2e-5)
    model(**arguments).square().sum().backward()
    assert any(bool(p.grad.any()) for p in model.parameters() if p.grad is not None)


@every_kind
def test_detaching_gives_the_base_back_bit_for_bit(
    kind: str, transformer, trained, arguments: dict[str, Tensor]
) -> None:
    base = transformer(causal=True)
    model = trained(transformer(causal=True), CARD, kind=kind)
    assert not torch.allclose(model(**arguments), base(**arguments), atol=1e-3)
    with adapters_disabled(model):
        assert torch.equal(model(**arguments), base(**arguments))
    state = detach_lora_adapters(model).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in base.state_dict().items())
    assert list(state) == list(base.state_dict())


@every_kind
def test_merged_and_stepping_models_compute_the_same(
    kind: str, transformer, trained, arguments: dict[str, Tensor]
) -> None:
    model = trained(transformer(causal=True), CARD, kind=kind)
    with torch.no_grad():
        expected = model(**arguments)
        for other in (stepping_copy(model), merge_lora_weights(copy.deepcopy(model))):
            torch.testing.assert_close(other(**arguments), expected, rtol=1e-3, atol=1e-4)


@every_kind
def test_thin_factors_and_gains_make_the_merged_weight(kind: str) -> None:
    layer = layer_of(kind, torch.float64)
    down, up = layer.thin(layer.factors())
    merged = layer.weight + layer.scaling * up @ down
    if (gain := layer.row_gain()) is not None:
        merged = gain[:, None] * merged
    torch.testing.assert_close(merged.detach(), layer.weight + layer.delta_weight())


@every_kind
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_output_is_the_merged_weights_in_the_precision_of_the_input(kind: str, dtype: torch.dtype) -> None:
    layer, x = layer_of(kind, dtype), torch.randn(2, 5, 12, dtype=dtype)
    expected = x.double() @ (layer.weight.double() + layer.delta_weight()).T + layer.bias.double()
    y = layer(x)
    assert y.dtype == dtype
    tolerance = 1e-12 if dtype == torch.float64 else 0.05
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)


@every_kind
def test_dropout_keeps_the_mean_and_is_for_training(kind: str) -> None:
    layer, x = layer_of(kind), torch.ones(20_000, 12)
    layer.dropout = 0.5
    with torch.no_grad():
        expected = layer.eval()(x)[0]
        torch.testing.assert_close(layer(x), expected.expand(len(x), 7), rtol=0, atol=1e-5)
        drawn = layer.train()(x)
    assert (drawn.std(0) > 0).all()
    torch.testing.assert_close(drawn.mean(0), expected, rtol=0.05, atol=0.1)


@every_kind
def test_a_state_goes_into_the_same_kind_only(kind: str, transformer, trained, arguments: dict[str, Tensor]) -> None:
    model = trained(transformer(causal=True), CARD, kind=kind, rank_pattern={"out_proj": 2})
    state, settings = get_lora_state_dict(model), lora_settings(model)
    assert settings.kind == kind
    again = inject_lora_adapters(transformer(causal=True), CARD, **vars(settings))
    load_lora_state_dict(again, state, settings=settings)
    assert torch.equal(again(**arguments), model(**arguments))
    other = next(name for name in KINDS if name != kind)
    another = inject_lora_adapters(transformer(), CARD, **{**vars(settings), "kind": other})
    with pytest.raises(AdapterError, match=f"trained with kind={kind}, the model has kind={other}"):
        load_lora_state_dict(another, state, settings=settings)


@every_kind
@pytest.mark.parametrize("use_rslora", [False, True])
def test_what_files_hold_computes_the_same(
    kind: str, use_rslora: bool, transformer, trained, arguments: dict[str, Tensor]
) -> None:
    given = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {r"1\.ffn\..*": 3.0}, "use_rslora": use_rslora}
    model = trained(transformer(causal=True), CARD, kind=kind, **given)
    state, settings = KINDS[kind].as_saved(get_lora_state_dict(model), lora_settings(model))
    assert KINDS[settings.kind].PEFT is not None
    again = inject_lora_adapters(transformer(causal=True), CARD, **vars(settings))
    load_lora_state_dict(again, state, settings=settings)
    torch.testing.assert_close(again(**arguments), model(**arguments), rtol=1e-4, atol=1e-4)


@every_kind
def test_a_sum_with_plain_lora(kind: str, transformer, trained) -> None:
    parts = []
    for name, seed in (("lora", 1), (kind, 2)):
        model = trained(transformer(), ["ffn"], seed=seed, kind=name)
        parts.append((model, Combination(get_lora_state_dict(model), lora_settings(model))))
    if KINDS[kind].INDIVISIBLE:
        with pytest.raises(AdapterError, match=f"a {KINDS[kind].title()} adapter .* cannot be weighted or summed"):
            combine_adapters([part for _, part in parts], [0.7, 0.4])
        return
    combined = combine_adapters([part for _, part in parts], [0.7, 0.4])
    assert combined.settings.kind == LoRASettings.kind
    made = inject_lora_adapters(transformer(), ["ffn"], **vars(combined.settings))
    load_lora_state_dict(made, combined.state, settings=combined.settings)
    first, second = (adapted_layers(model) for model, _ in parts)
    for path, layer in adapted_layers(made).items():
        expected = 0.7 * first[path].delta_weight() + 0.4 * second[path].delta_weight()
        torch.testing.assert_close(layer.delta_weight(), expected, rtol=1e-5, atol=1e-5)
