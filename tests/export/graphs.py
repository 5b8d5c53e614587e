"""An ONNX graph beside the model in PyTorch."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from stickgen.model import StickFigureTransformer

HEADS = ["pose", "position", "velocity", "action_logits", "physics", "environment"]


def assert_same_outputs(model: StickFigureTransformer, graph: Path, frames: int, clips: int) -> None:
    """Every output is PyTorch's within 1e-4, on random inputs."""
    session = onnxruntime.InferenceSession(str(graph))
    random = torch.Generator().manual_seed(1)
    inputs = {
        one.name: torch.randn(*({"frames": frames, "clips": clips}.get(n, n) for n in one.shape), generator=random)
        for one in session.get_inputs()
    }
    names = [one.name for one in session.get_outputs()]
    found = session.run(names, {name: tensor.numpy() for name, tensor in inputs.items()})
    with torch.no_grad():
        outputs = model(**inputs, return_all_outputs=True)
    assert names == HEADS
    for name, theirs in zip(names, found, strict=True):
        assert theirs.dtype == np.float32
        torch.testing.assert_close(torch.from_numpy(theirs), outputs[name], rtol=0, atol=1e-4)
