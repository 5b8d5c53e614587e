from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stickgen.errors import AdapterError
from stickgen.generation import rollout
from stickgen.lora import (
    LoRASettings,
    NamedAdapters,
    adapted_layers,
    combine_adapters,
    get_lora_state_dict,
    inject_lora_adapters,
    load_lora_state_dict,
    lora_settings,
    module_paths,
)
from stickgen.lora.combine import Combination

CARD = ["transformer_encoder", "pose_decoder"]
KINDS = {
    "tired": {"targets": CARD, "rank": 4, "seed": 5},
    "sneaky": {"targets": ["ffn"], "rank": 2, "seed": 6, "use_rslora": True},
    "dora": {"targets": ["self_attn", "position_decoder"], "rank": 3, "seed": 7, "kind": "dora"},
    "pissa": {"targets": ["self_attn"], "rank": 2, "seed": 8, "kind": "pissa"},
    "loha": {"targets": ["ffn"], "rank": 3, "seed": 9, "kind": "loha"},
}


def assert_rounded(actual: Tensor, expected: Tensor) -> None:
    """Products in another order differ by float32's rounding, in units of the largest number: by 4e-6 and less."""
    assert float((actual - expected).abs().max() / expected.abs().max()) < 5e-6


@pytest.fixture
def sources(transformer, trained) -> dict[str, Combination]:
    made = {}
    for name, kind in KINDS.items():
        settings = dict(kind)
        model = trained(transformer(causal=True), settings.pop("targets"), **settings)
        made[name] = Combination(get_lora_state_dict(model), lora_settings(model))
    return made


@pytest.fixture
def base(transformer) -> nn.Module:
    return transformer(causal=True).requires_grad_(False)


@pytest.fixture
def adapters(base: nn.Module, sources: dict[str, Combination]) -> NamedAdapters:
    named = NamedAdapters(base)
    for name, source in sources.items():
        named.attach(name, source.state, source.settings)
    return named


@pytest.fixture
def outputs(arguments: dict[str, Tensor]) -> Callable[[nn.Module], dict[str, Tensor]]:
    def compute(model: nn.Module) -> dict[str, Tensor]:
        with torch.no_grad():
            return model(**arguments, return_all_outputs=True)

    return compute


@pytest.fixture
def alone(transformer, sources: dict[str, Combination]) -> Callable[[str], nn.Module]:
    """A model that has one of the adapters in the usual way."""

    def make(name: str) -> nn.Module:
        model, source = transformer(causal=True), sources[name]
        inject_lora_adapters(model, module_paths(source.state), **vars(source.settings))
        load_lora_state_dict(model, source.state)
        return model.eval()

    return make


def test_switching_gives_what_each_adapter_alone_does(adapters: NamedAdapters, outputs, alone, transformer) -> None:
    plain = outputs(transformer(causal=True))
    assert adapters.names == list(KINDS)
    for name in ("tired", "dora", "sneaky", "pissa", "loha", "tired", None, "dora"):
        adapters.use(name)
        expected = plain if name is None else outputs(alone(name))
        for head, value in outputs(adapters.model).items():
            assert torch.equal(value, expected[head]), (name, head)
        assert adapters.used == ({} if name is None else {name: 1.0})


def test_attaching_alone_changes_nothing(adapters: NamedAdapters, outputs, transformer) -> None:
    assert adapters.used == {}
    for head, value in outputs(transformer(causal=True)).items():
        assert torch.equal(outputs(adapters.model)[head], value)


def test_letting_go_gives_the_base_back_bit_for_bit(base: nn.Module, adapters: NamedAdapters, transformer) -> None:
    layers = dict(base.named_modules())
    state = transformer(causal=True).state_dict()
    adapters.use({"tired": 0.7, "sneaky": 0.3})
    for name in adapters.names:
        adapters.detach(name)
    assert adapters.names == []
    assert list(base.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in base.state_dict().items())
    assert all(type(m) is type(layers[path]) for path, m in base.named_modules())
    assert dict(base.named_modules()) == layers, "the very layers it had"


def test_weights_give_the_exact_sum(adapters: NamedAdapters, sources, transformer, outputs) -> None:
    adapters.use({"tired": 0.7, "sneaky": -0.2})
    deltas = {path: layer.delta_weight() for path, layer in adapted_layers(adapters.model).items()}
    adapters.use("tired")
    first = {path: layer.delta_weight() for path, layer in adapted_layers(adapters.model).items()}
    adapters.use({"sneaky": 1.0})
    second = {path: layer.delta_weight() for path, layer in adapted_layers(adapters.model).items()}
    for path, delta in deltas.items():
        expected = 0.7 * first[path] - 0.2 * second.get(path, torch.zeros_like(first[path]))
        torch.testing.assert_close(delta, expected, rtol=0, atol=1e-5)
    adapters.use({"tired": 0.5})
    combined = combine_adapters([sources["tired"]], [0.5])
    assert adapted_layers(adapters.model).keys() == first.keys()
    assert lora_settings(adapters.model).rank == combined.settings.rank


@pytest.mark.parametrize(
    "names",
    [
        ("sneaky", "tired"),
        (None, "dora"),
        ("dora", "tired"),
        ("tired", "tired"),
        (None, None),
        ("pissa", "loha"),
        ("loha", "dora"),
    ],
)
def test_every_clip_of_a_pass_has_its_own(
    adapters: NamedAdapters, outputs, alone, transformer, names: tuple[str | None, str | None]
) -> None:
    adapters.use("sneaky")
    with adapters.per_clip(names):
        together = outputs(adapters.model)
    for clip, name in enumerate(names):
        expected = outputs(transformer(causal=True) if name is None else alone(name))
        for head, value in together.items():
            dim = 1 if value.ndim == 3 else 0
            assert_rounded(value.select(dim, clip), expected[head].select(dim, clip))
    assert torch.equal(outputs(adapters.model)["pose"], outputs(alone("sneaky"))["pose"]), "and then as before"


def test_rollouts_of_one_batch_have_their_own_too(adapters: NamedAdapters, alone) -> None:
    text = torch.randn(2, 32, generator=torch.Generator().manual_seed(3))
    with adapters.per_clip(["tired", "dora"]):
        motion = rollout(adapters.model, text, frames=4)
    for clip, name in enumerate(("tired", "dora")):
        expected = rollout(alone(name), text, frames=4)
        assert_rounded(motion[:, clip], expected[:, clip])


def test_another_number_of_clips(adapters: NamedAdapters, outputs) -> None:
    with adapters.per_clip(["tired"] * 3), pytest.raises(AdapterError, match=r"a batch of 2 clips, .* named for 3"):
        outputs(adapters.model)


def test_names(adapters: NamedAdapters, sources) -> None:
    adapters.use("tired")
    with pytest.raises(AdapterError, match="'tired': the name is taken"):
        adapters.attach("tired", sources["tired"].state, sources["tired"].settings)
    for attempt in (
        lambda: adapters.use("tierd"),
        lambda: adapters.use({"tired": 1.0, "tierd": 1.0}),
        lambda: adapters.detach("tierd"),
        lambda: adapters.per_clip(["tierd"]).__enter__(),
    ):
        with pytest.raises(AdapterError, match="'tierd': not attached; there are tired, sneaky, dora, pissa, loha"):
            attempt()
    assert adapters.used == {"tired": 1.0}


@pytest.mark.parametrize(
    ("weights", "message"), [({"tired": 1.0, "sneaky": -1.0}, "sum to zero"), ({"dora": 0.5}, "DoRA")]
)
def test_weights_that_cannot_be_change_nothing(adapters: NamedAdapters, outputs, alone, weights, message: str) -> None:
    adapters.use("sneaky")
    with pytest.raises(AdapterError, match=message):
        adapters.use(weights)
    assert adapters.used == {"sneaky": 1.0}
    assert torch.equal(outputs(adapters.model)["pose"], outputs(alone("sneaky"))["pose"])


def test_one_that_does_not_fit_leaves_the_others_in_use(adapters: NamedAdapters, outputs, alone, sources) -> None:
    adapters.use("tired")
    bad = dict(sources["sneaky"].state)
    bad[next(iter(bad))] = torch.zeros(2, 3)
    with pytest.raises(AdapterError, match="has shape"):
        adapters.attach("bad", bad, sources["sneaky"].settings)
    with pytest.raises(AdapterError, match="matches no Linear"):
        adapters.attach("bad", {"nowhere.lora_A": torch.zeros(8, 3)}, LoRASettings())
    assert adapters.names == list(KINDS)
    assert torch.equal(outputs(adapters.model)["pose"], outputs(alone("tired"))["pose"])


def test_attaching_touches_neither_layers_nor_random_numbers(adapters: NamedAdapters, sources) -> None:
    adapters.use({"tired": 0.7, "sneaky": 0.3})
    layers, chance = dict(adapters.model.named_modules()), torch.get_rng_state()
    adapters.attach("again", sources["dora"].state, sources["dora"].settings)
    assert dict(adapters.model.named_modules()) == layers
    adapters.use({"tired": 0.5, "sneaky": 0.3})
    assert torch.equal(torch.get_rng_state(), chance)
    sources["dora"].state["pose_decoder.0.lora_A"] = torch.zeros(1)
    adapters.use("again")


def test_what_is_attached_for_single_clips_stays(adapters: NamedAdapters, outputs, sources) -> None:
    with adapters.per_clip(["tired", None]):
        before = outputs(adapters.model)
        adapters.attach("again", sources["sneaky"].state, sources["sneaky"].settings)
        for attempt in (
            lambda: adapters.use("sneaky"),
            lambda: adapters.detach("tired"),
            lambda: adapters.per_clip(["sneaky", None]).__enter__(),
        ):
            with pytest.raises(AdapterError, match="until per_clip ends"):
                attempt()
        after = outputs(adapters.model)
        assert all(torch.equal(value, before[head]) for head, value in after.items())
    adapters.use("again")
    adapters.detach("tired")


def test_a_context_that_is_never_entered_right_leaves_no_state(adapters: NamedAdapters) -> None:
    with pytest.raises(AdapterError, match="no name given"), adapters.per_clip([]):
        pytest.fail("the body must not run")
    with pytest.raises(RuntimeError, match="inside"), adapters.per_clip(["tired"]):
        raise RuntimeError("inside")
    adapters.use("sneaky")


def test_clips_are_counted_where_all_have_the_base(adapters: NamedAdapters, outputs) -> None:
    with adapters.per_clip([None] * 3), pytest.raises(AdapterError, match=r"a batch of 2 clips, .* named for 3"):
        outputs(adapters.model)


def test_single_clips_are_not_trained(adapters: NamedAdapters, arguments) -> None:
    with adapters.per_clip(["tired", None]):
        adapters.model.train()
        with pytest.raises(AdapterError, match=r"for generation, not for training"):
            adapters.model(**arguments)


def test_one_adapter_can_be_trained_and_a_sum_cannot(adapters: NamedAdapters, arguments, outputs) -> None:
    adapters.use("sneaky")
    adapters.model(**arguments).square().sum().backward()
    trained = [p for p in adapters.model.parameters() if p.requires_grad]
    assert trained
    assert all(parameter.grad is not None for parameter in trained)
    with torch.no_grad():
        for parameter in trained:
            parameter.mul_(2)
    once = outputs(adapters.model)["pose"]
    adapters.use({"sneaky": 1.0 + 1e-12})  # by way of the sum, which knows what was learned
    assert_rounded(outputs(adapters.model)["pose"], once)
    assert not any(parameter.requires_grad for parameter in adapters.model.parameters())


def test_a_weight_of_zero_is_not_in_the_sum(adapters: NamedAdapters, outputs, alone) -> None:
    for weights, name in (({"tired": 1.0, "dora": 0.0}, "tired"), ({"tired": 0.0, "dora": 1.0}, "dora")):
        adapters.use(weights)
        assert torch.equal(outputs(adapters.model)["pose"], outputs(alone(name))["pose"])
    with pytest.raises(AdapterError, match="sum to zero"):
        adapters.use({"tired": 0.0})


def test_a_model_that_has_adapters(transformer, trained) -> None:
    with pytest.raises(AdapterError, match="already"):
        NamedAdapters(trained(transformer(), ["ffn"]))
