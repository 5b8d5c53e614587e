import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from stickgen.errors import AdapterError
from stickgen.lora import (
    Combination,
    adapted_layers,
    combine_adapters,
    get_lora_state_dict,
    inject_lora_adapters,
    load_lora_state_dict,
    lora_settings,
    truncate_adapter,
)

CARD = ["transformer_encoder", "pose_decoder"]
KINDS = [
    {"targets": CARD, "rank": 4, "alpha": 6.0, "seed": 5},
    {"targets": ["ffn"], "rank": 3, "alpha": 2.0, "seed": 6, "use_rslora": True},
    {"targets": ["self_attn"], "rank": 2, "alpha": 9.0, "seed": 7, "rank_pattern": {"q_proj": 5}},
]


@pytest.fixture
def adapters(transformer, trained) -> list[Combination]:
    made = []
    for kind in KINDS:
        settings = dict(kind)
        model = trained(transformer(), settings.pop("targets"), **settings)
        made.append(Combination(get_lora_state_dict(model), lora_settings(model)))
    return made


def deltas(adapter: Combination, transformer) -> dict[str, Tensor]:
    model = attached(adapter, transformer)
    return {path: layer.delta_weight() for path, layer in adapted_layers(model).items()}


def attached(adapter: Combination, transformer) -> nn.Module:
    paths = dict.fromkeys(key.rpartition(".")[0] for key in adapter.state)
    model = inject_lora_adapters(transformer(), paths, **vars(adapter.settings))
    load_lora_state_dict(model, adapter.state, settings=adapter.settings)
    return model.eval()


@pytest.mark.parametrize("weights", [(0.7, 0.3, 1.0), (1.0, -0.4, 0.2), (2.0, 0.0, 0.0)])
def test_a_combination_is_the_weighted_sum_of_the_updates(adapters, transformer, weights: tuple[float, ...]) -> None:
    combined = deltas(combine_adapters(adapters, weights), transformer)
    expected: dict[str, Tensor] = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        for path, delta in deltas(adapter, transformer).items():
            expected[path] = expected.get(path, torch.zeros_like(delta)) + weight * delta
    assert combined.keys() == {path for path, delta in expected.items() if delta.any()}
    for path, delta in combined.items():
        torch.testing.assert_close(delta, expected[path], rtol=0, atol=1e-5)


def test_averaging_the_factors_would_be_something_else(adapters, transformer, trained) -> None:
    other = trained(transformer(), CARD, seed=9)
    pair = [adapters[0], Combination(get_lora_state_dict(other), lora_settings(other))]
    exact = deltas(combine_adapters(pair, [0.5, 0.5]), transformer)
    averaged = {key: (value + pair[1].state[key]) / 2 for key, value in pair[0].state.items()}
    for path, delta in deltas(Combination(averaged, pair[0].settings), transformer).items():
        assert (delta - exact[path]).norm() / exact[path].norm() > 0.3


def test_ranks_add_up_layer_by_layer(adapters) -> None:
    combined = combine_adapters(adapters, [1.0, 1.0, 1.0])
    ranks = {key: len(value) for key, value in combined.state.items() if key.endswith("lora_A")}
    assert ranks["transformer_encoder.layers.0.ffn.gate_proj.lora_A"] == 4 + 3
    assert ranks["transformer_encoder.layers.0.self_attn.q_proj.lora_A"] == 4 + 5
    assert ranks["transformer_encoder.layers.0.self_attn.out_proj.lora_A"] == 4 + 2
    assert ranks["pose_decoder.0.lora_A"] == 4


@pytest.mark.parametrize("rank", [1, 3, 6, 20])
def test_a_truncation_is_the_best_there_is_and_tells_what_it_loses(adapters, transformer, rank: int) -> None:
    exact = combine_adapters(adapters, [0.7, 0.3, 1.0])
    cut = truncate_adapter(exact, rank)
    before, after = deltas(exact, transformer), deltas(cut, transformer)
    lost = whole = 0.0
    for path, delta in before.items():
        assert torch.linalg.matrix_rank(after[path]) <= rank
        difference = (after[path] - delta).square().sum()
        best = torch.linalg.svdvals(delta)[rank:].square().sum()
        assert float(difference) == pytest.approx(float(best), rel=1e-3, abs=1e-9), path
        assert cut.errors[path] == pytest.approx(float(best.sqrt() / delta.norm()), rel=1e-3, abs=1e-6)
        lost, whole = lost + float(best), whole + float(delta.square().sum())
    assert cut.error == pytest.approx(math.sqrt(lost / whole), rel=1e-3, abs=1e-6)
    assert (cut.error < 1e-6) == (rank >= 9)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0, -1.0, 0.0), r"weights \[1, -1, 0\]: they sum to zero"),
        ((0.0, 0.0, 0.0), "sum to zero"),
        ((0.1, 0.2, -0.3), "sum to zero"),
        ((1.0, 1.0), r"weights \[1, 1\]: 3 expected"),
        ((1.0, math.nan, 1.0), "finite"),
    ],
)
def test_weights_that_mean_nothing(adapters, weights: tuple[float, ...], message: str) -> None:
    with pytest.raises(AdapterError, match=message):
        combine_adapters(adapters, weights)


def test_dora_cannot_be_summed(transformer, trained) -> None:
    model = trained(transformer(), ["ffn"], kind="dora")
    adapter = Combination(get_lora_state_dict(model), lora_settings(model))
    for attempt in (lambda: combine_adapters([adapter], [0.5]), lambda: truncate_adapter(adapter, 2)):
        with pytest.raises(AdapterError, match="DoRA"):
            attempt()


def test_a_dora_of_weight_zero_is_not_in_the_sum(adapters, transformer, trained) -> None:
    model = trained(transformer(), ["ffn"], kind="dora")
    dora = Combination(get_lora_state_dict(model), lora_settings(model))
    both, alone = combine_adapters([dora, adapters[0]], [0.0, 1.0]), combine_adapters([adapters[0]], [1.0])
    assert both.settings == alone.settings
    assert all(torch.equal(value, alone.state[key]) for key, value in both.state.items())


def test_adapters_of_different_bases_have_no_sum(adapters) -> None:
    one, two = adapters[:2]
    path = next(iter(one.state)).rpartition(".")[0]
    other = replace(two, state={**two.state, f"{path}.lora_A": torch.ones(2, 5), f"{path}.lora_B": torch.ones(7, 2)})
    with pytest.raises(AdapterError, match=rf"{path}: one adapter is of a layer .* another of 7 × 5"):
        combine_adapters([one, other], [0.5, 0.5])


@pytest.mark.parametrize("rank", [0, -1, 1.5, 2.0, True, "2"])
def test_a_rank_that_is_none(adapters, rank) -> None:
    with pytest.raises(AdapterError, match=rf"rank={rank}: a whole number of at least 1"):
        truncate_adapter(adapters[0], rank)
