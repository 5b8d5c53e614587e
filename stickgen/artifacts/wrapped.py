"""Checkpoints of the reference system's LoRA runs: the base's weights, wrapped, and the adapters among them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from stickgen.artifacts.base import Base, base_of, is_plain
from stickgen.artifacts.tensors import read_content
from stickgen.errors import CheckpointError
from stickgen.lora import LoRALinear, module_paths

MARKS = tuple(f".{factor}" for factor in LoRALinear.FACTORS)
"""How the keys of an adapter's tensors end."""

_WRAPPED = ".base_layer."
_RECORD = "base_record"
"""Under this key ours, and only they, hold the base's record."""


def wrapped_state(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the state dict with wrapped layers that a file's content holds or is; None where there is none."""
    inner = content.get("model_state_dict")
    state = inner if isinstance(inner, dict) else content
    return dict(state) if any(_WRAPPED in str(key) for key in state) else None


def unwrapped(state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the base's weights in a state dict with wrapped layers, under the base's names.

    Raises:
        CheckpointError: it holds anything but plain tensors.
    """
    if not all(is_plain(key, value) for key, value in state.items()):
        raise CheckpointError(f"{path}: its model_state_dict holds more than named tensors")
    return {key.replace(_WRAPPED, "."): value for key, value in state.items() if not key.endswith(MARKS)}


def wrap(base: Base, state: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Return the part of a checkpoint that holds a base with adapters.

    Args:
        base: the base.
        state: the adapters' tensors, as of :func:`~stickgen.lora.get_lora_state_dict`.
        path: the file it is for, for messages.

    Raises:
        CheckpointError: the base lacks a layer, or has it in another shape.
    """
    plain = base.model.state_dict()
    paths = module_paths(state)
    for module in paths:
        weight = plain.get(f"{module}.weight")
        if weight is None:
            raise CheckpointError(f"{path}: {base.path} has no layer {module}; it is not this adapter's base")
        fits = [len(state[f"{module}.lora_B"]), state[f"{module}.lora_A"].shape[1]]
        if list(weight.shape) != fits:
            raise CheckpointError(
                f"{path}: {module} has shape {list(weight.shape)} in {base.path}, the adapter is of one of {fits}; "
                "it is not this adapter's base"
            )
    wrapped: dict[str, Tensor] = {}
    for key, value in plain.items():
        module, _, name = key.rpartition(".")
        wrapped[f"{module}{_WRAPPED}{name}" if module in paths else key] = value
    return {"model_state_dict": {**wrapped, **state}, _RECORD: base.record.to_json()}


def read_wrapped_base(path: Path) -> Base:
    """Return the base inside a checkpoint of a LoRA run of the reference system.

    Raises:
        CheckpointError: the file holds no such checkpoint, or what is left without its adapters is no base.
    """
    content, _ = read_content(path)
    content = content if isinstance(content, dict) else {}
    wrapped, record = wrapped_state(content), content.get(_RECORD)
    if wrapped is None:
        raise CheckpointError(f"{path}: has no base_layer weights; the checkpoint of a LoRA run expected")
    return base_of(unwrapped(wrapped, path), record if isinstance(record, str) else None, path)
