"""Files of others: what they lack, what they would read, write or run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stickgen.artifacts.adapter import attach_adapter, load_adapter
from stickgen.artifacts.base import load_base
from stickgen.artifacts.reference import read_reference_adapter
from stickgen.artifacts.run import RunFolder, read_checkpoint
from stickgen.errors import AdapterError, CheckpointError
from stickgen.lora import get_lora_state_dict, inject_lora_adapters, load_lora_state_dict
from stickgen.model import StickFigureTransformer
from tests.campaign.corpus import make_corpus


@pytest.fixture
def files(tmp_path: Path) -> Path:
    make_corpus(tmp_path)
    return tmp_path


def test_a_folder_that_lacks_one_layer_of_its_targets_is_refused(files: Path) -> None:
    config, weights = files / "adapter/adapter_config.json", files / "adapter/adapter_model.safetensors"
    content = json.loads(config.read_text())
    content["target_modules"] = sorted({name.rpartition(".")[2] for name in content["target_modules"]})
    config.write_text(json.dumps(content))
    base = load_base(files / "base.pth")
    attach_adapter(base, load_adapter(files / "adapter"), "adapter")
    tensors = {key: value for key, value in load_file(weights).items() if ".k_proj." not in key}
    save_file(tensors, weights)
    with pytest.raises(CheckpointError, match="holds no k_proj"):
        load_adapter(files / "adapter")
    # A suffix that other layers have too.
    content["target_modules"] = r".*_proj"
    config.write_text(json.dumps(content))
    lacking = r"holds no transformer_encoder\.layers\.0\.self_attn\.k_proj, a target module"
    with pytest.raises(AdapterError, match=lacking):
        attach_adapter(load_base(files / "base.pth"), load_adapter(files / "adapter"), "adapter")


def test_a_wrapped_dict_loads_and_another_alpha_does_not(files: Path) -> None:
    state = torch.load(files / "adapter.pth", weights_only=True)
    model = load_base(files / "base.pth").model
    inject_lora_adapters(model, ["transformer_encoder"], 2, 4.0)
    load_lora_state_dict(model, state)
    ours = get_lora_state_dict(model)
    assert all(torch.equal(value, ours[key]) for key, value in state["lora_state_dict"].items())
    load_lora_state_dict(model, {"lora_state": state["lora_state_dict"], "environment_type": "beach"})
    other = load_base(files / "base.pth").model
    inject_lora_adapters(other, ["transformer_encoder"], 2, 8.0)
    with pytest.raises(AdapterError, match=r"trained with alpha=4\.0, the model has alpha=8\.0"):
        load_lora_state_dict(other, state)


def test_an_environments_adapter_is_read(files: Path, tmp_path: Path) -> None:
    state = torch.load(files / "adapter.pth", weights_only=True)["lora_state_dict"]
    torch.save({"lora_state": state, "environment_type": "beach"}, tmp_path / "beach.pth")
    adapter = read_reference_adapter(tmp_path / "beach.pth", 4.0)
    assert adapter.state.keys() == state.keys()
    assert adapter.origin["environment_type"] == "beach"
    with pytest.raises(CheckpointError, match="an adapter of the reference system"):
        load_base(tmp_path / "beach.pth")


@pytest.mark.parametrize("value", ["${oc.env:STICKGEN_SECRET}", "a ${name}", "${project:assets}"])
def test_settings_of_a_run_are_not_resolved(files: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("STICKGEN_SECRET", "hunter2")
    run = RunFolder(files / "run")
    text = run.settings.read_text()
    run.settings.write_text(text.replace("name: train", f"name: '{value}'"))
    with pytest.raises(CheckpointError, match="an interpolation") as caught:
        run.read_config()
    assert "hunter2" not in str(caught.value)
    last = files / "run/checkpoints/last.ckpt"
    content = torch.load(last, weights_only=True)
    content["stickgen"]["config"]["name"] = value
    torch.save(content, last)
    with pytest.raises(CheckpointError, match="an interpolation"):
        read_checkpoint(last)


def test_a_trial_elsewhere_is_not_taken_over(files: Path, tmp_path: Path) -> None:
    run = RunFolder(files / "run")
    config = run.read_config()
    for journal, kept in ((tmp_path / "search.journal", True), (tmp_path / "other" / "search.journal", False)):
        trial = f"{journal}:3"
        run.write_start(replace(config, callbacks=replace(config.callbacks, trial=trial)))
        assert run.read_config().callbacks.trial == (trial if kept else None)


@pytest.mark.parametrize("key", ["target_modules", "exclude_modules"])
def test_an_expression_that_hangs_is_refused(files: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setattr("stickgen.artifacts.patterns.MAX_SECONDS", 1.0)
    config = files / "adapter/adapter_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), key: "(?:[a-z_.0-9]+)+!"}))
    with pytest.raises(CheckpointError, match=r"regular expression .* takes too long"):
        load_adapter(files / "adapter")


def test_a_tensor_that_repeats_a_few_numbers_is_refused(files: Path) -> None:
    content: dict[str, Any] = dict(torch.load(files / "base.pth", weights_only=True))
    content["pose_decoder.3.weight"] = torch.zeros(1).expand(2**20, 2**20)
    torch.save(content, files / "base.pth")
    with pytest.raises(CheckpointError, match="neither a state dict"):
        load_base(files / "base.pth")


def test_many_tensors_are_refused_at_once(tmp_path: Path) -> None:
    entries = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(300_000)}
    text = json.dumps(entries).encode()
    (tmp_path / "base.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError, match="holds 300000 tensors; at most 20000 expected"):
        load_base(tmp_path / "base.safetensors")


def test_a_reference_adapter_whose_settings_are_a_tensor(tmp_path: Path) -> None:
    path = tmp_path / "lora.pth"
    state = {"layers.0.lora_A": torch.zeros(2, 4), "layers.0.lora_B": torch.zeros(4, 2)}
    torch.save({"lora_state_dict": state, "lora_config": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="lora_config: a dict expected"):
        read_reference_adapter(path)


def test_a_tensor_whose_name_is_no_unicode(tmp_path: Path) -> None:
    path = tmp_path / "base.pth"
    torch.save({**StickFigureTransformer().state_dict(), "\ud800": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"base\.pth: "):
        load_base(path)
