"""Scaled dot-product attention, with a kernel of our own where PyTorch's is slow: dropout or bfloat16 on a CPU."""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from stickgen.dropout import keep_mask, kept

_ROWS = 64
"""The sequence is padded to a multiple, since a CPU's softmax and products are several times as fast on rows of whole
vectors."""

_CACHED = 2**21
"""Bytes of attention weights that are worked on at once. On a core with 2 MiB of cache, 1 and 3 MiB took 1.1 times as
long with clips of 250 frames. Dropout's draws depend on it, so it does not depend on the machine."""


def attention(
    query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, causal: bool, dropout: float
) -> Tensor:
    """Return ``dropout(softmax(Q Kᵀ / √head_dim)) V``, ``[B, H, L, head_dim]``, laid out as ``[B, L, H, head_dim]``.

    Args:
        query: ``[B, H, L, head_dim]``.
        key: ``[B, H, keys, head_dim]``; so is value. Causal: as many as there are queries.
        value: see key.
        visible: bool, broadcast to ``[B, H, L, keys]``, True where a key may be seen; None where all may. Not with
            ``causal``.
        causal: position i sees positions 0 to i only.
        dropout: probability of dropping an attention weight.
    """
    blocks = query.shape == key.shape and (visible is None or visible.shape[1:3] == (1, 1))
    if blocks and query.device.type == "cpu" and (dropout > 0 or query.dtype == torch.bfloat16):
        return _BlockAttention.apply(query, key, value, visible, causal, dropout)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout, is_causal=causal)


class _BlockAttention(Function):
    """Works by blocks of clips and queries. It keeps only the masks of attention weights, and computes them again."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None, causal: bool, dropout: float
    ) -> Tensor:
        batch, heads, length, size = query.shape
        q, k, v = _padded(query, query.shape[-1] ** -0.5), _padded(key), _padded(value)
        hidden = _hidden_keys(visible, causal, length, q)
        out = query.new_empty(batch, length, heads, size).transpose(1, 2)
        masks: list[Tensor | None] = []
        ctx.keep = 1.0
        for clips, each, rows, seen in _blocks(q, heads, causal):
            weights = _weights(q[each, rows], k[each, seen], hidden, clips)
            mask, ctx.keep = keep_mask(weights.shape, dropout, weights.device, weights.dtype)
            masks.append(mask)
            if mask is not None:
                weights = kept(weights, mask, out=weights)
            attended = torch.bmm(weights, v[each, seen]).unflatten(0, (-1, heads))
            out[clips, :, rows] = attended[:, :, : length - rows.start]  # the last rows may be padding
        ctx.save_for_backward(q, k, v, hidden, *masks)
        ctx.causal, ctx.shape = causal, query.shape
        return out if ctx.keep == 1 else out.mul_(ctx.keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, hidden, *masks = ctx.saved_tensors
        grad = _padded(grad, ctx.keep)
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        batch, heads, length, size = ctx.shape
        for (clips, each, rows, seen), mask in zip(_blocks(q, heads, ctx.causal), masks, strict=True):
            weights = _weights(q[each, rows], k[each, seen], hidden, clips)
            grad_weights = torch.bmm(grad[each, rows], v[each, seen].mT)
            if mask is None:
                dropped = weights
            else:
                dropped = kept(weights, mask)
                grad_weights = kept(grad_weights, mask, out=grad_weights)
            grad_v[each, seen] += torch.bmm(dropped.mT, grad[each, rows])
            grad_scores = torch.ops.aten._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_q[each, rows] = torch.bmm(grad_scores, k[each, seen])
            grad_k[each, seen] += torch.bmm(grad_scores.mT, q[each, rows])
        grad_q.mul_(size**-0.5)
        by_head = (part.unflatten(0, (batch, -1))[:, :, :length] for part in (grad_q, grad_k, grad_v))
        return *by_head, None, None, None


def _padded(x: Tensor, scale: float = 1.0) -> Tensor:
    """Return ``[B, H, L, size]``, scaled, as ``[B·H, L rounded up to whole blocks, size]``, zero beyond L."""
    batch, heads, length, size = x.shape
    padded = x.new_empty(batch, heads, -(-length // _ROWS) * _ROWS, size)
    torch.mul(x, scale, out=padded[:, :, :length])
    padded[:, :, length:] = 0
    return padded.flatten(0, 1)


def _hidden_keys(visible: Tensor | None, causal: bool, length: int, like: Tensor) -> Tensor:
    """Return what is added to scores, −∞ where a key is hidden.

    Causal: ``[1, 1, rows, rows]``, for a block's own positions; those before them are all seen, padding never is.
    Otherwise ``[B or 1, 1, 1, padded L]``.
    """
    if causal:
        rows = _rows(like.shape[1])
        hidden = torch.ones(1, 1, rows, rows, dtype=torch.bool, device=like.device).triu_(1)
    else:
        hidden = torch.ones(1 if visible is None else len(visible), 1, 1, like.shape[1], dtype=torch.bool)
        hidden[..., :length] = False if visible is None else ~visible
    return torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -math.inf)


def _rows(length: int) -> int:
    """Return how many queries a block has, of a padded length.

    Larger blocks are fewer operations, smaller ones leave out more of what causality forbids.
    """
    return 2 * _ROWS if length % (2 * _ROWS) == 0 else _ROWS


def _blocks(q: Tensor, heads: int, causal: bool) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Yield each block's clips, their heads in ``q [B·H, padded L, size]``, its queries and the keys they may see."""
    length, rows = q.shape[1], _rows(q.shape[1])
    clips = max(1, _CACHED // (heads * rows * length * q.itemsize))
    for first in range(0, q.shape[0], clips * heads):
        each = slice(first, min(first + clips * heads, q.shape[0]))
        for start in range(0, length, rows):
            end = start + rows
            yield (
                slice(first // heads, each.stop // heads),
                each,
                slice(start, end),
                slice(0, end if causal else length),
            )


def _weights(q: Tensor, k: Tensor, hidden: Tensor, clips: slice) -> Tensor:
    """Return the softmax for queries ``[clips·H, rows, size]``, scaled, over keys ``[clips·H, seen, size]``."""
    scores = torch.bmm(q, k.mT)
    hidden = hidden[clips] if len(hidden) > 1 else hidden
    scores.unflatten(0, (len(hidden), -1))[..., -hidden.shape[-1] :] += hidden
    return torch.softmax(scores, dim=-1, dtype=scores.dtype)
