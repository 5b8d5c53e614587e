import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from stickgen.generation.stepping import FEW_ROWS, FewRowsLinear, has_few_rows, stepping_copy
from stickgen.lora import adapted_layers, adapters_disabled
from stickgen.model import StickFigureTransformer

Build = Callable[..., StickFigureTransformer]

MOTION = torch.randn(6, 3, 20, generator=torch.Generator().manual_seed(1))
TEXT = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))


def outputs(model: nn.Module) -> dict[str, Tensor]:
    with torch.no_grad():
        return model(MOTION, TEXT, return_all_outputs=True)


@pytest.mark.parametrize("adapters", [False, True], ids=["base", "adapted"])
def test_the_copy_computes_the_same(build: Build, adapters: bool) -> None:
    model = build(adapters=adapters)
    made = stepping_copy(model)
    assert not adapted_layers(made)
    torch.testing.assert_close(outputs(made), outputs(model), rtol=1e-5, atol=1e-5)


def test_the_model_is_left_as_it_was(build: Build) -> None:
    model = build(adapters=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modules = [id(module) for module in model.modules()]
    made = stepping_copy(model)
    assert model.training
    assert not made.training
    assert [id(module) for module in model.modules()] == modules
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_adapters_that_are_switched_off_are_left_out(build: Build) -> None:
    model = build(adapters=True)
    with adapters_disabled(model):
        expected, made = outputs(model), stepping_copy(model)
    torch.testing.assert_close(outputs(made), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(outputs(made)["pose"], outputs(model)["pose"], atol=1e-3)


def test_beside_narrower_weights_adapters_stay(build: Build) -> None:
    model = build(adapters=True)
    for layer in adapted_layers(model).values():
        layer.weight.data = layer.weight.data.bfloat16()
    assert adapted_layers(stepping_copy(model)).keys() == adapted_layers(model).keys()


def test_tensors_that_stay_as_they_are_are_not_copied(build: Build) -> None:
    model = build()
    made = stepping_copy(model)
    assert made.text_projection[0].weight is model.text_projection[0].weight
    assert made.transformer_encoder.layers[0].ffn.output_proj.weight.data_ptr() == (
        model.transformer_encoder.layers[0].ffn.output_proj.weight.data_ptr()
    )


@pytest.mark.parametrize("rows", [1, 3, FEW_ROWS, FEW_ROWS + 1, 40])
@pytest.mark.parametrize("out", [16, 20, 7])
@pytest.mark.parametrize("bias", [False, True])
def test_few_rows_give_what_many_give(rows: int, out: int, bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    torch.manual_seed(0)
    linear = nn.Linear(6, out, bias=bias)
    few = copy.deepcopy(linear)
    few.__class__ = FewRowsLinear
    for x in (torch.randn(rows, 6), torch.randn(1, rows, 6), torch.randn(rows, 1, 6), torch.randn(6, rows).t()):
        with torch.no_grad():
            torch.testing.assert_close(few(x), linear(x))


def test_with_avx512_few_rows_go_through_the_usual_product(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(384, 384)
    few = copy.deepcopy(linear)
    few.__class__ = FewRowsLinear
    x = torch.randn(FEW_ROWS, 384)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert not has_few_rows(x)
    with torch.no_grad():
        assert torch.equal(few(x), linear(x))


def test_every_linear_layer_of_the_copy_takes_few_rows(build: Build) -> None:
    made = stepping_copy(build(adapters=True))
    assert {type(module) for module in made.modules() if isinstance(module, nn.Linear)} == {FewRowsLinear}
