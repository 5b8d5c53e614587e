import copy
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from stickgen.errors import AdapterError
from stickgen.lora import (
    KINDS,
    LoRALinear,
    adapted_layers,
    inject_lora_adapters,
    merge_lora_weights,
    unmerge_lora_weights,
)

CARD = ["transformer_encoder", "pose_decoder"]


def test_plain_layers_are_put_back_under_the_bases_keys(transformer, trained) -> None:
    model = merge_lora_weights(trained(transformer(), CARD))
    assert not any(isinstance(module, LoRALinear) for module in model.modules())
    plain = transformer()
    assert [type(module) for module in model.modules()] == [type(module) for module in plain.modules()]
    assert list(model.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("use_rslora", [False, True])
def test_outputs_before_and_after_agree(transformer, arguments: dict[str, Tensor], trained, use_rslora: bool) -> None:
    exact = {name: value.double() for name, value in arguments.items()}
    model = trained(transformer().double(), CARD, use_rslora=use_rslora)
    with torch.no_grad():
        before = model(**exact, return_all_outputs=True)
        after = merge_lora_weights(model)(**exact, return_all_outputs=True)
    base = transformer().double()(**exact, return_all_outputs=True)
    for head, value in before.items():
        torch.testing.assert_close(after[head], value, rtol=1e-10, atol=1e-10)
        assert not torch.allclose(value, base[head], atol=1e-2), head


def test_the_saved_file_loads_strictly_into_a_plain_model(
    transformer, arguments: dict[str, Tensor], trained, tmp_path: Path
) -> None:
    model = trained(transformer(), CARD)
    with torch.no_grad():
        before = model(**arguments)
        torch.save(merge_lora_weights(model).state_dict(), tmp_path / "merged_model.pth")
        plain = transformer(seed=9)
        plain.load_state_dict(torch.load(tmp_path / "merged_model.pth", weights_only=True), strict=True)
        torch.testing.assert_close(plain(**arguments), before, rtol=1e-4, atol=1e-4)


def test_merging_twice_is_refused(transformer, trained) -> None:
    model = merge_lora_weights(trained(transformer(), CARD))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(AdapterError, match="no LoRA adapters"):
        merge_lora_weights(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_plain_model_has_nothing_to_merge(transformer) -> None:
    with pytest.raises(AdapterError, match="never injected"):
        merge_lora_weights(transformer())


@pytest.mark.parametrize("tensor", ["lora_A", "lora_B", "weight"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_leave_the_model_unmerged(transformer, trained, tensor: str, value: float) -> None:
    model = trained(transformer(), CARD)
    path, layer = list(adapted_layers(model).items())[-1]
    with torch.no_grad():
        getattr(layer, tensor)[0, 0] = value
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(AdapterError, match=rf"merging {path} gives NaN or infinity"):
        merge_lora_weights(model)
    assert len(adapted_layers(model)) == 16
    assert list(model.state_dict()) == list(before)
    for key, kept in before.items():
        torch.testing.assert_close(model.state_dict()[key], kept, rtol=0, atol=0, equal_nan=True)


def test_an_overflow_of_the_weights_own_precision_is_refused(trained) -> None:
    model = trained(nn.Sequential(nn.Linear(3, 3).half()), ["0"])
    with torch.no_grad():
        model[0].lora_B.fill_(1e5)
    with pytest.raises(AdapterError, match="NaN or infinity"):
        merge_lora_weights(model)


def test_the_bases_tensors_are_not_written_to(transformer, trained) -> None:
    base = transformer()
    tensors = dict(base.state_dict())
    kept = {key: value.clone() for key, value in tensors.items()}
    merge_lora_weights(trained(base, CARD))
    assert all(torch.equal(value, kept[key]) for key, value in tensors.items())


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 10), st.integers(1, 10)),
    rank=st.integers(1, 6),
    alpha=st.floats(0.1, 64),
    bias=st.booleans(),
    use_rslora=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 2**16),
)
def test_the_merged_weight_is_the_exact_sum_rounded_once(
    shape: tuple[int, int], rank: int, alpha: float, bias: bool, use_rslora: bool, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(*shape, bias=bias, dtype=dtype))
    base = copy.deepcopy(model)
    inject_lora_adapters(model, ["0"], rank, alpha, use_rslora=use_rslora)
    A, B = model[0].lora_A, nn.init.normal_(model[0].lora_B)
    scaling = alpha / (math.sqrt(rank) if use_rslora else rank)
    expected = (base[0].weight.double() + scaling * (B.double() @ A.double())).to(dtype)
    merge_lora_weights(model)
    assert type(model[0]) is nn.Linear
    assert model[0].weight.dtype == dtype
    assert torch.equal(model[0].weight, expected)
    assert bias == (model[0].bias is not None)
    if bias:
        assert torch.equal(model[0].bias, base[0].bias)


def test_merging_needs_no_dropout_and_keeps_the_mode(transformer, arguments: dict[str, Tensor], trained) -> None:
    model = trained(transformer(dropout=0.0), CARD, dropout=0.5)
    expected = model(**arguments)
    merge_lora_weights(model.train())
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(model(**arguments), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", list(KINDS))
def test_unmerging_gives_base_and_adapters_back_bit_for_bit(transformer, trained, kind: str) -> None:
    model = trained(transformer(), CARD, kind=kind)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    layers = adapted_layers(model)
    merged = {key: value.clone() for key, value in merge_lora_weights(model).state_dict().items()}
    assert unmerge_lora_weights(model, layers) is model
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    again = merge_lora_weights(model).state_dict()
    assert all(torch.equal(value, merged[key]) for key, value in again.items())


def test_subtracting_the_update_would_not_give_the_base_back(transformer, trained) -> None:
    model = trained(transformer(), CARD)
    layers = adapted_layers(model)
    merge_lora_weights(model)
    subtracted = {
        path: (model.get_submodule(path).weight.double() - layer.delta_weight()).float()
        for path, layer in layers.items()
    }
    assert any(not torch.equal(subtracted[path], layer.weight) for path, layer in layers.items())


def test_what_was_not_merged_of_these_layers_is_not_unmerged(transformer, trained) -> None:
    model = trained(transformer(), CARD)
    layers = adapted_layers(model)
    with pytest.raises(AdapterError, match="has LoRA adapters already; it is not merged"):
        unmerge_lora_weights(model, layers)
    merge_lora_weights(model)
    with pytest.raises(AdapterError, match="no layers given"):
        unmerge_lora_weights(model, {})
    others = adapted_layers(trained(transformer(), CARD, seed=6))
    for wrong in (others, {"nowhere": next(iter(layers.values()))}):
        with pytest.raises(AdapterError, match=r"unmerging .*: its weight is not what merging these adapters gives"):
            unmerge_lora_weights(model, wrong)
    with torch.no_grad():
        model.pose_decoder[3].weight[0, 0] += 1
    with pytest.raises(AdapterError, match=r"unmerging pose_decoder\.3: .* changed since"):
        unmerge_lora_weights(model, layers)
    assert adapted_layers(model) == {}
