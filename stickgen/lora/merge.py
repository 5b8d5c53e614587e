"""Merging adapters into the weights they adapt."""

import torch
from torch import nn

from stickgen.errors import AdapterError
from stickgen.lora.inject import Model, replace_module, require_adapters


def merge_lora_weights(model: Model) -> Model:
    """Add every adapter's update to its weight, ``W + scaling · B A``, and put plain Linear layers back, in place.

    The sum is taken in float64 and rounded once, to the weight's own precision. Afterwards the model has the base's
    state-dict keys and nothing of LoRA is left in it. The base's tensors are not written to.

    Returns:
        the model itself.

    Raises:
        AdapterError: the model has no adapters, as after a first merge; or a merged weight holds NaN or infinity.
            The model is then unchanged.
    """
    merged: dict[str, nn.Linear] = {}
    for path, layer in require_adapters(model).items():
        weight = (layer.weight.detach().double() + layer.delta_weight()).to(layer.weight.dtype)
        if not bool(torch.isfinite(weight).all()):
            raise AdapterError(f"merging {path} gives NaN or infinity; nothing was merged")
        merged[path] = layer.to_linear(weight)
    for path, linear in merged.items():
        replace_module(model, path, linear)
    return model
