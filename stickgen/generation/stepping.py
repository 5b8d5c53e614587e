"""A copy of a model, laid out for reading one position at a time.

A step of a few rows is no matrix product but a pass over the weights: what counts is how many bytes are read, in how
long runs, and how many small operations lie between. So adapters are merged, layers that read one input become one
weight, that weight is stored by columns, and norms are the fused ones, which no gradient has to follow.
"""

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.lora import adapted_layers
from stickgen.lora.inject import replace_module

Model = TypeVar("Model", bound=nn.Module)

READ_TOGETHER = (("self_attn", ("q_proj", "k_proj", "v_proj")), ("ffn", ("gate_proj", "value_proj")))
"""Of an encoder layer, the Linear layers that read one input."""


class JoinedLinear(nn.Module):
    """Linear layers that read one input, as a single product; stands in the place of the first of them.

    The weights are stored by columns, so that a product with a single row runs through memory in runs as long as all
    outputs together, which reads them at nearly twice the rate.

    Args:
        layers: with the same input, all with a bias or all without.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        rows = torch.cat([layer.weight.detach() for layer in layers])
        self.register_buffer("weight", rows.t().contiguous().t(), persistent=False)
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.register_buffer("bias", torch.cat(biases) if biases else None, persistent=False)
        self.sizes = [layer.out_features for layer in layers]

    def forward_together(self, x: Tensor, layers: Sequence[nn.Module]) -> Sequence[Tensor]:
        """Return every layer's output for x ``[..., in]``; the seam of :func:`stickgen.model.layers.read_together`."""
        return F.linear(x, self.weight, self.bias).split(self.sizes, dim=-1)  # type: ignore[arg-type]


def stepping_copy(model: Model) -> Model:
    """Return a copy that computes what the model does, but for rounding, and steps faster.

    Adapters that are switched on are merged, those that are switched off left out. Tensors that need not change are
    shared, so the copy is for use at once: it does not follow later changes to the model, nor may it be trained.

    Args:
        model: a :class:`~stickgen.model.StickFigureTransformer`, with adapters or without; it is left as it is.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    made = copy.deepcopy(model, shared).eval()
    _merge(made)
    for layer in made.get_submodule("transformer_encoder.layers").children():
        for name in ("norm1", "norm2"):
            setattr(layer, name, _fused(layer.get_submodule(name)))  # type: ignore[arg-type]
        for block, names in READ_TOGETHER:
            parent = layer.get_submodule(block)
            joined = [parent.get_submodule(name) for name in names]
            if all(type(linear) is nn.Linear for linear in joined):
                setattr(parent, names[0], JoinedLinear(joined))  # type: ignore[arg-type]
    return made


def _fused(norm: nn.RMSNorm) -> nn.RMSNorm:
    """Return PyTorch's own norm, which a subclass with a backward pass of its own replaces in training."""
    fused = nn.RMSNorm(norm.normalized_shape, eps=norm.eps, elementwise_affine=False)
    fused.weight = norm.weight
    return fused


def _merge(model: nn.Module) -> None:
    """Merge or leave out each adapter, in place."""
    for path, layer in adapted_layers(model).items():
        if not layer.enabled:
            replace_module(model, path, layer.to_linear())
        # Beside weights narrower than the adapter's, the sum would round the update away: such layers stay as they are.
        elif layer.weight.dtype == layer.lora_A.dtype:
            merged = layer.weight.detach().double() + layer.delta_weight()
            replace_module(model, path, layer.to_linear(merged.to(layer.weight.dtype)))
