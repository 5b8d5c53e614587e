"""Adapter folders between stickgen and PEFT itself, on the same base: outputs are equal within 1e-5."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoHaConfig, LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from torch import Tensor, nn

from stickgen.artifacts.adapter import Adapter, attach_adapter, load_adapter, save_adapter
from stickgen.artifacts.base import Base, load_base
from stickgen.artifacts.peft_targets import is_target
from stickgen.lora import adapted_layers, get_lora_state_dict, inject_lora_adapters, lora_settings, merge_lora_weights

TARGETS = ["self_attn", "ffn", "pose_decoder"]
LEAVES = ["q_proj", "k_proj", "v_proj", "out_proj", "gate_proj", "output_proj", "pose_decoder.3"]

OPTIONS = {
    "standard": {},
    "rslora": {"use_rslora": True},
    "dora": {"kind": "dora"},
    "loha": {"kind": "loha"},
    "patterns": {
        "rank_pattern": {"out_proj": 5, r"layers\.1\.ffn\.gate_proj": 2},
        "alpha_pattern": {r"pose_decoder\.\d": 1.5},
    },
    "loha, patterns": {"kind": "loha", "rank_pattern": {"out_proj": 5}, "alpha_pattern": {r"pose_decoder\.\d": 1.5}},
    "all": {"use_rslora": True, "kind": "dora", "rank_pattern": {"q_proj": 1}, "alpha_pattern": {"^.*1.*": 12}},
}

OURS_ONLY = {
    "pissa": {"kind": "pissa"},
    "pissa, all": {"kind": "pissa", "use_rslora": True, "rank_pattern": {"q_proj": 1}, "alpha_pattern": {".*1.*": 3}},
    "loha, rank-stabilised": {"kind": "loha", "use_rslora": True, "rank_pattern": {"out_proj": 5}},
}
"""What PEFT has no configuration for; our folders say it in other words."""

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def outputs(arguments: dict[str, Tensor]) -> Callable[[nn.Module], dict[str, Tensor]]:
    def compute(model: nn.Module) -> dict[str, Tensor]:
        with torch.no_grad():
            return model.eval()(**arguments, return_all_outputs=True)

    return compute


def disturb(model: nn.Module) -> None:
    """Give adapters values, as if they had been trained."""
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_magnitude_vector" in name:
                parameter.mul_(0.7 + 0.6 * torch.rand(parameter.shape, generator=random))
            elif ".hada_" in name:  # four in a product
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=random))
            elif ".lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=random))


def peft_model(model: nn.Module, *, kind: str = "lora", **options: Any) -> nn.Module:
    """PEFT's own model with adapters that our settings describe."""
    if kind == "loha":
        return get_peft_model(model, LoHaConfig(r=3, alpha=6, target_modules=LEAVES, **options))
    config = LoraConfig(r=3, lora_alpha=6, lora_dropout=0.1, target_modules=LEAVES, use_dora=kind == "dora", **options)
    return get_peft_model(model, config)


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for head, value in theirs.items():
        torch.testing.assert_close(ours[head], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [*OPTIONS.values(), *OURS_ONLY.values()], ids=[*OPTIONS, *OURS_ONLY])
def test_peft_loads_ours(base: Base, tmp_path: Path, outputs, options: dict[str, Any]) -> None:
    plain = outputs(base.model)
    inject_lora_adapters(base.model, TARGETS, rank=3, alpha=6.0, dropout=0.1, **options)
    disturb(base.model)
    ours = outputs(base.model)
    save_adapter(Adapter(get_lora_state_dict(base.model), lora_settings(base.model)), tmp_path / "ours")

    theirs = PeftModel.from_pretrained(load_base(base.path).model, str(tmp_path / "ours"))
    assert_equal(ours, outputs(theirs))
    assert (ours["pose"] - plain["pose"]).abs().max() > 1e-3
    assert_equal(outputs(merge_lora_weights(base.model)), outputs(theirs.merge_and_unload()))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_we_load_pefts(base: Base, tmp_path: Path, outputs, options: dict[str, Any]) -> None:
    theirs = peft_model(load_base(base.path).model, **options)
    disturb(theirs)
    theirs.save_pretrained(str(tmp_path / "theirs"))

    adapter = load_adapter(tmp_path / "theirs")
    attach_adapter(base, adapter, "theirs")
    assert_equal(outputs(base.model), outputs(theirs))
    assert len(adapted_layers(base.model)) == 2 * 6 + 1
    save_adapter(adapter, tmp_path / "again")
    again = load_adapter(tmp_path / "again")
    assert again.settings == adapter.settings
    assert all(torch.equal(value, adapter.state[key]) for key, value in again.state.items())


TARGETINGS: list[dict[str, Any]] = [
    {"target_modules": ["q_proj", "pose_decoder.3"]},
    {"target_modules": r".*\.self_attn\.(q|v)_proj|pose_decoder\.\d"},
    {"target_modules": r"self_attn"},
    {"target_modules": "q_proj|.*0.*"},
    {"target_modules": ["ffn"]},
    {"target_modules": ["q_proj", "3"], "exclude_modules": ["pose_decoder.3"]},
    {"target_modules": ["q_proj"], "exclude_modules": r".*\.1\..*"},
    {"target_modules": ["q_proj"], "exclude_modules": []},
    {"target_modules": ["q_proj", "pose_decoder.3"], "layers_to_transform": 1},
    {"target_modules": ["q_proj", "3"], "layers_to_transform": [0]},
    {"target_modules": ["q_proj", "3"], "layers_to_transform": []},
    {"target_modules": ["q_proj"], "layers_to_transform": [0, 1], "layers_pattern": "layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["blocks", "transformer_encoder.l.*"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "blocks"},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": []},
]


@pytest.mark.parametrize("targeting", TARGETINGS, ids=str)
def test_the_layers_that_are_meant_are_pefts(base: Base, targeting: dict[str, Any]) -> None:
    config = LoraConfig(**targeting)
    paths = [path for path, module in base.model.named_modules() if isinstance(module, nn.Linear)]
    assert len(paths) > 20
    theirs = [path for path in paths if check_target_module_exists(config, path)]
    assert [path for path in paths if is_target(targeting, path)] == theirs


@pytest.mark.parametrize(
    "targeting",
    [
        {"target_modules": "all-linear"},
        {"target_modules": r".*_proj"},
        {"target_modules": ["q_proj", "ffn.value_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj"], "exclude_modules": ["layers.0.self_attn.q_proj"]},
    ],
    ids=str,
)
def test_we_load_pefts_whatever_names_their_layers(base: Base, tmp_path: Path, outputs, targeting) -> None:
    theirs = get_peft_model(load_base(base.path).model, LoraConfig(r=2, **targeting))
    disturb(theirs)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    attach_adapter(base, load_adapter(tmp_path / "theirs"), "theirs")
    assert_equal(outputs(base.model), outputs(theirs))


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_gradients_of_dora_are_pefts(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # The same mask for both, whatever their generators draw.
    keep = torch.rand(6, 9) >= dropout
    monkeypatch.setattr(
        "stickgen.lora.dora.keep_mask", lambda shape, p, device: (keep, 1 / (1 - p)) if p else (None, 1)
    )
    monkeypatch.setattr(nn.Dropout, "forward", lambda self, x: x * keep / (1 - self.p) if self.p else x)
    torch.manual_seed(0)
    plain, x = nn.Sequential(nn.Linear(9, 5)), torch.randn(6, 9)
    theirs = get_peft_model(
        nn.Sequential(nn.Linear(9, 5)),
        LoraConfig(r=2, lora_alpha=4, lora_dropout=dropout, target_modules=["0"], use_dora=True),
    )
    theirs.base_model.model[0].base_layer.load_state_dict(plain[0].state_dict())
    ours = inject_lora_adapters(plain, ["0"], 2, 4.0, dropout, kind="dora").train()
    disturb(ours)
    their_layer = theirs.train().base_model.model[0]
    with torch.no_grad():
        their_layer.lora_A.default.weight.copy_(ours[0].lora_A)
        their_layer.lora_B.default.weight.copy_(ours[0].lora_B)
        their_layer.lora_magnitude_vector.default.weight.copy_(ours[0].lora_magnitude_vector)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    for mine, expected in (
        (ours[0].lora_A, their_layer.lora_A.default.weight),
        (ours[0].lora_B, their_layer.lora_B.default.weight),
        (ours[0].lora_magnitude_vector, their_layer.lora_magnitude_vector.default.weight),
    ):
        torch.testing.assert_close(mine.grad, expected.grad, rtol=1e-4, atol=1e-4)
