"""What files and models on disk do with each kind of adapter."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from stickgen.artifacts.adapter import Adapter, load_adapter, save_adapter
from stickgen.artifacts.base import Base, save_base
from stickgen.artifacts.model import load_model
from stickgen.artifacts.peft_format import CONFIG_FILE, WEIGHTS_FILE
from stickgen.artifacts.reference import read_reference_adapter, write_reference_adapter
from stickgen.artifacts.run import RunFolder
from stickgen.config import BaseConfig, LoRAConfig, TrainConfig
from stickgen.errors import AdapterError, CheckpointError
from stickgen.lora import KINDS, adapted_layers, get_lora_state_dict, inject_lora_adapters, lora_settings

every_kind = pytest.mark.parametrize("kind", KINDS)

Make = Callable[[str], Adapter]


@pytest.fixture
def make(base: Base) -> Make:
    """Attaches adapters of a kind to the base, as if they had been trained."""

    def made(kind: str) -> Adapter:
        inject_lora_adapters(base.model, ["self_attn", "pose_decoder"], 3, 6.0, 0.1, kind=kind)
        random = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for layer in adapted_layers(base.model).values():
                for factor in layer.factors().values():
                    if factor.requires_grad:
                        factor.add_(0.2 * torch.randn(factor.shape, generator=random))
        return Adapter(get_lora_state_dict(base.model), lora_settings(base.model), base.fingerprint, str(base.path))

    return made


@every_kind
def test_a_folder_computes_what_was_trained(
    kind: str, make: Make, base: Base, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    save_adapter(make(kind), tmp_path / "adapter")
    loaded = load_model(tmp_path / "adapter", base.path).model
    torch.testing.assert_close(loaded(**arguments), base.model.eval()(**arguments), rtol=1e-5, atol=1e-5)


@every_kind
def test_a_weight_multiplies_the_update(kind: str, make: Make, base: Base, tmp_path: Path) -> None:
    save_adapter(make(kind), tmp_path / "adapter")
    strong = Path(f"{tmp_path / 'adapter'}=0.5")
    if KINDS[kind].INDIVISIBLE:
        message = f"adapter=0.5: a {KINDS[kind].title()} adapter {KINDS[kind].INDIVISIBLE} and cannot be weighted"
        with pytest.raises(AdapterError, match=re.escape(message)):
            load_model(strong, base.path)
        return
    for path, layer in adapted_layers(load_model(strong, base.path).model).items():
        expected = 0.5 * base.model.get_submodule(path).delta_weight()
        torch.testing.assert_close(layer.delta_weight(), expected, rtol=1e-5, atol=1e-6)


@every_kind
def test_a_model_with_adapters_is_not_saved_as_a_base(kind: str, make: Make, base: Base, tmp_path: Path) -> None:
    make(kind)
    with pytest.raises(CheckpointError, match="still has adapters"):
        save_base(base.model, base.record, tmp_path / "other.pth")


@pytest.mark.parametrize("kind", ["lora", "pissa"])
def test_kinds_that_are_lora_in_files_can_be_written_for_the_reference_system(
    kind: str, make: Make, tmp_path: Path
) -> None:
    adapter = make(kind)
    save_adapter(adapter, tmp_path / "adapter")
    write_reference_adapter(adapter, tmp_path / "lora.pth")
    written, folder = read_reference_adapter(tmp_path / "lora.pth"), load_adapter(tmp_path / "adapter")
    assert written.settings == folder.settings
    assert all(torch.equal(value, folder.state[key]) for key, value in written.state.items())


@pytest.mark.parametrize("kind", ["dora", "loha"])
def test_kinds_that_cannot_be_written_for_the_reference_system(kind: str, make: Make, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"plain LoRA of one rank and alpha only, not .*{KINDS[kind].title()}"):
        write_reference_adapter(make(kind), tmp_path / "lora.pth")


# LoHa's folders


@pytest.fixture
def loha(make: Make, tmp_path: Path) -> Path:
    save_adapter(make("loha"), tmp_path / "adapter")
    return tmp_path / "adapter"


def test_the_config_of_loha_is_pefts(loha: Path, base: Base) -> None:
    config = json.loads((loha / CONFIG_FILE).read_text())
    assert "lora" not in json.dumps({key: value for key, value in config.items() if key != "base_model_name_or_path"})
    assert {key: config[key] for key in ("peft_type", "r", "alpha", "init_weights", "rank_dropout")} == {
        "peft_type": "LOHA",
        "r": 3,
        "alpha": 6,
        "init_weights": True,
        "rank_dropout": 0.0,
    }
    names = {key.rpartition(".")[2] for key in load_file(loha / WEIGHTS_FILE)}
    assert names == {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("hada_w1_a", None, r"pose_decoder\.0\.hada_w1_a is missing"),
        ("hada_w2_b", (4, 24), r"hada_w2_b has shape \[4, 24\]; rank 3 expected"),
        ("hada_t1", (3, 3), r"hada_t1: not an adapter's tensor"),
        ("hada_w1_a.weight", (3, 3), r"hada_w1_a\.weight: not an adapter's tensor"),
        ("lora_A.weight", (3, 3), r"lora_A\.weight: not an adapter's tensor"),
    ],
)
def test_tensors_that_are_not_lohas(loha: Path, name: str, shape: tuple[int, ...] | None, message: str) -> None:
    tensors = load_file(loha / WEIGHTS_FILE)
    key = f"base_model.model.pose_decoder.0.{name}"
    if shape is None:
        del tensors[key]
    else:
        tensors[key] = torch.zeros(shape)
    save_file(tensors, loha / WEIGHTS_FILE, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        load_adapter(loha)


def test_another_alpha_than_the_tensors_were_written_with(loha: Path) -> None:
    config = json.loads((loha / CONFIG_FILE).read_text())
    (loha / CONFIG_FILE).write_text(json.dumps({**config, "alpha": 12}))
    with pytest.raises(CheckpointError, match="rank, alpha or their rule are not those"):
        load_adapter(loha)
    (loha / CONFIG_FILE).write_text(json.dumps({**config, "alpha": None}))
    with pytest.raises(CheckpointError, match="alpha, a number, expected"):
        load_adapter(loha)


# Runs of former versions


def test_a_run_that_wrote_use_dora_is_read(tmp_path: Path) -> None:
    lora = LoRAConfig(kind="dora", targets={"all": ["self_attn"]})
    config = TrainConfig(base=BaseConfig(checkpoint="base.pth"), lora=lora, run_dir=str(tmp_path / "run"))
    run = RunFolder(tmp_path / "run")
    run.write_start(config)
    former = OmegaConf.load(run.settings)
    del former.lora["kind"]
    former.lora.use_dora = True
    OmegaConf.save(former, run.settings)
    assert run.read_config() == config
