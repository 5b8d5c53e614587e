import re

import pytest
from torch import nn

from stickgen.errors import AdapterError
from stickgen.lora import (
    LoRASettings,
    adapted_layers,
    get_lora_state_dict,
    inject_lora_adapters,
    load_lora_state_dict,
    lora_settings,
)

PATHS = ["first", "block.first", "block.layers.10.first", "block.layers.1.first", "block.second"]


@pytest.mark.parametrize(
    "pattern", ["first", r"layers\.1\.first", r"block\..*", "second|first", "^first", "irst", r"1\.first"]
)
@pytest.mark.parametrize("path", PATHS)
def test_a_pattern_means_what_it_does_to_peft(pattern: str, path: str) -> None:
    peft = pytest.importorskip("peft")
    theirs = {pattern: 4}.get(peft.utils.other.get_pattern_key([pattern], path), 8)
    assert LoRASettings(8, rank_pattern={pattern: 4}).rank_of(path) == theirs


def test_the_first_pattern_that_matches_holds() -> None:
    settings = LoRASettings(8, alpha_pattern={r"layers\.1\.first": 3.0, "first": 5.0})
    assert [settings.alpha_of(path) for path in PATHS] == [5.0, 5.0, 5.0, 3.0, 16.0]


def test_every_layer_gets_its_own_rank_and_alpha(transformer) -> None:
    model = inject_lora_adapters(
        transformer(),
        rank=4,
        alpha=6.0,
        rank_pattern={r"layers\.1\.ffn\.\w+": 2, "out_proj": 7},
        alpha_pattern={"out_proj": 1.5},
    )
    for path, layer in adapted_layers(model).items():
        rank = 7 if path.endswith("out_proj") else 2 if "layers.1.ffn" in path else 4
        alpha = 1.5 if path.endswith("out_proj") else 6.0
        assert (layer.rank, len(layer.lora_A), layer.lora_B.shape[1]) == (rank, rank, rank), path
        assert layer.scaling == pytest.approx(alpha / rank)


def test_the_settings_told_build_the_same_adapters_again(transformer, trained) -> None:
    given = {"rank_pattern": {"out_proj": 7, r"0\.ffn\..*": 1}, "alpha_pattern": {r"pose_decoder\.3": 2.5}, "rank": 4}
    model = trained(transformer(), ["transformer_encoder", "pose_decoder"], use_rslora=True, **given)
    settings, state = lora_settings(model), get_lora_state_dict(model)
    again = inject_lora_adapters(transformer(), **vars(settings))
    load_lora_state_dict(again, state, settings=settings)
    assert lora_settings(again) == settings
    assert {p: (x.rank, x.scaling) for p, x in adapted_layers(again).items()} == {
        p: (x.rank, x.scaling) for p, x in adapted_layers(model).items()
    }


def test_a_path_that_another_ends_like_is_told_apart() -> None:
    settings = LoRASettings.of_layers({"first": 2, "a.first": 4, "b.first": 4}, dict.fromkeys("abc", 1.0))
    assert [settings.rank_of(path) for path in ("first", "a.first", "b.first")] == [2, 4, 4]


@pytest.mark.parametrize("name", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_matches_nothing_leaves_the_model_alone(transformer, name: str) -> None:
    model = transformer()
    with pytest.raises(AdapterError, match=rf"{name} 'query' matches the path of no adapted layer, such as transf"):
        inject_lora_adapters(model, ["self_attn"], **{name: {"query": 4}})
    assert adapted_layers(model) == {}
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank_pattern": {"ffn": 0}}, "rank_pattern.ffn=0"),
        ({"rank_pattern": {"ffn": 1.5}}, "rank_pattern.ffn=1.5"),
        ({"alpha_pattern": {"ffn": -1.0}}, "alpha_pattern.ffn=-1"),
        ({"rank_pattern": {"(": 2}}, "pattern '(': not a regular expression"),
    ],
)
def test_impossible_patterns(toy: nn.Module, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        inject_lora_adapters(toy, ["block"], **settings)


def test_another_rank_in_one_layer_is_refused_when_loading(transformer, trained) -> None:
    model = trained(transformer(), ["ffn"], alpha_pattern={r"1\.ffn\.gate_proj": 3.0})
    settings = LoRASettings(4, 6.0)
    with pytest.raises(AdapterError, match=r"alpha=6.0, the model has alpha=3.0, in .*layers\.1\.ffn\.gate_proj"):
        load_lora_state_dict(model, get_lora_state_dict(model), settings=settings)


def test_what_people_read() -> None:
    assert str(LoRASettings(8, 16.0, 0.05)) == "rank 8, alpha 16, dropout 0.05"
    assert str(LoRASettings(4, 2.5, 0.0, kind="dora", rank_pattern={"ffn": 2})) == (
        "rank 4, alpha 2.5, dropout 0, DoRA, other ranks in some layers"
    )
