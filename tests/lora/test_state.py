import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stickgen.errors import AdapterError
from stickgen.lora import (
    LoRASettings,
    get_lora_state_dict,
    inject_lora_adapters,
    load_lora_state_dict,
    merge_lora_weights,
)

CARD = ["transformer_encoder", "pose_decoder"]
KEY = "transformer_encoder.layers.1.ffn.gate_proj.lora_A"


@pytest.fixture
def model(transformer, trained) -> nn.Module:
    return trained(transformer(), CARD)


@pytest.fixture
def state(transformer, trained) -> dict[str, Tensor]:
    return get_lora_state_dict(trained(transformer(), CARD, seed=6))


def refused(model: nn.Module, state: dict[str, Tensor], message: str, **more: Any) -> None:
    """Loading fails with the message, and no tensor of the model changes."""
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(AdapterError, match=message):
        load_lora_state_dict(model, state, **more)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_it_holds_the_adapters_by_module_path_and_nothing_else(model: nn.Module) -> None:
    state = get_lora_state_dict(model)
    assert set(state) == {key for key in model.state_dict() if key.endswith((".lora_A", ".lora_B"))}
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in state.items())
    assert not any(value.requires_grad for value in state.values())


def test_it_is_a_copy(model: nn.Module) -> None:
    state = get_lora_state_dict(model)
    kept = {key: value.clone() for key, value in state.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert all(torch.equal(state[key], value) for key, value in kept.items())


def test_loading_copies_the_values(model: nn.Module, state: dict[str, Tensor], arguments: dict[str, Tensor]) -> None:
    before = model(**arguments)
    load_lora_state_dict(model, state)
    assert all(torch.equal(value, state[key]) for key, value in get_lora_state_dict(model).items())
    assert not torch.allclose(model(**arguments), before, atol=1e-4)
    kept = get_lora_state_dict(model)
    for value in state.values():
        value.zero_()
    assert all(torch.equal(value, kept[key]) for key, value in get_lora_state_dict(model).items())


def test_a_round_trip_through_a_file_computes_the_same(
    model: nn.Module, transformer, arguments: dict[str, Tensor], tmp_path
) -> None:
    torch.save(get_lora_state_dict(model), tmp_path / "lora.pth")
    other = inject_lora_adapters(transformer(), CARD, rank=4, alpha=6.0)
    load_lora_state_dict(other, torch.load(tmp_path / "lora.pth", weights_only=True))
    assert torch.equal(other.eval()(**arguments), model(**arguments))


def test_loaded_adapters_can_still_be_trained(model: nn.Module, state: dict[str, Tensor], arguments) -> None:
    load_lora_state_dict(model, state)
    model(**arguments).sum().backward()
    assert all(p.requires_grad and p.grad is not None for n, p in model.named_parameters() if "lora_" in n)


def test_half_precision_files_are_loaded_into_the_adapters_own_precision(
    model: nn.Module, state: dict[str, Tensor]
) -> None:
    load_lora_state_dict(model, {key: value.half() for key, value in state.items()})
    loaded = get_lora_state_dict(model)
    assert all(value.dtype == torch.float32 for value in loaded.values())
    torch.testing.assert_close(loaded, state, rtol=1e-3, atol=1e-4)


def test_a_missing_key(model: nn.Module, state: dict[str, Tensor]) -> None:
    del state[KEY]
    refused(model, state, f"lacks 1 of the model's 32 keys: {KEY}")


def test_an_unknown_key(model: nn.Module, state: dict[str, Tensor]) -> None:
    state["position_decoder.0.lora_A"] = torch.zeros(4, 48)
    refused(model, state, r"unknown .* position_decoder\.0\.lora_A")


def test_a_renamed_key(model: nn.Module, state: dict[str, Tensor]) -> None:
    state["model." + KEY] = state.pop(KEY)
    refused(model, state, "keys")


def test_no_keys_at_all(model: nn.Module) -> None:
    refused(model, {}, "lacks 32 of the model's 32 keys")


def test_the_state_of_fewer_targets(model: nn.Module, transformer, trained) -> None:
    refused(model, get_lora_state_dict(trained(transformer(), ["pose_decoder"])), "lacks 28")


@pytest.mark.parametrize("key", [KEY, KEY.replace("lora_A", "lora_B")])
def test_a_wrong_shape(model: nn.Module, state: dict[str, Tensor], key: str) -> None:
    state[key] = state[key][:, :1]
    refused(model, state, rf"{key} has shape \[\d+, 1\], the model's has \[\d+, \d+\]")


@pytest.mark.parametrize("rank", [1, 4])
def test_a_file_of_lower_rank_is_not_broadcast(transformer, trained, rank: int) -> None:
    model = trained(transformer(), CARD, rank=8)
    refused(model, get_lora_state_dict(trained(transformer(), CARD, rank=rank)), "has shape")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity(model: nn.Module, state: dict[str, Tensor], value: float) -> None:
    state[KEY][2, 3] = value
    refused(model, state, f"{KEY} holds NaN or infinity")


def test_an_error_in_the_last_tensor_comes_before_the_first_is_written(
    model: nn.Module, state: dict[str, Tensor]
) -> None:
    last = list(state)[-1]
    state[last] = state[last] * math.nan
    refused(model, state, last.replace(".", r"\."))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (LoRASettings(4, 12.0), r"trained with alpha=12.0, the model has alpha=6.0"),
        (LoRASettings(8, 6.0), r"trained with rank=8, the model has rank=4"),
        (LoRASettings(4, 6.0, use_rslora=True), r"trained with use_rslora=True, the model has use_rslora=False"),
    ],
)
def test_other_settings(model: nn.Module, state: dict[str, Tensor], settings: LoRASettings, message: str) -> None:
    refused(model, state, message, settings=settings)


def test_equal_settings_and_another_dropout_are_fine(model: nn.Module, state: dict[str, Tensor]) -> None:
    load_lora_state_dict(model, state, settings=LoRASettings(4, 6.0, dropout=0.3))
    assert torch.equal(get_lora_state_dict(model)[KEY], state[KEY])


@pytest.mark.parametrize("make", [copy.deepcopy, lambda model: merge_lora_weights(copy.deepcopy(model))])
def test_a_model_without_adapters(transformer, trained, state: dict[str, Tensor], make: Callable) -> None:
    model = transformer() if make is copy.deepcopy else make(trained(transformer(), CARD))
    with pytest.raises(AdapterError, match="no LoRA adapters"):
        get_lora_state_dict(model)
    refused(model, state, "no LoRA adapters")
