"""The step graph as ONNX, and the loop around it: what the page's worker does, in Python."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stickgen.export.onnx import quiet, require_onnx
from stickgen.export.step_graph import StepGraph

Step = Callable[[dict[str, np.ndarray]], Sequence[np.ndarray]]
"""One call of the graph: inputs by name to outputs in order."""


def write_step_graph(graph: StepGraph, path: Path) -> None:
    """Write the graph, its weights inside.

    A weight that float16 represents exactly is stored as float16, which halves the shipped bases. The graph computes in
    float32.

    Raises:
        StickgenError: a package for ONNX is not installed.
    """
    onnx, _ = require_onnx()
    inputs = graph.sample_inputs()
    with torch.no_grad(), quiet():
        # Layouts and trees of joints are made at their first use, and must not be made of the exporter's symbols.
        outputs = graph(*inputs.values())
        torch.onnx.export(
            graph,
            tuple(inputs.values()),
            path,
            dynamo=True,
            input_names=list(inputs),
            output_names=["next", "entry", "seen"][: len(outputs)],
            external_data=False,
            verbose=False,
        )
    proto = onnx.load(str(path))
    for part in (*proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del part.metadata_props[:]  # where in the source it comes from
    halve(proto, onnx)
    onnx.save(proto, str(path))


def step_of(path: Path) -> Step:
    """Return a written graph, run by onnxruntime."""
    _, runtime = require_onnx()
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda feeds: session.run(None, feeds)


def roll_out(step: Step, graph: StepGraph, start: Mapping[str, Tensor], frames: int) -> Tensor:
    """Generate motion with the graph.

    Args:
        step: the graph, as :func:`step_of` returns it.
        graph: the module that it was written from.
        start: ``text``, ``frame`` and, where the graph reads them, ``bones``, ``weights`` and ``noise [frames, 1, D]``.
        frames: how many.

    Returns:
        the frames ``[frames, 1, D]``.
    """
    feeds: dict[str, Any] = {name: value.numpy() for name, value in {**graph.sample_inputs(), **start}.items()}
    noise = feeds.get("noise")
    feeds["before"] = feeds["frame"]
    feeds["cache"] = np.zeros_like(feeds["cache"])
    made = []
    for position in range(frames + 1):
        feeds["position"] = np.array([position])
        if noise is not None:
            feeds["noise"] = noise[max(position - 1, 0), None]
        following, entry, *seen = step(feeds)
        feeds["cache"][:, :, :, position] = entry[:, :, :, 0]
        if seen:
            feeds["measured"] = seen[0]
        if position:
            feeds["before"], feeds["frame"] = feeds["frame"], following
            made.append(torch.from_numpy(following[0]))
    return torch.stack(made)


def halve(proto: Any, onnx: Any) -> None:
    """Store initializers as float16 where that loses nothing, and widen them where they are read."""
    helper, arrays = onnx.helper, onnx.numpy_helper
    nodes = []
    for initializer in proto.graph.initializer:
        numbers = arrays.to_array(initializer)
        with np.errstate(over="ignore"):
            half = numbers.astype(np.float16) if numbers.dtype == np.float32 else None
        if half is None or numbers.ndim < 2 or not np.array_equal(half.astype(np.float32), numbers):
            continue
        name = initializer.name
        initializer.CopyFrom(arrays.from_array(half, f"{name}_half"))
        nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    kept = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes, *kept])
