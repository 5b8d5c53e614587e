"""Rotation and norm of the transformer; the norm has a backward pass of its own.

In plain operations, a norm keeps several copies of its input for the backward pass. The formulas are the plain ones.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

RotaryTable = tuple[Tensor, Tensor]
"""Of every position's angles the cosines, twice, and the sines, negated and as they are: each ``[L, head_dim]``."""


def rotate(x: Tensor, table: RotaryTable) -> Tensor:
    """Turn queries or keys ``[B, H, L, head_dim]`` by their positions' angles.

    Rotate-half convention: entry i of the first half and entry i of the second are the two coordinates of a plane.
    """
    cos, sin = (part.to(x.dtype) for part in table)
    return (x * cos).addcmul_(x.roll(x.shape[-1] // 2, dims=-1), sin)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Return ``x / √(mean(x²) + eps) · weight`` over the last dimension of ``[..., d]`` (arXiv:1910.07467).

    The mean is taken in float32 at least; only x and one number a row are kept.
    """
    return _RMSNorm.apply(x, weight, eps) if torch.is_grad_enabled() else _normed(x, weight, eps)[0]


class _RMSNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        out, scale = _normed(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, scale = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * x).mul_(scale).flatten(0, -2).sum(0)
        if ctx.needs_input_grad[0]:
            grad_x = grad * weight
            along = (grad_x * x).sum(-1, keepdim=True).mul_(scale**3).div_(-x.shape[-1])
            grad_x.mul_(scale).addcmul_(x, along)
        return grad_x, grad_weight, None


def _normed(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    width = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=width)
    scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)
    return (x * scale).mul_(weight), scale
