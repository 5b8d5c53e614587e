"""Whole models as graphs, and conversions that cannot be meant; the reference system's forms are in tests/artifacts."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.artifacts.adapter import Adapter, save_adapter
from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.errors import StickgenError
from stickgen.export.convert import convert
from stickgen.lora import LoRASettings
from stickgen.model import StickFigureTransformer
from tests.export.graphs import assert_same_outputs


def write_base(path: Path, **settings: Any) -> Path:
    torch.manual_seed(0)
    model = StickFigureTransformer(d_model=24, nhead=2, num_layers=2, embedding_dim=12, **settings)
    save_base(model, BaseRecord({}), path)
    return path


def write_adapter(folder: Path) -> Path:
    state = {"pose_decoder.0.lora_A": torch.ones(2, 24), "pose_decoder.0.lora_B": torch.ones(24, 2)}
    save_adapter(Adapter(state, LoRASettings(2, 1234567.0), base_path="base.safetensors"), folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of 20 numbers, its graph beside it."""
    source = write_base(tmp_path_factory.mktemp("base") / "base.safetensors", causal=True, pose_output="velocity")
    said = convert(source, source.with_suffix(".onnx"))
    assert re.fullmatch(rf"the graph of {source}; onnxruntime against PyTorch: largest difference \d\S+", said)
    return source


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("frames", [1, 17, 250])
def test_a_base_as_a_graph(base: Path, frames: int, clips: int) -> None:
    assert_same_outputs(load_base(base).model, base.with_suffix(".onnx"), frames, clips)


def test_a_run_of_whole_weights_of_48_numbers_as_a_graph(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_base(tmp_path / "run" / "model.safetensors", input_dim=48, output_dim=48)
    convert(tmp_path / "run", tmp_path / "model.onnx")
    assert_same_outputs(load_base(tmp_path / "run").model, tmp_path / "model.onnx", 17, 3)


@pytest.mark.parametrize(
    ("source", "output", "options", "words"),
    [
        (
            "adapter",
            "x.onnx",
            {},
            "a whole model expected for an .onnx; an adapter is merged into one: stickgen merge",
        ),
        ("best.ckpt", "x.onnx", {}, "a whole model expected for an .onnx"),
        ("nowhere", "x.onnx", {}, "nowhere: no such file"),
        ("adapter", "x.onnx", {"alpha": 4.0}, "alpha=4.0: is an adapter's, and to=onnx writes none"),
        ("adapter", "x.pth", {"base": Path("base.safetensors")}, "base=base.safetensors: is for to=wrapped"),
        (
            "adapter",
            "x.onnx",
            {"to": "bare"},
            "a name ending in .safetensors or .pth or .pt expected for to=bare",
        ),
        ("adapter", "x.safetensors", {"to": "checkpoint"}, "a name ending in .pth or .pt expected for to=checkpoint"),
        (
            "adapter",
            "x.zip",
            {},
            "x.zip: a name without an ending (a folder), or of .pth, ",
        ),
        ("adapter", "x", {"to": "onyx"}, "to=onyx: peft, checkpoint, bare, wrapped, base, onnx expected"),
        ("adapter", "x.pth", {"to": "base"}, "adapter: a folder; to=base takes the base out of a .pth"),
        ("adapter", "x.pth", {"alpha": 4.0}, "alpha=4.0: is for files that do not tell it; "),
        ("nowhere", "x.pth", {"alpha": 4.0}, "nowhere: no such file or folder"),
        ("adapter/adapter_model.safetensors", "x.pth", {}, "tells neither rank nor alpha; name its folder, "),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, source: str, output: str, options: dict[str, Any], words: str) -> None:
    write_adapter(tmp_path / "adapter")
    (tmp_path / "best.ckpt").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StickgenError, match=re.escape(words)):
        convert(tmp_path / source, tmp_path / output, **options)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_alpha_is_told_to_its_last_digit(tmp_path: Path) -> None:
    said = convert(write_adapter(tmp_path / "adapter"), tmp_path / "bare.safetensors")
    assert said.endswith("alpha is not in it: --alpha 1234567.0 reads it")
    convert(tmp_path / "bare.safetensors", tmp_path / "back", alpha=1234567.0)
