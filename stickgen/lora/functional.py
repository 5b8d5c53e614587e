"""The adapted layers' arithmetic, written for weights that are frozen.

Plain autograd keeps a dropped copy of the input and a mask for every adapter. Here the layers that read one input share
one dropped input, and only that, its mask and the rank-sized products are kept.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from stickgen.dropout import keep_mask, kept


def lora_linears(
    x: Tensor,
    layers: Sequence[tuple[Tensor, Tensor | None, Tensor, Tensor]],
    scaling: float,
    dropout: float,
) -> tuple[Tensor, ...]:
    """Return ``x Wᵀ + b + scaling · dropout(x) Aᵀ Bᵀ`` for every layer, with one dropped x for all.

    Args:
        x: ``[..., in]``.
        layers: weight ``[out, in]``, bias ``[out]`` or None, lora_A ``[rank, in]``, lora_B ``[out, rank]``; weight
            and bias get no gradient. Ranks may differ.
        scaling: of every update.
        dropout: probability of dropping an entry of x in the adapters' path.

    Returns:
        one ``[..., out]`` a layer, in x's dtype, or in that of an active autocast.
    """
    mask, keep = keep_mask(x.shape, dropout, x.device, _dtype(x))
    tensors = [tensor for layer in layers for tensor in layer]
    return _LoRALinears.apply(x, mask, scaling * keep, *tensors)


class _LoRALinears(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor | None, scale: float, *tensors: Tensor) -> tuple[Tensor, ...]:
        dtype = _dtype(x)
        weights, biases, down, up = (tensors[i::4] for i in range(4))
        x_cast = x.to(dtype)
        rows = x.shape.numel() // x.shape[-1]
        flat = x_cast.reshape(rows, x.shape[-1])
        flat_mask = None if mask is None else mask.view_as(flat)
        dropped = flat if flat_mask is None else kept(flat, flat_mask)
        inner = dropped @ _stacked(down, dtype).T
        inner *= scale
        outputs = []
        for weight, bias, b, part in zip(weights, biases, up, _parts(inner, down), strict=True):
            # On x as it came: the base's part is then the same to the last bit as without an adapter.
            y = F.linear(x_cast, weight.to(dtype), None if bias is None else bias.to(dtype))
            y.view(rows, y.shape[-1]).addmm_(part, b.to(dtype).T)
            outputs.append(y)
        ctx.save_for_backward(dropped, flat_mask, inner, *tensors)
        ctx.scale = scale
        ctx.x_dtype, ctx.x_shape = x.dtype, x.shape
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dropped, mask, inner, *tensors = ctx.saved_tensors
        weights, down, up = tensors[0::4], tensors[2::4], tensors[3::4]
        dtype = dropped.dtype
        flat_grads = [grad.reshape(dropped.shape[0], grad.shape[-1]) for grad in grads]
        # Turned round: with the long dimension on the right, the product is three times as fast.
        grad_up = [(part.T @ g).T for g, part in zip(flat_grads, _parts(inner, down), strict=True)]
        grad_inner = torch.cat([g @ b.to(dtype) for g, b in zip(flat_grads, up, strict=True)], dim=1)
        grad_inner *= ctx.scale
        grad_down = _parts(grad_inner.T @ dropped, down, dim=0)
        grad_x = None
        if ctx.needs_input_grad[0]:  # nothing before the first adapter needs any
            total = grad_inner @ _stacked(down, dtype)
            if mask is not None:
                total = kept(total, mask, out=total)
            for g, weight in zip(flat_grads, weights, strict=True):
                total.addmm_(g, weight.to(dtype))
            grad_x = total.view(ctx.x_shape).to(ctx.x_dtype)
        by_layer = [
            (None, None, grad_a.to(a.dtype), grad_b.to(b.dtype))
            for grad_a, a, grad_b, b in zip(grad_down, down, grad_up, up, strict=True)
        ]
        return grad_x, None, None, *(grad for of_layer in by_layer for grad in of_layer)


def _dtype(x: Tensor) -> torch.dtype:
    """Return what the products are computed in."""
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


def _stacked(down: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """All layers' lora_A as one, ``[sum of ranks, in]``: their thin products are then a single one."""
    return torch.cat([a.to(dtype) for a in down])


def _parts(stacked: Tensor, down: Sequence[Tensor], dim: int = 1) -> Sequence[Tensor]:
    """Cut what is stacked by rank into the layers' own."""
    return stacked.split([a.shape[0] for a in down], dim)
