"""Graphs in onnxruntime beside the model in PyTorch."""

import json
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from stickgen.artifacts.record import BaseRecord
from stickgen.errors import CheckpointError, OutputExistsError, StickgenError
from stickgen.export.onnx import write_onnx
from stickgen.model import StickFigureTransformer
from tests.export.graphs import assert_same_outputs

SIZES = {"d_model": 24, "nhead": 2, "num_layers": 2, "embedding_dim": 12}
KINDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "causal": ({"causal": True, "pose_output": "velocity", "pose_scale": 0.05}, []),
    "bidirectional": ({"input_dim": 48, "output_dim": 48}, ["camera", "partner"]),
}


@pytest.fixture(scope="module", params=KINDS)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StickFigureTransformer, Path, float]:
    settings, conditions = KINDS[request.param]
    torch.manual_seed(0)
    model = StickFigureTransformer(**SIZES, **settings).eval()
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return model, path, write_onnx(model, BaseRecord({}, conditions=conditions), path, tolerance=1e-4)


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("frames", [1, 17, 250])
def test_every_output_equals_pytorchs(
    exported: tuple[StickFigureTransformer, Path, float], frames: int, clips: int
) -> None:
    model, path, told = exported
    assert_same_outputs(model, path, frames, clips)
    assert 0 <= told < 1e-4


def test_the_graph_names_its_inputs_and_tells_the_record(exported: tuple[StickFigureTransformer, Path, float]) -> None:
    model, path, _ = exported
    graph = onnx.load(str(path))
    onnx.checker.check_model(graph)
    names = [one.name for one in graph.graph.input]
    assert names[:2] == ["motion", "text_embedding"]
    assert names[2:] == ([] if model.causal else ["camera_data", "partner_motion"])
    record = json.loads({prop.key: prop.value for prop in graph.metadata_props}["stickgen"])
    assert record["settings"] == model.settings
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_difference_beyond_the_tolerance_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: tuple[StickFigureTransformer, Path, float]
) -> None:
    model, path, _ = exported
    # Without the exporter's seconds: the graph of other weights in its place.
    monkeypatch.setattr("stickgen.export.onnx._export", lambda model, names, to: to.write_bytes(path.read_bytes()))
    torch.manual_seed(1)
    other = StickFigureTransformer(**{key: model.settings[key] for key in model.settings}).eval()
    conditions = [] if model.causal else ["camera", "partner"]
    with pytest.raises(CheckpointError, match=r"onnxruntime and PyTorch differ by .*nothing was written"):
        write_onnx(other, BaseRecord({}, conditions=conditions), tmp_path / "model.onnx", tolerance=1e-4)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "model.onnx").write_text("precious")
    with pytest.raises(OutputExistsError):
        write_onnx(model, BaseRecord({}, conditions=conditions), tmp_path / "model.onnx", tolerance=1e-4)
    assert (tmp_path / "model.onnx").read_text() == "precious"


def test_without_the_package_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(StickgenError, match=r"ONNX: onnxruntime is not installed; pip install 'stickgen\[onnx\]'"):
        write_onnx(StickFigureTransformer(**SIZES), BaseRecord({}), tmp_path / "model.onnx", tolerance=1e-4)
