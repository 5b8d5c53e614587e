"""Merging adapters into the weights they adapt, and taking them out again."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stickgen.errors import AdapterError
from stickgen.lora.adapted import AdaptedLinear
from stickgen.lora.inject import Model, adapted_layers, replace_module, require_adapters


def merge_lora_weights(model: Model) -> Model:
    """Add every adapter's update to its weight, as ``W + scaling · B A``, and put plain Linear layers back, in place.

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
        weight = _merged_weight(layer)
        if not bool(torch.isfinite(weight).all()):
            raise AdapterError(f"merging {path} gives NaN or infinity; nothing was merged")
        merged[path] = layer.to_linear(weight)
    for path, linear in merged.items():
        replace_module(model, path, linear)
    return model


def unmerge_lora_weights(model: Model, layers: Mapping[str, AdaptedLinear]) -> Model:
    """Put the layers back that :func:`merge_lora_weights` took away, in place: base and adapters as they were.

    The base's weights are its own tensors, bit for bit; subtracting the update from rounded ones would give others.

        layers = adapted_layers(model)
        merge_lora_weights(model)
        ...
        unmerge_lora_weights(model, layers)

    Args:
        model: a merged model.
        layers: what ``adapted_layers`` returned of it before; who keeps them keeps the base's weights too.

    Returns:
        the model itself.

    Raises:
        AdapterError: there are no layers, the model has adapters, or a weight is not what merging these layers gives.
            The model is then unchanged.
    """
    if not layers:
        raise AdapterError("unmerging: no layers given; adapted_layers(model) before the merge returns them")
    if adapted_layers(model):
        raise AdapterError("the model has LoRA adapters already; it is not merged")
    linears = {path: module for path, module in model.named_modules() if isinstance(module, nn.Linear)}
    for path, layer in layers.items():
        if path not in linears or not torch.equal(linears[path].weight.to(layer.weight.device), _merged_weight(layer)):
            raise AdapterError(
                f"unmerging {path}: its weight is not what merging these adapters gives; it is another model's, or was "
                "changed since"
            )
    for path, layer in layers.items():
        linear = linears[path]
        replace_module(model, path, layer.to(linear.weight.device).train(linear.training))
    return model


def _merged_weight(layer: AdaptedLinear) -> Tensor:
    """Return ``[out, in]`` in the precision of the layer's weight."""
    return (layer.weight.detach().double() + layer.delta_weight()).to(layer.weight.dtype)
