"""Dropout whose masks are cheap to draw on a CPU.

A Bernoulli draw for every entry takes a fifth of a training step there. Four entries are decided here by one 64-bit
random number, at a seventh of the cost, and a mask is kept in one byte an entry, or two for entries of two bytes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_LEVELS = 2**16
"""Dropout probabilities are multiples of one part in so many: a random 16-bit number an entry decides."""


def keep_mask(
    shape: torch.Size, probability: float, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[Tensor | None, float]:
    """Draw which entries dropout keeps.

    Args:
        shape: of the entries.
        probability: of dropping one; rounded to a multiple of 2⁻¹⁶.
        device: where to draw.
        dtype: of the entries. The draw does not depend on it.

    Returns:
        mask of that shape for :func:`kept`, None where nothing is dropped, and the factor that keeps the mean.
    """
    dropped = min(round(probability * _LEVELS), _LEVELS - 1)
    if dropped == 0:
        return None, 1.0
    count = shape.numel()
    words = torch.empty((count + 3) // 4, dtype=torch.int64, device=device).random_(-(2**63), None)
    drawn, least = words.view(torch.int16)[:count], dropped - _LEVELS // 2
    mask = drawn.ge_(least) if dtype.itemsize == 2 else drawn >= least
    return mask.view(shape), _LEVELS / (_LEVELS - dropped)


def kept(x: Tensor, mask: Tensor, out: Tensor | None = None) -> Tensor:
    """Return x with zeros where the mask has them; into ``out``, which may be x itself, where it is given."""
    if mask.dtype == torch.int16 and x.dtype.itemsize == 2:
        # The bits of half a word times one or zero: nothing is widened, which takes twice as long as the product.
        made = torch.mul(x.view(torch.int16), mask, out=None if out is None else out.view(torch.int16))
        return made.view(x.dtype)
    # Not a product: that would first widen the mask to x's type, which takes as long again.
    return torch.where(mask.bool(), x, x.new_zeros(()), out=out)


class Dropout(nn.Dropout):
    """``nn.Dropout``, drawn with :func:`keep_mask` on a CPU and by PyTorch's own kernel elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x itself in evaluation mode, and otherwise with entries dropped and the mean kept."""
        if x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        mask, keep = keep_mask(x.shape, self.p if self.training else 0.0, x.device, x.dtype)
        return x if mask is None else _Dropped.apply(x, mask, keep)


class _Dropped(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, keep: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.keep = keep
        return kept(x, mask).mul_(keep)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return kept(grad, mask).mul_(ctx.keep), None, None
