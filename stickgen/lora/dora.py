"""Weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv:2402.09353)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.dropout import keep_mask, kept
from stickgen.lora.adapted import AdaptedLinear, PeftWords
from stickgen.lora.layer import LORA_WORDS, LoRALinear


class DoRALinear(LoRALinear):
    """A frozen Linear layer whose rows are trained by length and, through a low-rank update, by direction.

    ``y = W x + b + (c − 1) · W x̃ + c · scaling · B A x̃`` with ``x̃ = dropout(x)`` and ``c = m / ‖W + scaling · B A‖``,
    row by row; without dropout that is ``c · (W + scaling · B A) x + b``. The norm is a constant in the backward pass
    (section 4.3 of the paper). PEFT computes it in the same way.

    The lengths m, ``lora_magnitude_vector [out]``, start as those of W's rows, so that training starts from the base's
    function, but for rounding. Everything else is :class:`LoRALinear`'s.
    """

    KIND: ClassVar[str] = "dora"
    FACTORS: ClassVar[Mapping[str, tuple[str, ...]]] = {**LoRALinear.FACTORS, "lora_magnitude_vector": ("out",)}
    PEFT: ClassVar[PeftWords | None] = replace(
        LORA_WORDS,
        tensors={**LORA_WORDS.tensors, "lora_magnitude_vector": "lora_magnitude_vector"},
        marks={"use_dora": True},
    )
    INDIVISIBLE: ClassVar[str] = "changes the lengths of rows too"

    def __init__(
        self, linear: nn.Linear, rank: int, alpha: float, dropout: float = 0.0, *, use_rslora: bool = False
    ) -> None:
        super().__init__(linear, rank, alpha, dropout, use_rslora=use_rslora)
        self.lora_magnitude_vector = nn.Parameter(self.weight.to(self.factor_dtype).norm(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``y [..., out]`` for ``x [..., in]``."""
        weight = self.weight.to(x.dtype)
        if not self.enabled:
            return F.linear(x, weight, self.bias)
        mask, keep = keep_mask(x.shape, self.dropout if self.training else 0.0, x.device)
        dropped = x if mask is None else kept(x, mask) * keep
        turned = F.linear(dropped, weight)
        plain = turned if mask is None else F.linear(x, weight)
        update = F.linear(F.linear(dropped, self.lora_A.to(x.dtype)), self.lora_B.to(x.dtype))
        gain = self.row_gain()
        # c − 1 is small, and taken before it is rounded to what the products are computed in.
        y = plain + (gain - 1).to(plain.dtype) * turned + (gain * self.scaling).to(plain.dtype) * update
        return y if self.bias is None else y + self.bias.to(y.dtype)

    forward_together = staticmethod(AdaptedLinear.forward_together)

    def row_gain(self) -> Tensor:
        """Return c, ``[out]``: what the rows of ``W + scaling · B A`` are multiplied by."""
        with torch.no_grad():
            turned = torch.addmm(self.weight.to(self.lora_A.dtype), self.lora_B, self.lora_A, alpha=self.scaling)
            # A row of zeros has no direction; its length is zero too, and so it stays.
            norm = turned.norm(dim=1).clamp_min(torch.finfo(turned.dtype).tiny)
        return self.lora_magnitude_vector / norm

    def delta_weight(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return ``c · (W + scaling · B A) − W``, ``[out, in]`` in ``dtype``: the change that merging makes."""
        weight = self.weight.detach().to(dtype)
        turned = weight + super().delta_weight(dtype)
        norm = turned.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
        return self.lora_magnitude_vector.detach().to(dtype).unsqueeze(1) / norm * turned - weight
