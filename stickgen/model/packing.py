"""Clips of several lengths as one run of positions, without the padding that makes them a rectangle.

What a layer does to each position alone then costs nothing for padding, in a training step as in its backward pass.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def packed(x: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the positions ``[N, d]`` of clips ``[B, L, d]`` one after the other, of each as many as its length."""
    return _Packed.apply(x, lengths)


def unpacked(x: Tensor, lengths: Sequence[int], longest: int) -> Tensor:
    """Return clips ``[B, longest, d]``, zero in their padding, from their positions ``[N, d]``."""
    return _Unpacked.apply(x, lengths, longest)


class _Packed(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: Sequence[int]) -> Tensor:
        ctx.lengths, ctx.longest = lengths, x.shape[1]
        return _joined(x, lengths)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _spread(grad, ctx.lengths, ctx.longest), None


class _Unpacked(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, lengths: Sequence[int], longest: int) -> Tensor:
        ctx.lengths = lengths
        return _spread(x, lengths, longest)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _joined(grad, ctx.lengths), None, None


def _joined(x: Tensor, lengths: Sequence[int]) -> Tensor:
    return torch.cat([clip[:length] for clip, length in zip(x, lengths, strict=True)])


def _spread(x: Tensor, lengths: Sequence[int], longest: int) -> Tensor:
    out = x.new_zeros(len(lengths), longest, x.shape[-1])
    for clip, positions in zip(out, x.split(list(lengths)), strict=True):
        clip[: len(positions)] = positions
    return out
