"""A model as an ONNX graph, compared in onnxruntime with PyTorch before it is written."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.artifacts.record import RECORD_KEY, BaseRecord
from stickgen.errors import CheckpointError, StickgenError
from stickgen.files import atomic_write, temporary_folder
from stickgen.model import StickFigureTransformer

CHECKED_FRAMES = (1, 17, 250)
CHECKED_CLIPS = (1, 3)
"""Shapes on which a graph is compared with PyTorch."""

_CONDITIONS = {"camera": "camera_data", "partner": "partner_motion"}


def write_onnx(
    model: StickFigureTransformer, record: BaseRecord, path: Path, *, tolerance: float = 1e-4, overwrite: bool = False
) -> float:
    """Write a model as an ONNX graph of any number of clips and frames.

    Inputs are ``motion [frames, clips, D]`` and ``text_embedding [clips, E]``, and of the conditions that the base's
    record names ``camera_data [frames, clips, 3]`` and ``partner_motion [frames, clips, D]``; outputs those of the
    model with ``return_all_outputs``. There is no padding mask: a causal model's frames do not see what follows them,
    but its means over frames do. The record lies in the graph's metadata.

    Args:
        model: a plain model.
        record: of its base; its ``settings`` are replaced by the model's own.
        path: ending in .onnx.
        tolerance: largest difference allowed between onnxruntime's outputs and PyTorch's, on random inputs of all
            shapes of :data:`CHECKED_FRAMES` × :data:`CHECKED_CLIPS`.
        overwrite: replace an existing file.

    Returns:
        the largest difference found.

    Raises:
        StickgenError: a package for ONNX is not installed.
        CheckpointError: the outputs differ by more than ``tolerance``; nothing is then written.
        OutputExistsError: the file exists and ``overwrite`` is false.
    """
    onnx, runtime = require_onnx()
    conditions = [_CONDITIONS[name] for name in record.conditions or ()]
    model = model.eval()
    with torch.no_grad(), temporary_folder() as folder:
        graph = folder / "graph.onnx"
        _export(model, conditions, graph)
        difference = 0.0
        session = runtime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        for frames in CHECKED_FRAMES:
            for clips in CHECKED_CLIPS:
                inputs = _random_inputs(model, conditions, frames, clips)
                found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
                for ours, theirs in zip(_outputs(model, inputs).values(), found, strict=True):
                    difference = max(difference, float((ours - torch.from_numpy(theirs)).abs().max()))
        if not difference <= tolerance:
            raise CheckpointError(
                f"{path}: outputs of onnxruntime and PyTorch differ by {difference:.3g}, tolerance={tolerance:g} "
                "allowed; nothing was written"
            )
        proto = onnx.load(str(graph))
    settings = {"settings": dict(model.settings)}
    onnx.helper.set_model_props(proto, {RECORD_KEY: BaseRecord(**{**vars(record), **settings}).to_json()})
    with atomic_write(path, overwrite=overwrite) as scratch:
        onnx.save(proto, str(scratch))
    return difference


def require_onnx() -> tuple[Any, Any]:
    """Return the packages onnx and onnxruntime, which only this export needs.

    Raises:
        StickgenError: one is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # torch.onnx needs it
    except ModuleNotFoundError as error:
        raise StickgenError(f"ONNX: {error.name} is not installed; pip install 'stickgen[onnx]'") from None
    return onnx, onnxruntime


class _ByPosition(nn.Module):
    """The model with its inputs in one order and its outputs as a tuple, as a graph has them."""

    def __init__(self, model: StickFigureTransformer, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(_outputs(self.model, dict(zip(self.names, inputs, strict=True))).values())


def _export(model: StickFigureTransformer, conditions: list[str], path: Path) -> None:
    inputs = _random_inputs(model, conditions, frames=5, clips=2)
    frames, clips = torch.export.Dim("frames", min=1), torch.export.Dim("clips", min=1)
    shapes = [{0: clips} if name == "text_embedding" else {0: frames, 1: clips} for name in inputs]
    with quiet():
        torch.onnx.export(
            _ByPosition(model, list(inputs)).eval(),
            tuple(inputs.values()),
            path,
            dynamo=True,
            dynamic_shapes=(tuple(shapes),),
            input_names=list(inputs),
            output_names=list(_outputs(model, inputs)),
            external_data=False,
            verbose=False,
        )


def _outputs(model: StickFigureTransformer, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    outputs = model(**inputs, return_all_outputs=True)
    assert isinstance(outputs, dict)
    return outputs


def _random_inputs(model: StickFigureTransformer, conditions: list[str], frames: int, clips: int) -> dict[str, Tensor]:
    """Return inputs by name: frames of a body's size, embeddings of length one."""
    random = torch.Generator().manual_seed(frames)
    dim, width = model.settings["input_dim"], model.settings["embedding_dim"]
    widths = {"motion": dim, "camera_data": 3, "partner_motion": dim}
    tracks = {n: 0.5 * torch.randn(frames, clips, widths[n], generator=random) for n in ("motion", *conditions)}
    text = F.normalize(torch.randn(clips, width, generator=random), dim=-1)
    return {"motion": tracks.pop("motion"), "text_embedding": text, **tracks}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep to itself what the exporter says of packages and of its own inner workings."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
