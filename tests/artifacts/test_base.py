import errno
import json
import logging
import math
import os
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stickgen.artifacts.adapter import Adapter, save_adapter
from stickgen.artifacts.base import MODEL_FILE, load_base, save_base
from stickgen.artifacts.record import RECORD_KEY, BaseRecord, fingerprint
from stickgen.errors import CheckpointError, OutputError, OutputExistsError
from stickgen.lora import inject_lora_adapters
from stickgen.model import StickFigureTransformer
from stickgen.model.motion_code import WIDTH, CodeBank


def write_pair(model: StickFigureTransformer, folder: Path) -> None:
    """Write base.pth with its record in base.json beside it, as former versions did."""
    state = dict(model.state_dict())
    torch.save(state, folder / "base.pth")
    record = BaseRecord(dict(model.settings), fingerprint=fingerprint(state))
    (folder / "base.json").write_text(record.to_json())


FORMATS = pytest.mark.parametrize("name", ["base.safetensors", "base.pth", "base.pt"])
ROUND_TRIP = BaseRecord(
    settings={},
    objective="causal",
    text_encoder={"id": "some/encoder", "dim": 12},
    conditions=["camera"],
    actions=["idle", "walk"],
    fps=30,
    origin={"seed": 3},
)


def refused(path: Path, message: str, expected: dict[str, Any] | None = None) -> None:
    """Reading fails with a message of one line that names the file."""
    with pytest.raises(CheckpointError, match=message) as caught:
        load_base(path, expected)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# Round trips


@FORMATS
@pytest.mark.parametrize(
    "settings",
    [{}, {"causal": True, "pose_output": "residual", "pose_scale": 0.02}, {"pose_output": "velocity"}],
    ids=["absolute", "causal residual", "velocity"],
)
def test_a_base_comes_back_as_it_was(build, arguments, tmp_path: Path, name: str, settings: dict) -> None:
    model = build(dropout=0.3, **settings)
    save_base(model, ROUND_TRIP, tmp_path / name)
    base = load_base(tmp_path / name)
    assert base.model.settings == model.settings
    assert base.record.settings == model.settings
    assert (base.record.objective, base.record.text_encoder, base.record.conditions) == (
        "causal",
        {"id": "some/encoder", "dim": 12},
        ["camera"],
    )
    assert (base.record.actions, base.record.fps, base.record.origin) == (["idle", "walk"], 30, {"seed": 3})
    assert base.path == tmp_path / name
    assert not any(module.training for module in base.model.modules())
    with torch.no_grad():
        assert torch.equal(base.model(**arguments), model(**arguments))


@FORMATS
def test_a_residual_base_is_never_run_as_an_absolute_one(build, arguments, tmp_path: Path, name: str) -> None:
    residual, absolute = build(causal=True, pose_output="residual"), build()
    save_base(residual, BaseRecord({}), tmp_path / name)
    with torch.no_grad():
        pose = load_base(tmp_path / name).model(**arguments)
        assert torch.equal(pose, residual(**arguments))
        assert not torch.allclose(pose, absolute(**arguments), atol=0.01)


def test_the_record_tells_the_models_settings_and_not_those_it_came_with(build, tmp_path: Path) -> None:
    save_base(build(causal=True), BaseRecord({"causal": False, "d_model": 7}), tmp_path / "base.safetensors")
    assert load_base(tmp_path / "base.safetensors").record.settings == build(causal=True).settings


def test_the_pth_is_a_bare_state_dict_with_its_record_inside(build, tmp_path: Path) -> None:
    model = build(causal=True)
    save_base(model, BaseRecord({}), tmp_path / "base.pth")
    for mmap in (False, True):
        state = torch.load(tmp_path / "base.pth", weights_only=True, mmap=mmap)
        build(seed=4, causal=True).load_state_dict(state, strict=True)
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["base.pth"]
    assert load_base(tmp_path / "base.pth").record.settings["causal"] is True


def test_the_pth_keeps_its_record_where_others_copy_it_or_save_it_again(build, tmp_path: Path) -> None:
    save_base(build(causal=True), BaseRecord({}), tmp_path / "base.pth")
    state = torch.load(tmp_path / "base.pth", weights_only=True)
    torch.save(state, tmp_path / "again.pth")
    torch.save({"model_state_dict": state}, tmp_path / "wrapped.pth")
    for name in ("again.pth", "wrapped.pth"):
        assert load_base(tmp_path / name).record == load_base(tmp_path / "base.pth").record


def test_the_pth_and_record_pair_of_a_former_version(build, tmp_path: Path) -> None:
    write_pair(build(causal=True), tmp_path)
    assert load_base(tmp_path / "base.pth").model.causal
    save_base(build(), BaseRecord({}), tmp_path / "base.pth", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["base.pth"]
    assert not load_base(tmp_path / "base.pth").model.causal


def test_the_safetensors_file_is_plain_to_other_readers(build, tmp_path: Path) -> None:
    model = build()
    save_base(model, BaseRecord({}), tmp_path / "base.safetensors")
    state = load_file(tmp_path / "base.safetensors")
    assert state.keys() == model.state_dict().keys()
    assert [path.name for path in tmp_path.iterdir()] == ["base.safetensors"]


@FORMATS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_storage(build, arguments, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    model = build()
    save_base(model, BaseRecord({}), tmp_path / name, dtype=dtype)
    save_base(model, BaseRecord({}), tmp_path / f"full_{name}")
    assert (tmp_path / name).stat().st_size < 0.75 * (tmp_path / f"full_{name}").stat().st_size
    base = load_base(tmp_path / name)
    for key, value in base.model.state_dict().items():
        assert value.dtype == torch.float32
        kept = model.state_dict()[key] if "inv_freq" in key else model.state_dict()[key].to(dtype).float()
        assert torch.equal(value, kept), key
    with torch.no_grad():
        torch.testing.assert_close(base.model(**arguments), model(**arguments), rtol=0.1, atol=0.05)


def test_saving_does_not_change_the_model(build, arguments, tmp_path: Path) -> None:
    model = build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    save_base(model, BaseRecord({}), tmp_path / "base.pth", dtype=torch.float16)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# Fingerprints


def test_the_fingerprint_is_the_same_in_every_format(build, tmp_path: Path) -> None:
    model = build()
    for name in ("a.safetensors", "b.pth", "c.pt"):
        save_base(model, BaseRecord({}, fps=len(name)), tmp_path / name)
    torch.save({"model_state_dict": model.state_dict(), "epoch": 3}, tmp_path / "d.pth")
    digests = {load_base(tmp_path / name).fingerprint for name in ("a.safetensors", "b.pth", "c.pt", "d.pth")}
    assert digests == {fingerprint(model.state_dict())}


def test_the_fingerprint_is_that_of_the_numbers_and_not_of_their_width_or_order(build, tmp_path: Path) -> None:
    state = {key: value.bfloat16() for key, value in build().state_dict().items()}
    wide = {key: value.float() for key, value in reversed(state.items())}
    assert fingerprint(state) == fingerprint(wide)


@pytest.mark.parametrize("change", ["a bit", "a name", "two swapped"])
def test_the_fingerprint_differs_after_a_change(build, change: str) -> None:
    state = dict(build().state_dict())
    before = fingerprint(state)
    first, second = "pose_decoder.0.weight", "physics_decoder.0.weight"
    if change == "a bit":
        state[first] = torch.nextafter(state[first], torch.tensor(math.inf))
    elif change == "a name":
        state[first + "s"] = state.pop(first)  # the same place in the order
    else:
        state[first], state[second] = state[second], state[first]
    assert fingerprint(state) != before


# Files of the reference system


def test_the_references_weights_are_taken_for_bidirectional_and_absolute(shared_fixtures: Path, tmp_path: Path) -> None:
    reference = torch.load(shared_fixtures / "fixture_small.pt", weights_only=True)
    torch.save(reference["base_state"], tmp_path / "pytorch_model.pth")
    base = load_base(tmp_path / "pytorch_model.pth")
    sizes = {key: value for key, value in reference["meta"]["config"].items() if key != "dropout"}
    assert {**sizes, "causal": False, "pose_output": "absolute"}.items() <= base.model.settings.items()
    inputs = reference["inputs"]
    with torch.no_grad():
        pose = base.model(inputs["motion"], inputs["text_embedding"])
    torch.testing.assert_close(pose, reference["base_outputs"]["plain"]["pose"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["bare.pth", "bare.pt", "bare.safetensors"])
def test_a_bare_state_dict(build, tmp_path: Path, name: str) -> None:
    model = build()
    if name.endswith(".safetensors"):
        save_file(model.state_dict(), tmp_path / name)
    else:
        torch.save(dict(model.state_dict()), tmp_path / name)
    base = load_base(tmp_path / name)
    assert base.fingerprint == fingerprint(model.state_dict())
    assert (base.record.objective, base.record.origin) == ("bidirectional", {})


def test_a_state_dict_that_a_program_saved_has_its_models_settings(build, tmp_path: Path) -> None:
    model = build(causal=True, pose_output="velocity", pose_scale=0.005, pose_frame="body", velocity_kept=0.9)
    torch.save({"model_state_dict": model.state_dict()}, tmp_path / "base.pth")
    base = load_base(tmp_path / "base.pth")
    assert base.model.settings == model.settings
    assert base.record.objective == "causal"
    state = torch.load(tmp_path / "base.pth", weights_only=True)["model_state_dict"]
    state._metadata[""][RECORD_KEY] = "{"
    torch.save(state, tmp_path / "base.pth")
    refused(tmp_path / "base.pth", "record of the base's settings is damaged")


def test_a_training_checkpoint_with_numpy_numbers_in_it(build, tmp_path: Path) -> None:
    model = build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=np.float64(1e-4))
    model(torch.randn(3, 1, 20), torch.randn(1, 12)).sum().backward()
    optimizer.step()
    checkpoint = {
        "epoch": 4,
        "global_step": np.int64(120),
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "scheduler_state_dict": {"best": np.float64(0.25), "_last_lr": [np.float64(1e-4), np.float32(0.1)]},
        "best_val_loss": np.float64(0.25),
        "improved": np.bool_(True),
        "lora_enabled": False,
        "lora_state_dict": None,
    }
    torch.save(checkpoint, tmp_path / "best.pth")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "best.pth", weights_only=True)
    assert load_base(tmp_path / "best.pth").fingerprint == fingerprint(model.state_dict())


def test_a_checkpoint_in_the_format_of_before_torch_1_6(build, tmp_path: Path) -> None:
    model = build()
    torch.save(model.state_dict(), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert load_base(tmp_path / "old.pth").fingerprint == fingerprint(model.state_dict())


def test_of_a_multimodal_base_the_motion_part_is_used_and_said_so(
    build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = build().state_dict()
    image = {"image_encoder.conv.weight": torch.ones(2, 2), "fusion_module.0.bias": torch.full((3,), math.nan)}
    torch.save({**state, **image}, tmp_path / "multimodal.pth")
    with caplog.at_level(logging.WARNING):
        base = load_base(tmp_path / "multimodal.pth")
    assert base.fingerprint == fingerprint(state)
    assert "2 image tensors are left out" in caplog.text


@pytest.mark.parametrize("inside", [False, True], ids=["bare", "model_state_dict"])
@pytest.mark.parametrize("mark", ["base_layer.weight", "lora_A", "lora_B"])
def test_weights_with_adapters_inside_are_no_base(build, tmp_path: Path, mark: str, inside: bool) -> None:
    state = dict(build().state_dict())
    state[f"pose_decoder.0.{mark}"] = torch.zeros(4, 24)
    torch.save({"model_state_dict": state} if inside else state, tmp_path / "lora.pth")
    refused(tmp_path / "lora.pth", "holds LoRA adapters inside its weights")


@pytest.mark.parametrize("actions", [46, 60, 64])
@pytest.mark.parametrize("width", [20, 48])
def test_sizes_are_read_from_the_tensors(build, tmp_path: Path, actions: int, width: int) -> None:
    model = build(num_actions=actions, input_dim=width, output_dim=width)
    torch.save(model.state_dict(), tmp_path / "base.pth")
    base = load_base(tmp_path / "base.pth", {"num_actions": actions, "input_dim": width, "nhead": 2, "d_model": None})
    sizes = {**base.model.settings, "dropout": None}
    assert sizes == {**model.settings, "dropout": None}
    assert base.model.action_predictor[3].out_features == actions


# What is refused


@dataclass
class TrainingArguments:
    learning_rate: float = 1e-4


class Bomb:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_a_pickled_dataclass_is_refused_and_the_way_out_told(build, tmp_path: Path) -> None:
    torch.save({"model_state_dict": build().state_dict(), "config": TrainingArguments()}, tmp_path / "sft.pth")
    refused(
        tmp_path / "sft.pth", r"holds Python objects.* was refused; .*torch\.save\(checkpoint\['model_state_dict'\]"
    )


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_executed(build, tmp_path: Path, zipped: bool) -> None:
    content = {"model_state_dict": build().state_dict(), "config": Bomb(tmp_path / "executed")}
    torch.save(content, tmp_path / "bomb.pth", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "bomb.pth", "refused")
    assert not (tmp_path / "executed").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_plain_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    refused(tmp_path / "base.pkl", "refused|not a torch file")
    assert not (tmp_path / "executed").exists()


@FORMATS
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    refused(tmp_path / name, "no such file")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@FORMATS
@pytest.mark.parametrize("content", [b"", b"hello, this is text\n", b"\x80\x04\x95" * 50, b"\0" * 400])
def test_a_file_of_something_else(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, "damaged")


@FORMATS
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file(build, tmp_path: Path, name: str, share: float) -> None:
    save_base(build(), BaseRecord({}), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    refused(tmp_path / name, "damaged")


@pytest.mark.parametrize("content", [[1, 2], torch.ones(3), 7, {"model_state_dict": 3}, {"a": torch.ones(1), "b": 2}])
def test_a_torch_file_of_something_else(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "base.pth")
    refused(tmp_path / "base.pth", "neither a state dict nor a dict with 'model_state_dict'")


@pytest.mark.parametrize("content", [{}, {"weight": torch.ones(3)}, {"text_projection.3.weight": torch.tensor(1.0)}])
def test_another_models_state_dict(tmp_path: Path, content: dict) -> None:
    torch.save(content, tmp_path / "base.pth")
    refused(tmp_path / "base.pth", "not a base of stick-gen")


@FORMATS
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"not a base .*Missing key\(s\).*velocity_decoder\.3\.bias"),
        ("unknown", r"not a base .*Unexpected key\(s\).*final_norm\.weight"),
        ("layer", r"not a base .*Missing key\(s\)|no usable"),
        ("shape", r"not a base .*size mismatch for velocity_decoder\.3\.bias"),
        ("nan", r"velocity_decoder\.3\.bias holds NaN or infinity"),
        ("infinity", r"velocity_decoder\.3\.bias holds NaN or infinity"),
    ],
)
def test_keys_shapes_and_values_are_checked(build, tmp_path: Path, name: str, change: str, message: str) -> None:
    state = {key: value.clone() for key, value in build().state_dict().items()}
    key = "velocity_decoder.3.bias"
    if change == "missing":
        del state[key]
    elif change == "unknown":
        state["final_norm.weight"] = torch.ones(24)
    elif change == "layer":
        state = {key: value for key, value in state.items() if ".layers.0." not in key}
    elif change == "shape":
        state[key] = torch.zeros(3)
    else:
        state[key][1] = math.nan if change == "nan" else math.inf
    if name.endswith(".safetensors"):
        save_file(state, tmp_path / name)
    else:
        torch.save(state, tmp_path / name)
    refused(tmp_path / name, message)


@pytest.mark.parametrize(
    ("key", "value", "have"),
    [
        ("d_model", 384, 24),
        ("nhead", 4, 2),
        ("num_layers", 3, 2),
        ("input_dim", 48, 20),
        ("embedding_dim", 1024, 12),
        ("num_actions", 46, 64),
        ("causal", True, False),
        ("pose_output", "residual", "absolute"),
    ],
)
def test_a_contradiction_with_the_configuration_names_both(
    build, tmp_path: Path, key: str, value: object, have: object
) -> None:
    save_base(build(), BaseRecord({}), tmp_path / "base.safetensors")
    message = f"the base has {key}={have}, the configuration says {key}={value}"
    refused(tmp_path / "base.safetensors", message, {key: value})


def test_agreeing_and_open_settings_are_fine(build, tmp_path: Path) -> None:
    model = build(causal=True)
    save_base(model, BaseRecord({}), tmp_path / "base.safetensors")
    load_base(tmp_path / "base.safetensors", {**model.settings, "pose_scale": None})


def test_a_record_that_contradicts_the_weights(build, tmp_path: Path) -> None:
    write_pair(build(), tmp_path)
    record = json.loads((tmp_path / "base.json").read_text())
    record["settings"]["num_layers"] = 3
    (tmp_path / "base.json").write_text(json.dumps(record))
    refused(tmp_path / "base.pth", "the weights have num_layers=2, its record says num_layers=3")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"settings": 3}',
        '{"settings": [1]}',
        '{"settings": {}, "text_encoder": null}',
        '{"settings": {}, "conditions": "camera"}',
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_record(build, tmp_path: Path, text: str | bytes) -> None:
    torch.save(dict(build().state_dict()), tmp_path / "base.pth")
    (tmp_path / "base.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(tmp_path / "base.pth", "damaged")


@pytest.mark.parametrize("text", ["[]", "7", "null", "{}", '{"name": "something else"}'])
def test_some_other_json_of_that_name_is_no_record(build, tmp_path: Path, caplog, text: str) -> None:
    torch.save(dict(build().state_dict()), tmp_path / "base.pth")
    (tmp_path / "base.json").write_text(text)
    assert load_base(tmp_path / "base.pth").record.settings["causal"] is False
    assert "not a record of stickgen" in caplog.text


def test_a_record_beside_other_weights_of_the_same_shape(build, tmp_path: Path) -> None:
    write_pair(build(causal=True), tmp_path)
    torch.manual_seed(99)
    torch.save(dict(StickFigureTransformer(**build().settings).state_dict()), tmp_path / "base.pth")
    refused(tmp_path / "base.pth", "is that of other weights")


@pytest.mark.parametrize("setting", [{"pose_output": "velocity"}, {"causal": True}, {"pose_scale": 0.01}])
def test_a_base_without_a_record_is_never_run_as_something_else(build, tmp_path: Path, setting: dict) -> None:
    torch.save(dict(build().state_dict()), tmp_path / "base.pth")
    with pytest.raises(CheckpointError, match="taken for the reference system's"):
        load_base(tmp_path / "base.pth", setting)


@pytest.mark.parametrize(
    "entry",
    [{3: torch.zeros(2)}, {"a": torch.zeros(2, dtype=torch.complex64)}, {"a": torch.zeros(2).to_sparse()}],
    ids=["number as key", "complex", "sparse"],
)
def test_entries_that_are_no_state_dicts(build, tmp_path: Path, entry: dict) -> None:
    torch.save({**build().state_dict(), **entry}, tmp_path / "base.pth")
    refused(tmp_path / "base.pth", "neither a state dict")


@pytest.mark.parametrize("settings", [{"colour": "red"}, {"pose_output": "sideways"}])
def test_a_record_whose_settings_make_no_model(build, tmp_path: Path, settings: dict) -> None:
    torch.save(dict(build().state_dict()), tmp_path / "base.pth")
    (tmp_path / "base.json").write_text(json.dumps({"settings": settings}))
    refused(tmp_path / "base.pth", "its settings do not make a model")


def test_fields_of_a_later_release_are_passed_over(build, tmp_path: Path) -> None:
    torch.save(dict(build().state_dict()), tmp_path / "base.pth")
    (tmp_path / "base.json").write_text(json.dumps({"settings": {"causal": True}, "invented_later": 1}))
    assert load_base(tmp_path / "base.pth").model.causal is True


# Folders


def test_the_folder_of_a_run_that_trained_a_base(build, tmp_path: Path) -> None:
    save_base(build(causal=True), BaseRecord({}), tmp_path / MODEL_FILE)
    base = load_base(tmp_path)
    assert base.path == tmp_path / MODEL_FILE
    assert base.model.causal


def test_the_folder_of_an_adapter_is_no_base(adapter: Adapter, tmp_path: Path) -> None:
    save_adapter(adapter, tmp_path / "run" / "adapter")
    for folder in (tmp_path / "run", tmp_path / "run" / "adapter"):
        refused(folder, r"holds an adapter, not a base; merge it first \(stickgen merge checkpoint=")


def test_any_other_folder(tmp_path: Path) -> None:
    refused(tmp_path, f"a folder without {MODEL_FILE}")


# Writing


@pytest.mark.parametrize("name", ["base.safetensors", "base.pth"])
def test_an_existing_output_is_kept(build, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("precious")
    with pytest.raises(OutputExistsError, match=f"{name}: already exists"):
        save_base(build(), BaseRecord({}), tmp_path / name)
    assert (tmp_path / name).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("overwrite", [False, True])
def test_some_other_json_beside_a_pth_is_left_alone(build, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "base.json").write_text('{"settings": "precious"}')
    if overwrite:
        (tmp_path / "base.pth").write_text("old")
    save_base(build(causal=True), BaseRecord({}), tmp_path / "base.pth", overwrite=overwrite)
    assert (tmp_path / "base.json").read_text() == '{"settings": "precious"}'
    assert load_base(tmp_path / "base.pth").model.causal


@FORMATS
def test_overwriting_when_told(build, tmp_path: Path, name: str) -> None:
    for seed in (1, 2):
        save_base(build(seed), BaseRecord({}), tmp_path / name, overwrite=True)
    assert load_base(tmp_path / name).fingerprint == fingerprint(build(2).state_dict())


@pytest.mark.parametrize("name", ["base.safetensors", "base.pth"])
def test_a_failed_write_leaves_the_old_weights_and_no_scraps(
    build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    save_base(build(), BaseRecord({}), tmp_path / name)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(file: object, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("stickgen.digests._Stream.write", full)
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OutputError) as refused:
        save_base(build(1), BaseRecord({}), tmp_path / name, overwrite=True)
    assert str(refused.value) == f"{tmp_path / name}: No space left on device; nothing was replaced"
    assert {path.name for path in tmp_path.iterdir()} == set(before)
    assert (tmp_path / name).read_bytes() == before[name]


@FORMATS
def test_a_model_with_adapters_is_not_saved_as_a_base(build, tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="merge or detach them"):
        save_base(inject_lora_adapters(build()), BaseRecord({}), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# Motion codes


def code_bank(width: int) -> CodeBank:
    return CodeBank.of([torch.eye(width)[index] for index in (0, 0, 3)], list(torch.rand(3, WIDTH)))


@FORMATS
def test_a_bases_motion_codes_travel_in_its_record(build, tmp_path: Path, name: str) -> None:
    model = build(embedding_dim=WIDTH + 8, motion_code=True)
    model.code_bank = code_bank(WIDTH + 8)
    save_base(model, BaseRecord({}), tmp_path / name)
    again = load_base(tmp_path / name).model.code_bank
    assert again is not None
    torch.testing.assert_close(again.codes, model.code_bank.codes, atol=1e-3, rtol=0)
    assert torch.equal(again.text_of, model.code_bank.text_of)
    plain = build()
    save_base(plain, BaseRecord({}), tmp_path / f"plain_{name}")
    assert load_base(tmp_path / f"plain_{name}").model.code_bank is None


def test_damaged_motion_codes_are_refused(build, tmp_path: Path) -> None:
    model = build()
    record = replace(BaseRecord(dict(model.settings)), codes={"width": 12, "texts": "?"})
    save_file(model.state_dict(), tmp_path / "base.safetensors", metadata={RECORD_KEY: record.to_json()})
    with pytest.raises(CheckpointError, match="the motion codes in its record are damaged"):
        load_base(tmp_path / "base.safetensors")
