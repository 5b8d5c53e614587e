import copy
import inspect
import io
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stickgen.errors import AdapterError
from stickgen.lora import (
    LoRALinear,
    LoRASettings,
    adapted_layers,
    adapters_disabled,
    detach_lora_adapters,
    inject_lora_adapters,
    lora_settings,
    merge_lora_weights,
)
from stickgen.model import StickFigureTransformer

CARD = ["transformer_encoder", "pose_decoder"]


def trainable(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("size", "targets", "count"),
    [
        ((384, 12, 8), CARD, 571_552),
        ((256, 8, 6), CARD, 286_880),
        ((512, 16, 10), CARD, 950_432),
        ((384, 12, 8), ["self_attn"], 196_608),
        ((384, 12, 8), ["q_proj", "k_proj", "v_proj", "self_attn.out_proj"], 196_608),
        ((384, 12, 8), ["ffn"], 368_640),
        ((384, 12, 8), ["out_proj", "gate_proj", "output_proj", "pose_decoder"], 301_216),
        ((384, 12, 8), ["pose_decoder"], 6_304),
    ],
)
def test_trainable_counts(size: tuple[int, int, int], targets: list[str], count: int) -> None:
    d_model, nhead, num_layers = size
    with torch.device("meta"):
        model = StickFigureTransformer(d_model=d_model, nhead=nhead, num_layers=num_layers)
    before = sum(p.numel() for p in model.parameters())
    inject_lora_adapters(model, targets, rank=8)
    assert trainable(model) == count
    assert sum(p.numel() for p in model.parameters()) == before + count


def test_the_cards_share_of_trained_numbers() -> None:
    with torch.device("meta"):
        model = inject_lora_adapters(StickFigureTransformer())
    total = sum(p.numel() for p in model.parameters())
    assert total == 21_167_198
    assert trainable(model) / total == pytest.approx(0.027, abs=5e-4)
    assert len(model.state_dict()) == 281


def test_names_and_defaults_are_public() -> None:
    parameters = inspect.signature(inject_lora_adapters).parameters
    assert {name: p.default for name, p in parameters.items() if name != "model"} == {
        "target_modules": ("transformer_encoder", "pose_decoder"),
        "rank": 8,
        "alpha": 16.0,
        "dropout": 0.05,
        "use_rslora": False,
        "kind": "lora",
        "rank_pattern": None,
        "alpha_pattern": None,
        "layers": None,
    }


def test_only_adapters_get_gradients(transformer, arguments: dict[str, Tensor], trained) -> None:
    model = trained(transformer(), CARD)
    outputs = model(**arguments, return_all_outputs=True)
    sum(value.square().sum() for value in outputs.values()).backward()
    for name, parameter in model.named_parameters():
        adapter = name.endswith((".lora_A", ".lora_B"))
        assert parameter.requires_grad == adapter, name
        assert (parameter.grad is not None and bool(parameter.grad.any())) == adapter, name


def test_at_first_only_b_can_move(transformer, arguments: dict[str, Tensor]) -> None:
    model = inject_lora_adapters(transformer(), CARD, dropout=0.0)
    model(**arguments).square().sum().backward()
    for path, layer in adapted_layers(model).items():
        assert layer.lora_A.grad is not None
        assert layer.lora_B.grad is not None
        assert not layer.lora_A.grad.any(), path
        assert layer.lora_B.grad.any(), path


def test_an_optimizer_step_moves_adapters_and_nothing_else(transformer, arguments: dict[str, Tensor], trained) -> None:
    model = trained(transformer(), CARD)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.01)
    model(**arguments).square().mean().backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != ("lora_" in name), name


def test_fresh_adapters_change_nothing(transformer, arguments: dict[str, Tensor]) -> None:
    model = transformer().requires_grad_(False)
    expected = model(**arguments)
    assert torch.equal(inject_lora_adapters(model, CARD)(**arguments), expected)


def test_the_state_dict_keeps_the_bases_keys_and_gains_the_adapters(transformer) -> None:
    base = transformer().state_dict()
    model = inject_lora_adapters(transformer(), CARD, rank=3)
    state = model.state_dict()
    paths = list(adapted_layers(model))
    assert {key: tuple(value.shape) for key, value in state.items() if key not in base} == {
        f"{path}.{factor}": (3, layer.in_features) if factor == "lora_A" else (layer.out_features, 3)
        for path, layer in adapted_layers(model).items()
        for factor in ("lora_A", "lora_B")
    }
    assert len(paths) == 2 * 7 + 2
    for key, value in base.items():
        assert torch.equal(state[key], value), key


def test_settings_are_kept_and_told(transformer) -> None:
    model = inject_lora_adapters(transformer(), ["ffn"], 3, 9, 0.2, use_rslora=True)
    assert lora_settings(model) == LoRASettings(3, 9.0, 0.2, True)
    assert all(layer.scaling == pytest.approx(9 / 3**0.5) for layer in adapted_layers(model).values())


def test_the_model_itself_is_returned_in_the_mode_it_was_in(transformer) -> None:
    for training in (True, False):
        model = transformer().train(training)
        assert inject_lora_adapters(model, CARD) is model
        assert all(module.training == training for module in model.modules())


@pytest.mark.parametrize("targets", [CARD, ["ffn"], ["position_decoder"]])
def test_wrapping_twice_is_refused(transformer, trained, targets: list[str]) -> None:
    model = trained(transformer(), CARD)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(AdapterError, match="already"):
        inject_lora_adapters(model, targets)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("settings", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}])
def test_impossible_settings_leave_the_model_alone(transformer, settings: dict) -> None:
    model = transformer()
    with pytest.raises(ValueError, match=next(iter(settings))):
        inject_lora_adapters(model, CARD, **settings)
    assert adapted_layers(model) == {}
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("undo", [detach_lora_adapters, merge_lora_weights])
def test_after_adapters_are_out_others_can_go_in(transformer, trained, undo: Callable) -> None:
    model = undo(trained(transformer(), CARD))
    inject_lora_adapters(model, ["ffn"], rank=2)
    assert len(adapted_layers(model)) == 6


def test_disabled_adapters_leave_the_base_bit_for_bit(transformer, arguments: dict[str, Tensor], trained) -> None:
    model = transformer().requires_grad_(False)
    expected = model(**arguments, return_all_outputs=True)
    trained(model, CARD)
    adapted = model(**arguments, return_all_outputs=True)
    with adapters_disabled(model):
        base = model(**arguments, return_all_outputs=True)
    for head, value in expected.items():
        assert torch.equal(base[head], value), head
        assert not torch.equal(adapted[head], value), head
        assert torch.equal(model(**arguments, return_all_outputs=True)[head], adapted[head]), head


def test_adapters_come_back_after_an_error_and_out_of_nested_contexts(transformer, trained) -> None:
    model = trained(transformer(), CARD)
    layers = adapted_layers(model).values()
    with adapters_disabled(model):
        with adapters_disabled(model):
            pass
        assert not any(layer.enabled for layer in layers)
    assert all(layer.enabled for layer in layers)
    with pytest.raises(ZeroDivisionError), adapters_disabled(model):
        _ = 1 / 0
    assert all(layer.enabled for layer in layers)


def test_disabling_the_adapters_of_a_plain_model_is_fine(transformer, arguments: dict[str, Tensor]) -> None:
    model = transformer()
    with adapters_disabled(model):
        model(**arguments)


def test_detaching_gives_the_base_back_bit_for_bit(transformer, arguments: dict[str, Tensor], trained) -> None:
    model = transformer().requires_grad_(False)
    expected, state = model(**arguments), {key: value.clone() for key, value in model.state_dict().items()}
    trained(model, CARD)
    model(**arguments).sum().backward()
    assert detach_lora_adapters(model) is model
    assert not any(isinstance(module, LoRALinear) for module in model.modules())
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert torch.equal(model(**arguments), expected)
    assert trainable(model) == 0


@pytest.mark.parametrize("ask", [detach_lora_adapters, lora_settings])
def test_a_plain_model_has_no_adapters_to_ask_for(transformer, ask: Callable) -> None:
    with pytest.raises(AdapterError, match="no LoRA adapters"):
        ask(transformer())


# Any module


def test_a_convolutional_net_can_be_adapted(toy: nn.Module, toy_input: Tensor, trained) -> None:
    toy.requires_grad_(False)
    before = toy(toy_input)
    trained(toy, ["block", "head"], rank=2)
    assert list(adapted_layers(toy)) == ["block.first", "block.second", "head"]
    adapted = toy(toy_input)
    assert not torch.allclose(adapted, before, atol=1e-3)
    merged = merge_lora_weights(copy.deepcopy(toy))
    torch.testing.assert_close(merged(toy_input), adapted, rtol=1e-5, atol=1e-6)
    assert torch.equal(detach_lora_adapters(toy)(toy_input), before)


def test_a_sequential_can_be_adapted_by_number(trained) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 2)))
    trained(model, ["2.1"], rank=1)
    assert list(adapted_layers(model)) == ["2.1"]
    assert [type(module) for module in model[2]] == [nn.Linear, LoRALinear]
    model(torch.randn(3, 4)).sum().backward()
    assert trainable(model) == 5 + 2
    detach_lora_adapters(model)
    trained(model, ["0"], rank=1)  # every layer of that name
    assert list(adapted_layers(model)) == ["0", "2.0"]


def test_a_rank_above_the_layers_own_is_allowed(trained) -> None:
    model = trained(nn.Sequential(nn.Linear(2, 3)), ["0"], rank=7)
    assert model(torch.randn(1, 2)).shape == (1, 3)


@pytest.mark.parametrize("kind", [nn.MultiheadAttention, nn.TransformerEncoderLayer])
def test_layers_that_pytorch_reads_without_calling_are_refused(kind: type[nn.Module]) -> None:
    model = nn.Sequential(nn.Linear(16, 16), kind(16, 2, batch_first=True))
    with pytest.raises(AdapterError, match=rf"1\.\S+: {kind.__name__} reads its weights without calling it"):
        inject_lora_adapters(model, ["*"])
    assert adapted_layers(model) == {}
    assert all(p.requires_grad for p in model.parameters())
    inject_lora_adapters(model, ["0"])


def test_a_layer_that_is_used_in_two_places_is_refused() -> None:
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, nn.Sequential(nn.ReLU(), shared))
    with pytest.raises(AdapterError, match="0: is used in several places"):
        inject_lora_adapters(model, ["0"])


def test_a_block_with_two_names_is_adapted_under_both(trained) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = nn.Sequential(nn.Linear(3, 3))
            self.alias = self.block

    model = trained(Twice(), ["block"])
    assert isinstance(model.alias[0], LoRALinear)
    assert model.alias[0] is model.block[0]


# Copies


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_of_an_adapted_model(transformer, arguments: dict[str, Tensor], trained, way: Callable) -> None:
    model = trained(transformer(), CARD)
    expected = model(**arguments)
    twin = way(model)
    detach_lora_adapters(model)
    assert torch.equal(twin(**arguments), expected)
    assert trainable(twin) == sum(p.numel() for n, p in twin.named_parameters() if "lora_" in n)
    assert lora_settings(twin) == LoRASettings(4, 6.0, 0.0)


def test_the_state_dict_of_an_adapted_model_goes_round(transformer, arguments: dict[str, Tensor], trained) -> None:
    model = trained(transformer(), CARD)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = inject_lora_adapters(transformer(seed=9), CARD, rank=4, alpha=6.0, dropout=0.0)
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert torch.equal(other(**arguments), model(**arguments))


def test_the_base_loads_into_an_adapted_model_without_loosening_anything_but_the_adapters(transformer) -> None:
    model = inject_lora_adapters(transformer(), CARD)
    result = model.load_state_dict(transformer(seed=9).state_dict(), strict=False)
    assert result.unexpected_keys == []
    assert all(key.endswith((".lora_A", ".lora_B")) for key in result.missing_keys)
