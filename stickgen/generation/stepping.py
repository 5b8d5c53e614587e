"""A copy of a model, laid out for reading one position at a time.

A step of a few rows is no matrix product but a pass over the weights: what counts is how many bytes are read, by how
many threads, and how many small operations lie between. So adapters are merged, and where it is faster, products go
through a kernel that divides a weight among the threads.
"""

import copy
import math
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.lora import adapted_layers
from stickgen.lora.inject import replace_module

Model = TypeVar("Model", bound=nn.Module)

BLOCKS = 8
"""Parts of a weight, each a thread's work; a layer whose outputs they do not divide has fewer."""

FEW_ROWS = 8
"""Rows up to which the parts are faster than the usual product, which has enough to divide then."""


def has_few_rows(x: Tensor) -> bool:
    """Return whether the rows ``[..., in]`` are multiplied in parts, to a result that is the same on any threads.

    The kind of CPU decides, not a measurement: the two products round differently, and a repeat is to give the same
    motion. docs/performance.md has the times of both products on CPUs with and without AVX-512.
    """
    usual_is_slow = x.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() != "AVX512"
    return usual_is_slow and x.dtype == torch.float32 and x.numel() <= FEW_ROWS * x.shape[-1]


class FewRowsLinear(nn.Linear):
    """A Linear layer whose product with a few rows runs on all threads of a CPU.

    The usual product of one row runs on a single thread, at a third of the rate at which memory can be read. A batch of
    products, one for each part of the weight's rows, is divided among the threads; no number is stored anew.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``W x + b``, ``[..., out]`` for ``[..., in]``."""
        if not has_few_rows(x):
            return F.linear(x, self.weight, self.bias)
        blocks = math.gcd(BLOCKS, self.out_features)
        columns = x.reshape(-1, self.in_features).t()
        made = torch.bmm(self.weight.unflatten(0, (blocks, -1)), columns.expand(blocks, -1, -1))
        out = made.flatten(0, 1).t().unflatten(0, x.shape[:-1])
        return out if self.bias is None else out + self.bias


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
    for module in made.modules():
        if type(module) is nn.Linear:
            module.__class__ = FewRowsLinear
    return made


def _merge(model: nn.Module) -> None:
    """Merge or leave out each adapter, in place."""
    for path, layer in adapted_layers(model).items():
        if not layer.enabled:
            replace_module(model, path, layer.to_linear())
        # Beside weights narrower than the adapter's, the sum would round the update away: such layers stay as they are.
        elif layer.weight.dtype == layer.factor_dtype:
            merged = layer.weight.detach() + layer.delta_weight(layer.weight.dtype)
            replace_module(model, path, layer.to_linear(merged))
