import errno
import hashlib
import json
import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stickgen.artifacts.adapter import (
    Adapter,
    attach_adapter,
    load_adapter,
    save_adapter,
)
from stickgen.artifacts.base import Base
from stickgen.artifacts.peft_format import CONFIG_FILE, WEIGHTS_FILE
from stickgen.errors import AdapterError, CheckpointError, OutputError, OutputExistsError
from stickgen.lora import LoRASettings, adapted_layers, get_lora_state_dict, lora_settings
from stickgen.model.code_bank import CodeBank
from stickgen.model.motion_code import WIDTH

KEY = "base_model.model.transformer_encoder.layers.0.self_attn.q_proj.lora_A.weight"
MODULES = [
    f"transformer_encoder.layers.{n}.self_attn.{name}"
    for n in (0, 1)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj")
] + ["pose_decoder.0", "pose_decoder.3"]


@pytest.fixture
def folder(adapter: Adapter, tmp_path: Path) -> Path:
    save_adapter(adapter, tmp_path / "adapter")
    return tmp_path / "adapter"


def refused(folder: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_adapter(folder)
    assert str(folder) in str(caught.value)


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG_FILE).read_text())
    config.update(changes)
    (folder / CONFIG_FILE).write_text(json.dumps(config))


def change_tensors(folder: Path, change) -> None:
    """Write the tensors again, without our record, as another tool would."""
    tensors = load_file(folder / WEIGHTS_FILE)
    change(tensors)
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt"})


# What is written


def test_an_adapter_comes_back_as_it_was(adapter: Adapter, folder: Path) -> None:
    again = load_adapter(folder)
    assert list(again.state) == sorted(adapter.state)
    assert all(torch.equal(value, adapter.state[key]) for key, value in again.state.items())
    assert replace(again, state={}) == replace(adapter, state={})
    assert set(again.modules) == set(MODULES)


def test_the_folder_holds_three_files(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", CONFIG_FILE, WEIGHTS_FILE]
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_the_config_is_pefts(folder: Path, base: Base) -> None:
    assert json.loads((folder / CONFIG_FILE).read_text()) == {
        "peft_type": "LORA",
        "r": 3,
        "lora_alpha": 6,
        "lora_dropout": 0.1,
        "target_modules": MODULES,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "init_lora_weights": True,
        "modules_to_save": None,
        "rank_pattern": {},
        "alpha_pattern": {},
        "inference_mode": True,
        "task_type": None,
        "base_model_name_or_path": str(base.path),
        "auto_mapping": None,
        "peft_version": "0.21.2",
    }


def test_the_configs_keys_are_sorted(folder: Path) -> None:
    keys = list(json.loads((folder / CONFIG_FILE).read_text()))
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("settings", "rank", "alpha"),
    [(LoRASettings(8, 8.0), 8, 8), (LoRASettings(3, 2.5, use_rslora=True), 3, 2.5)],
)
def test_rank_and_alpha_are_always_written(
    adapter: Adapter, tmp_path: Path, settings: LoRASettings, rank: int, alpha: float
) -> None:
    save_adapter(replace(adapter, settings=settings), tmp_path / "other")
    config = json.loads((tmp_path / "other" / CONFIG_FILE).read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (rank, alpha, settings.use_rslora)


def test_tensors_are_named_as_peft_names_them(adapter: Adapter, folder: Path) -> None:
    with safe_open(folder / WEIGHTS_FILE, framework="pt") as file:
        assert file.metadata()["format"] == "pt"
    tensors = load_file(folder / WEIGHTS_FILE)
    assert set(tensors) == {
        f"base_model.model.{module}.{factor}.weight" for module in MODULES for factor in ("lora_A", "lora_B")
    }
    for key, value in tensors.items():
        assert value.shape[0 if ".lora_A." in key else 1] == 3
        assert torch.equal(value, adapter.state[key.removeprefix("base_model.model.").removesuffix(".weight")])


def test_the_card_names_rank_alpha_size_and_base(folder: Path, base: Base, adapter: Adapter) -> None:
    card = (folder / "README.md").read_text()
    count = sum(value.numel() for value in adapter.state.values())
    for part in ("rank 3", "alpha 6", f"{count:,} numbers in 10 layers", base.fingerprint):
        assert part in card


def test_an_existing_folder_is_kept_unless_told(adapter: Adapter, folder: Path) -> None:
    other = replace(adapter, origin={"seed": 99})
    with pytest.raises(OutputExistsError, match="already exists"):
        save_adapter(other, folder)
    assert load_adapter(folder).origin == {"seed": 2}
    save_adapter(other, folder, overwrite=True)
    assert load_adapter(folder).origin == {"seed": 99}


def test_a_folder_with_anything_else_in_it_is_never_replaced(adapter: Adapter, folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"adapter: holds notes\.txt, which would be lost, and was kept"):
        save_adapter(replace(adapter, origin={"seed": 99}), folder, overwrite=True)
    assert load_adapter(folder).origin == {"seed": 2}


def test_a_failed_write_leaves_nothing(adapter: Adapter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OutputError, match="adapter: No space left on device; nothing was replaced"):
        save_adapter(adapter, tmp_path / "adapter")
    assert sorted(tmp_path.iterdir()) == before


# What is read


def test_an_adapter_of_peft_without_our_record(adapter: Adapter, folder: Path, base: Base) -> None:
    change_tensors(folder, lambda tensors: None)
    again = load_adapter(folder)
    assert (again.base_fingerprint, again.base_path, again.origin) == (None, str(base.path), {})
    assert all(torch.equal(value, adapter.state[key]) for key, value in again.state.items())


def test_target_modules_as_an_expression_name_the_layers_too(folder: Path) -> None:
    change_config(folder, target_modules=r".*\.self_attn\..*_proj|pose_decoder\.\d")
    assert set(load_adapter(folder).modules) == set(MODULES)
    change_config(folder, target_modules=r".*\.(q|k)_proj")
    refused(folder, r"holds .*(v|out)_proj|pose_decoder.*, no target module in adapter_config\.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_modules": "("}, r"target_modules='\(': not a regular expression"),
        ({"target_modules": 3}, "target_modules=3: a regular expression, or names in a list, expected"),
        ({"target_modules": [3]}, r"target_modules=\[3\]: a regular expression"),
        ({"exclude_modules": "["}, r"exclude_modules='\[': not a regular expression"),
        ({"exclude_modules": ["pose_decoder.3"]}, r"holds pose_decoder\.3, no target module"),
        ({"target_modules": ["q_proj"], "layers_to_transform": 0}, r"layers.1.self_attn.q_proj|pose_decoder.0"),
        ({"layers_to_transform": ["0"]}, r"layers_to_transform=\['0'\]: numbers of blocks expected"),
        ({"target_modules": ".*", "layers_to_transform": [0]}, "goes with a list of target_modules"),
        ({"layers_pattern": "layers"}, "layers_pattern goes with layers_to_transform"),
        ({"layers_pattern": "(", "layers_to_transform": 0}, "not a regular expression"),
        ({"lora_alpha": True}, "lora_alpha, a number, expected"),
        ({"r": True}, "r, a number, expected"),
        ({"lora_dropout": True}, "lora_dropout=True: a number expected"),
        ({"rank_pattern": {"q_proj": True}}, "numbers by regular expression expected"),
        ({"use_dora": "no"}, "use_dora='no': true or false expected"),
        ({"use_rslora": 1}, "use_rslora=1: true or false expected"),
        ({"use_qalora": True}, "use_qalora=True: not supported"),
        ({"alora_invocation_tokens": [1]}, r"alora_invocation_tokens=\[1\]: not supported"),
    ],
)
def test_what_peft_would_read_otherwise(folder: Path, changes: dict[str, Any], message: str) -> None:
    change_config(folder, **changes)
    refused(folder, message)


@pytest.mark.parametrize(
    "record",
    [{"base_path": 3}, {"base_fingerprint": ["0"]}, {"origin": [1]}, {"base_record": {}}, {"base_record": "{}"}],
    ids=str,
)
def test_a_record_of_wrong_types(folder: Path, record: dict[str, Any]) -> None:
    metadata = {"format": "pt", "stickgen": json.dumps(record)}
    save_file(load_file(folder / WEIGHTS_FILE), folder / WEIGHTS_FILE, metadata=metadata)
    refused(folder, "record .* is damaged")


def test_a_base_that_is_named_by_a_number(folder: Path) -> None:
    change_tensors(folder, lambda tensors: None)
    change_config(folder, base_model_name_or_path=3)
    refused(folder, "base_model_name_or_path=3: a name or path expected")


def test_whole_numbers_are_no_factors(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({KEY: torch.ones(3, 24, dtype=torch.int64)}))
    refused(folder, r"q_proj\.lora_A\.weight is of torch\.int64; floating-point numbers expected")


def test_half_precision_tensors_are_widened(adapter: Adapter, folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.update({k: v.half() for k, v in tensors.items()}))
    assert all(value.dtype == torch.float32 for value in load_adapter(folder).state.values())


@pytest.mark.parametrize("key", ["r", "lora_alpha"])
@pytest.mark.parametrize("value", ["missing", None, "8"])
def test_rank_and_alpha_must_be_given(folder: Path, key: str, value: Any) -> None:
    if value == "missing":
        config = json.loads((folder / CONFIG_FILE).read_text())
        del config[key]
        (folder / CONFIG_FILE).write_text(json.dumps(config))
    else:
        change_config(folder, **{key: value})
    refused(folder, f"{key}, a number, expected")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("r", 0),
        ("r", 2.5),
        ("lora_alpha", 0),
        ("lora_alpha", -16),
        ("lora_alpha", math.nan),
        ("lora_dropout", 1.5),
        ("lora_dropout", "much"),
    ],
)
def test_impossible_settings(folder: Path, key: str, value: Any) -> None:
    change_config(folder, **{key: value})
    refused(folder, "rank|alpha|dropout")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bias", "all"),
        ("bias", "lora_only"),
        ("modules_to_save", ["pose_decoder"]),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "olora"),
        ("layer_replication", [[0, 2]]),
        ("lora_bias", True),
        ("target_parameters", ["pose_decoder.0.weight"]),
    ],
)
def test_options_that_would_change_the_numbers(folder: Path, key: str, value: Any) -> None:
    change_config(folder, **{key: value})
    refused(folder, f"{key}=.*: not supported")


@pytest.mark.parametrize("value", [True, False, None, "gaussian"])
def test_initialisations_that_leave_the_base_alone(folder: Path, value: Any) -> None:
    change_config(folder, init_lora_weights=value)
    load_adapter(folder)


@pytest.mark.parametrize("kind", ["IA3", None])
def test_another_kind_of_adapter(folder: Path, kind: str | None) -> None:
    change_config(folder, peft_type=kind)
    refused(folder, f"not a LoRA adapter: peft_type={kind!r}; LORA or LOHA expected")


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_the_digest_of_the_settings_is_that_of_former_versions(adapter: Adapter, tmp_path: Path, kind: str) -> None:
    lengths = {f"{module}.lora_magnitude_vector": torch.ones(24) for module in MODULES} if kind == "dora" else {}
    settings = replace(adapter.settings, kind=kind)
    save_adapter(replace(adapter, state=adapter.state | lengths, settings=settings), tmp_path / "other")
    former = {"rank": 3, "alpha": 6.0, "use_rslora": False, "use_dora": kind == "dora"}
    text = json.dumps({**former, "rank_pattern": {}, "alpha_pattern": {}}, sort_keys=True)
    with safe_open(tmp_path / "other" / WEIGHTS_FILE, framework="pt") as file:
        assert file.metadata()["stickgen_settings_digest"] == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe"])
def test_a_config_that_is_no_json(folder: Path, text: bytes) -> None:
    (folder / CONFIG_FILE).write_bytes(text)
    refused(folder, "not JSON")


@pytest.mark.parametrize("text", ["[]", "3", "null"])
def test_a_config_that_is_no_object(folder: Path, text: str) -> None:
    (folder / CONFIG_FILE).write_text(text)
    refused(folder, "not a LoRA adapter")


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", f"no readable {CONFIG_FILE}")
    (folder / WEIGHTS_FILE).unlink()
    refused(folder, f"{WEIGHTS_FILE}: no such file")


@pytest.mark.parametrize("length", [0, 5, 500])
def test_damaged_weights(folder: Path, length: int) -> None:
    (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:length])
    refused(folder, "damaged")


@pytest.mark.parametrize("record", ["{", "[]", "7"])
def test_a_damaged_record(folder: Path, record: str) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    save_file(tensors, folder / WEIGHTS_FILE, metadata={"format": "pt", "stickgen": record})
    refused(folder, "record in its metadata is damaged")


@pytest.mark.parametrize(
    "name",
    [
        "base_model.model.pose_decoder.0.lora_C.weight",
        "base_model.model.pose_decoder.0.lora_B.bias",
        "base_model.model.pose_decoder.0.lora_magnitude_vector.weight",
        "base_model.model.pose_decoder.0.lora_A.default.weight",
        "base_model.model.pose_decoder.0.base_layer.weight",
        "base_model.model.lora_A.weight",
        "pose_decoder.0.lora_A.weight",
        "model.pose_decoder.0.lora_A",
    ],
)
def test_a_key_that_is_no_adapters(folder: Path, name: str) -> None:
    change_tensors(folder, lambda tensors: tensors.update({name: torch.zeros(3, 3)}))
    refused(folder, rf"{name}: not an adapter's tensor")


def test_a_factor_without_its_other(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.pop(KEY))
    refused(folder, r"q_proj\.lora_A is missing")


def test_layers_that_the_config_does_not_name(folder: Path) -> None:
    change_config(folder, target_modules=[m for m in MODULES if m != "pose_decoder.3"])
    refused(folder, r"holds pose_decoder\.3, no target module in adapter_config\.json")


def test_target_modules_without_tensors(folder: Path) -> None:
    change_tensors(folder, lambda tensors: [tensors.pop(key) for key in list(tensors) if "pose_decoder.3" in key])
    refused(folder, r"holds no pose_decoder\.3, a target module in adapter_config\.json")


def test_target_modules_as_ends_of_paths(folder: Path) -> None:
    change_config(folder, target_modules=["q_proj", "k_proj", "v_proj", "self_attn.out_proj", "pose_decoder.0", "3"])
    assert set(load_adapter(folder).modules) == set(MODULES)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_none(folder: Path, value: float) -> None:
    change_tensors(folder, lambda tensors: tensors[KEY].fill_(value))
    refused(folder, r"q_proj\.lora_A\.weight holds NaN or infinity")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rank_pattern", {"q_proj": 4}, "rank 4 expected"),
        ("rank_pattern", {"(": 4}, "not a regular expression"),
        ("rank_pattern", {"q_proj": "four"}, "numbers by regular expression expected"),
        ("alpha_pattern", ["q_proj"], "numbers by regular expression expected"),
        ("use_dora", True, r"lora_magnitude_vector is missing"),
    ],
)
def test_settings_of_single_layers_that_do_not_fit(folder: Path, key: str, value: Any, message: str) -> None:
    change_config(folder, **{key: value})
    refused(folder, message)


def test_patterns_that_match_nothing_are_of_no_account(folder: Path) -> None:
    change_config(folder, rank_pattern={"query": 5}, alpha_pattern={"query": 5})
    assert load_adapter(folder).settings == LoRASettings(3, 6.0, 0.1)


def test_no_tensors_at_all(folder: Path) -> None:
    change_tensors(folder, lambda tensors: tensors.clear())
    refused(folder, "holds no adapter")


@pytest.mark.parametrize("shape", [(1, 24), (4, 24), (24, 3), (24,)])
def test_a_shape_that_is_not_the_ranks(folder: Path, shape: tuple[int, ...]) -> None:
    change_tensors(folder, lambda tensors: tensors.update({KEY: torch.zeros(shape)}))
    refused(folder, r"rank 3 expected")


def test_a_rank_that_is_not_the_tensors(folder: Path) -> None:
    change_config(folder, r=8)
    refused(folder, r"rank 8 expected")


# Putting it on its base


def test_attaching(base: Base, adapter: Adapter, folder: Path, arguments) -> None:
    before = base.model(**arguments)
    attach_adapter(base, load_adapter(folder), "here")
    assert set(adapted_layers(base.model)) == set(MODULES)
    assert lora_settings(base.model) == LoRASettings(3, 6.0, 0.1)
    state = get_lora_state_dict(base.model)
    assert all(torch.equal(value, adapter.state[key]) for key, value in state.items())
    assert not base.model.training
    assert not torch.allclose(base.model(**arguments), before, atol=1e-5)


def test_the_scaling_rule_is_attached_too(base: Base, adapter: Adapter) -> None:
    attach_adapter(base, replace(adapter, settings=LoRASettings(3, 6.0, use_rslora=True)), "here")
    assert {layer.scaling for layer in adapted_layers(base.model).values()} == {6 / 3**0.5}


def test_another_base_is_refused(base: Base, adapter: Adapter) -> None:
    other = replace(adapter, base_fingerprint="0123", base_path="other.pth")
    with pytest.raises(
        CheckpointError, match=r"here: trained on another base \(fingerprint 0123, of other\.pth\)"
    ) as e:
        attach_adapter(base, other, "here")
    assert base.fingerprint in str(e.value)
    assert adapted_layers(base.model) == {}


def test_another_base_is_taken_where_that_is_asked_for(
    base: Base, adapter: Adapter, caplog: pytest.LogCaptureFixture
) -> None:
    attach_adapter(base, replace(adapter, base_fingerprint="0123"), "here", allow_other_base=True)
    assert adapted_layers(base.model)
    assert "trained on another base" in caplog.text


def test_an_adapter_that_does_not_tell_its_base_is_tried(base: Base, adapter: Adapter) -> None:
    attach_adapter(base, replace(adapter, base_fingerprint=None), "here")
    assert adapted_layers(base.model)


def rename(old: str, new: str):
    return lambda state: {key.replace(old, new): value for key, value in state.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("q_proj", "query"), "'transformer_encoder.layers.0.self_attn.query' matches no Linear"),
        (rename("layers.1.", "layers.7."), "layers.7"),
        (lambda s: {k: v if not k.endswith("0.lora_A") else v[:, :5] for k, v in s.items()}, "has shape"),
        (lambda s: {k: v * math.nan if k.endswith("0.lora_A") else v for k, v in s.items()}, "NaN or infinity"),
    ],
    ids=["renamed", "another layer", "another width", "nan"],
)
def test_an_adapter_that_does_not_fit(base: Base, adapter: Adapter, change, message: str) -> None:
    with pytest.raises(AdapterError, match=message) as caught:
        attach_adapter(base, replace(adapter, state=change(adapter.state)), "here")
    assert str(caught.value).startswith(f"here, on {base.path}: ")


def test_a_second_adapter_is_refused(base: Base, adapter: Adapter) -> None:
    attach_adapter(base, adapter, "here")
    with pytest.raises(AdapterError, match="already"):
        attach_adapter(base, adapter, "here")


# Motion codes


def test_an_adapters_motion_codes_join_its_bases(adapter: Adapter, base: Base, tmp_path: Path) -> None:
    def bank(value: float) -> CodeBank:
        return CodeBank.of([torch.eye(WIDTH + 4)[0]], [torch.full((WIDTH,), value)])

    save_adapter(replace(adapter, codes=bank(0.5)), tmp_path / "coded")
    again = load_adapter(tmp_path / "coded")
    base.model.code_bank = bank(0.25)
    attach_adapter(base, again, "coded")
    assert base.model.code_bank.codes[:, 0].tolist() == [0.25, 0.5]


def test_an_adapter_for_a_base_without_motion_codes_brings_none(adapter: Adapter, folder: Path) -> None:
    assert load_adapter(folder).codes is None
