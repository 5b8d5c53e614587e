"""The reference system's files, and conversion between them and ours."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stickgen.artifacts.adapter import Adapter, attach_adapter, base_for, load_adapter, save_adapter
from stickgen.artifacts.base import Base, load_base
from stickgen.artifacts.model import load_model, read_adapter
from stickgen.artifacts.reference import read_reference_adapter
from stickgen.artifacts.run import RunFolder
from stickgen.artifacts.wrapped import read_wrapped_base
from stickgen.config import BaseConfig, LoRAConfig, TrainConfig
from stickgen.errors import CheckpointError, OutputExistsError
from stickgen.export.convert import convert
from stickgen.lora import LoRASettings

KEY = "transformer_encoder.layers.0.self_attn.q_proj.lora_A"


def wrapped_state(base: Base, adapter: Adapter) -> dict[str, Tensor]:
    """Keys as a LoRA run of the reference system saves them."""
    state: dict[str, Tensor] = {}
    for key, value in base.model.state_dict().items():
        module, _, name = key.rpartition(".")
        state[f"{module}.base_layer.{name}" if module in adapter.modules else key] = value
    return {**state, **adapter.state}


@pytest.fixture
def files(base: Base, adapter: Adapter, tmp_path: Path) -> dict[str, Path]:
    """The adapter in every form the reference system writes."""
    config = {"rank": 3, "alpha": np.float64(6.0), "dropout": 0.1, "target_modules": ["self_attn", "pose_decoder"]}
    wrapped = wrapped_state(base, adapter)
    contents: dict[str, Any] = {
        "bare.pth": adapter.state,
        "checkpoint.pth": {"epoch": 3, "lora_enabled": True, "lora_state_dict": adapter.state, "lora_config": config},
        "wrapped.pth": {
            "model_state_dict": wrapped,
            "lora_config": config,
            "scheduler_state_dict": {"x": np.float64(1)},
        },
        "wrapped_bare.pth": wrapped,
    }
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    save_file(adapter.state, tmp_path / "bare.safetensors")
    return {name: tmp_path / name for name in (*contents, "bare.safetensors")}


@pytest.mark.parametrize("name", ["bare.pth", "bare.safetensors", "checkpoint.pth", "wrapped.pth", "wrapped_bare.pth"])
def test_every_form_is_read(files: dict[str, Path], base: Base, adapter: Adapter, name: str) -> None:
    read = read_reference_adapter(files[name], alpha=6.0)
    assert set(read.state) == set(adapter.state)
    assert all(torch.equal(value, adapter.state[key]) for key, value in read.state.items())
    assert (read.settings.rank, read.settings.alpha) == (3, 6.0)
    assert read.base_fingerprint == (base.fingerprint if name.startswith("wrapped") else None)


@pytest.mark.parametrize("name", ["bare.pth", "bare.safetensors", "wrapped_bare.pth"])
def test_an_alpha_that_nobody_tells_is_not_guessed(files: dict[str, Path], name: str) -> None:
    with pytest.raises(CheckpointError, match=r"does not tell its alpha; give it: .* --alpha"):
        read_adapter(files[name])


def test_an_alpha_that_contradicts_the_file(files: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match="says alpha=6, alpha=16 is given"):
        read_reference_adapter(files["checkpoint.pth"], alpha=16.0)


def test_the_base_inside_is_the_base(files: dict[str, Path], base: Base) -> None:
    inside = read_wrapped_base(files["wrapped.pth"])
    assert inside.fingerprint == base.fingerprint
    with pytest.raises(CheckpointError, match="has no base_layer weights"):
        read_wrapped_base(files["checkpoint.pth"])


def test_a_wrapped_checkpoint_is_no_base(files: dict[str, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"holds LoRA adapters inside its weights.*stickgen convert"):
        load_base(files["wrapped.pth"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(KEY), r"q_proj\.lora_A is missing"),
        (lambda s: s.update({KEY: s[KEY][:1]}), "rank 3 expected"),
        (lambda s: s.update({KEY: s[KEY] * math.nan}), "NaN or infinity"),
        (lambda s: s.update({"pose_decoder.0.weight": s[KEY]}), r"pose_decoder\.0\.weight: not an adapter's tensor"),
        (lambda s: s.update({KEY: 3}), "not an adapter's tensor"),
    ],
    ids=["missing", "shape", "nan", "extra", "no tensor"],
)
@pytest.mark.parametrize("form", ["bare", "checkpoint"])
def test_damaged_files(adapter: Adapter, tmp_path: Path, change, message: str, form: str) -> None:
    state: dict[str, Any] = dict(adapter.state)
    change(state)
    content = state if form == "bare" else {"lora_state_dict": state, "lora_config": {"rank": 3, "alpha": 6.0}}
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=rf"bad\.pth: .*{message}"):
        read_reference_adapter(tmp_path / "bad.pth", None if form == "checkpoint" else 6.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rank": 8, "alpha": 6.0}, "rank 8 expected"),
        ({"rank": "3", "alpha": 6.0}, "rank='3': a number expected"),
        ({"rank": 3, "alpha": -1.0}, "alpha=-1"),
        ([3, 6.0], "lora_config: a dict expected"),
    ],
)
def test_a_config_that_cannot_be(adapter: Adapter, tmp_path: Path, config: Any, message: str) -> None:
    torch.save({"lora_state_dict": adapter.state, "lora_config": config}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=message):
        read_reference_adapter(tmp_path / "bad.pth")


class Settings:
    """What the fine-tuning script pickles beside the tensors."""


def test_objects_are_refused_with_the_way_out(adapter: Adapter, tmp_path: Path) -> None:
    torch.save({"lora_state_dict": adapter.state, "config": Settings()}, tmp_path / "tuned.pth")
    with pytest.raises(CheckpointError, match=r"would have to be executed.*save the tensors alone"):
        read_adapter(tmp_path / "tuned.pth")


def test_a_model_is_no_adapter(base: Base) -> None:
    with pytest.raises(CheckpointError, match="a model file is merged already"):
        read_adapter(base.path)


# Converting


@pytest.mark.parametrize("form", ["peft", "checkpoint", "wrapped"])
def test_there_and_back_keeps_everything_that_counts(
    base: Base, adapter: Adapter, tmp_path: Path, arguments: dict[str, Tensor], form: str
) -> None:
    save_adapter(adapter, tmp_path / "first")
    middle, last = tmp_path / ("middle" if form == "peft" else "middle.pth"), tmp_path / "last"
    convert(tmp_path / "first", middle, form)
    convert(middle, last)
    again = load_adapter(last)
    assert again.settings == adapter.settings
    assert again.base_fingerprint == base.fingerprint
    assert all(torch.equal(value, adapter.state[key]) for key, value in again.state.items())
    attach_adapter(base, adapter, "here")
    with torch.no_grad():
        assert torch.equal(load_model(last).model(**arguments), base.model(**arguments))


@pytest.mark.parametrize("output", ["adapter", "lora.pth", "lora.safetensors"])
def test_the_name_tells_the_form(files: dict[str, Path], tmp_path: Path, output: str) -> None:
    told = convert(files["bare.pth"], tmp_path / output, alpha=6.0)
    assert "rank 3, alpha 6" in told
    assert ("alpha is not in it" in told) == (output == "lora.safetensors")
    assert (tmp_path / output).is_dir() == (output == "adapter")
    alpha = 6.0 if output == "lora.safetensors" else None
    convert(tmp_path / output, tmp_path / "last", alpha=alpha)
    assert load_adapter(tmp_path / "last").settings == LoRASettings(3, 6.0, 0.0)


def test_the_base_inside_is_written(files: dict[str, Path], tmp_path: Path, base: Base) -> None:
    convert(files["wrapped.pth"], tmp_path / "out.safetensors", "base")
    assert load_base(tmp_path / "out.safetensors").fingerprint == base.fingerprint


def test_a_base_that_we_wrapped_keeps_its_record(base: Base, adapter: Adapter, tmp_path: Path) -> None:
    save_adapter(adapter, tmp_path / "adapter")
    convert(tmp_path / "adapter", tmp_path / "wrapped.pth", "wrapped")
    convert(tmp_path / "wrapped.pth", tmp_path / "out.safetensors", "base")
    assert load_base(tmp_path / "out.safetensors").record.settings == base.record.settings


@pytest.mark.parametrize("form", ["peft", "checkpoint", "wrapped", "bare"])
def test_what_an_adapter_tells_of_itself_goes_along(base: Base, adapter: Adapter, tmp_path: Path, form: str) -> None:
    told = replace(adapter, base_record=base.record)
    save_adapter(told, tmp_path / "first")
    middle = tmp_path / {"peft": "middle", "bare": "middle.safetensors"}.get(form, "middle.pth")
    convert(tmp_path / "first", middle, form)
    convert(middle, tmp_path / "last", alpha=6.0 if form == "bare" else None)
    again = load_adapter(tmp_path / "last")
    for name in ("base_fingerprint", "base_path", "base_record", "origin"):
        assert getattr(again, name) == getattr(told, name), name


@pytest.mark.parametrize("record", ["{", 3, '{"base_path": 3}', "[]"])
def test_a_record_that_is_none(adapter: Adapter, tmp_path: Path, record: Any) -> None:
    config = {"rank": 3, "alpha": 6.0}
    torch.save({"lora_state_dict": adapter.state, "lora_config": config, "stickgen": record}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"bad\.pth: the record in its metadata is damaged"):
        read_reference_adapter(tmp_path / "bad.pth")


@pytest.mark.parametrize(("factor", "shape"), [("lora_A", (3, 5)), ("lora_B", (7, 3))])
def test_a_base_of_other_shapes_is_not_wrapped(
    base: Base, adapter: Adapter, tmp_path: Path, factor: str, shape: tuple[int, int]
) -> None:
    state = {**adapter.state, f"pose_decoder.0.{factor}": torch.zeros(shape)}
    save_adapter(replace(adapter, state=state, base_fingerprint=None), tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"x\.pth: pose_decoder\.0 has shape \[12, 24\] in .*base\.safetensors"):
        convert(tmp_path / "adapter", tmp_path / "x.pth", "wrapped")
    assert not (tmp_path / "x.pth").exists()


def test_another_base_is_not_wrapped(adapter: Adapter, tmp_path: Path) -> None:
    save_adapter(replace(adapter, base_fingerprint="0123"), tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"trained on another base .*; --base names its own$"):
        convert(tmp_path / "adapter", tmp_path / "x.pth", "wrapped")


def test_a_wrapped_checkpoint_brings_its_base(files: dict[str, Path], base: Base, adapter: Adapter) -> None:
    read = read_adapter(files["wrapped.pth"])[0]
    inside = base_for(read, None, "here")
    assert inside.fingerprint == base.fingerprint == read.base_fingerprint
    attach_adapter(inside, read, "here")


def test_the_scaling_of_rank_stabilised_adapters_becomes_an_alpha(adapter: Adapter, tmp_path: Path) -> None:
    save_adapter(replace(adapter, settings=LoRASettings(3, 6.0, use_rslora=True)), tmp_path / "adapter")
    convert(tmp_path / "adapter", tmp_path / "lora.pth")
    assert read_reference_adapter(tmp_path / "lora.pth").settings.alpha == pytest.approx(6 * 3**0.5)


def test_what_the_reference_system_cannot_say(adapter: Adapter, tmp_path: Path) -> None:
    settings = LoRASettings(3, 6.0, alpha_pattern={r"pose_decoder\.0": 2.0})
    save_adapter(replace(adapter, settings=settings), tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"plain LoRA of one rank and alpha only, not .*other alphas"):
        convert(tmp_path / "adapter", tmp_path / "lora.pth")
    assert not (tmp_path / "lora.pth").exists()


@pytest.mark.parametrize(
    ("source", "output", "words"),
    [
        ("adapter", "run", "holds checkpoints, which would be lost"),
        ("adapter", "adapter", "would replace what it is made from"),
        ("adapter", ".", "holds adapter, which would be lost"),
        ("adapter", "adapter/adapter_model.safetensors", "would replace what it is made from"),
        ("checkpoint.pth", "checkpoint.pth", "would replace what it is made from"),
        ("checkpoint.pth", "run/folder.pth", "is a folder and was kept"),
    ],
)
def test_overwriting_loses_nothing_else(
    files: dict[str, Path], adapter: Adapter, tmp_path: Path, source: str, output: str, words: str
) -> None:
    save_adapter(adapter, tmp_path / "adapter")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "best.ckpt").write_text("weeks of work")
    (tmp_path / "run" / "folder.pth").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(OutputExistsError, match=re.escape(words)):
        convert(tmp_path / source, tmp_path / output, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_is_made_of_a_run_may_lie_in_its_folder(adapter: Adapter, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    lora = LoRAConfig(targets={"all": ["self_attn"]})
    run.write_start(TrainConfig(base=BaseConfig(checkpoint="base.pth"), lora=lora, run_dir=str(run.path)))
    save_adapter(adapter, run.adapter)
    for _ in range(2):
        convert(run.path, run.path / "lora.pth", overwrite=True)
    for output in (run.adapter, run.adapter / "adapter_model.safetensors"):
        with pytest.raises(OutputExistsError, match="would replace what it is made from"):
            convert(run.path, output, overwrite=True)


def test_mistakes(files: dict[str, Path], adapter: Adapter, tmp_path: Path, build) -> None:
    source = files["checkpoint.pth"]
    for to, output, kind, words in (
        ("wrapped", "x.pth", CheckpointError, "does not name its base; give it with --base"),
        (None, "bare.pth", OutputExistsError, "already exists"),
    ):
        with pytest.raises(kind, match=re.escape(words)):
            convert(source, tmp_path / output, to)
    assert not (tmp_path / "x.pth").exists()
