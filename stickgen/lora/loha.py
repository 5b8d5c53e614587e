"""Adapters of Hadamard products (Hyeon-Woo et al. 2021, arXiv:2108.06098; LoHa in LyCORIS and PEFT)."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.adapter_settings import LoRASettings
from stickgen.lora.adapted import AdaptedLinear, PeftWords, linear
from stickgen.lora.targets import module_paths


class LoHaLinear(AdaptedLinear):
    """A frozen Linear layer and an update that is the elementwise product of two low-rank matrices.

    ``y = W x + b + scaling · ((W₁ₐ W₁ᵦ) ⊙ (W₂ₐ W₂ᵦ)) dropout(x)``: with twice the numbers of LoRA, its rank is up to
    the square.

    Shapes: x ``[..., in]``, y ``[..., out]``; ``hada_w1_a`` and ``hada_w2_a`` ``[out, rank]``, ``hada_w1_b`` and
    ``hada_w2_b`` ``[rank, in]``. As in PEFT, all start Kaiming-uniform (a = √5) but ``hada_w2_b``, which is zero. PEFT
    has neither dropout of the input nor rank-stabilised scaling for it; in files, alpha accounts for the latter.
    """

    KIND: ClassVar[str] = "loha"
    FACTORS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "hada_w1_a": ("out", "rank"),
        "hada_w1_b": ("rank", "in"),
        "hada_w2_a": ("out", "rank"),
        "hada_w2_b": ("rank", "in"),
    }
    PEFT: ClassVar[PeftWords | None] = PeftWords(
        peft_type="LOHA",
        settings={"rank": "r", "alpha": "alpha"},
        tensors={name: name for name in FACTORS},
        others={"init_weights": True, "module_dropout": 0.0, "rank_dropout": 0.0, "use_effective_conv2d": False},
    )

    def __init__(
        self, linear: nn.Linear, rank: int, alpha: float, dropout: float = 0.0, *, use_rslora: bool = False
    ) -> None:
        super().__init__(linear, rank, alpha, dropout, use_rslora=use_rslora)
        self.hada_w1_a = self.new_factor(self.out_features, rank)
        self.hada_w1_b = self.new_factor(rank, self.in_features)
        self.hada_w2_a = self.new_factor(self.out_features, rank)
        self.hada_w2_b = self.new_factor(rank, self.in_features)
        for factor in (self.hada_w1_a, self.hada_w1_b, self.hada_w2_a):
            nn.init.kaiming_uniform_(factor, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``y [..., out]`` for ``x [..., in]``."""
        if not self.enabled:
            return F.linear(x, self.weight, self.bias)
        delta = self.scaling * (self.hada_w1_a @ self.hada_w1_b) * (self.hada_w2_a @ self.hada_w2_b)
        return linear(x, self.weight, self.bias) + linear(self.dropped(x), delta)

    @classmethod
    def thin(cls, factors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return factors ``[rank², in]`` and ``[out, rank²]``.

        ``(W₁ₐ W₁ᵦ) ⊙ (W₂ₐ W₂ᵦ)`` is the product of all pairs of columns, multiplied, and all pairs of rows.
        """
        down = torch.einsum("ri,si->rsi", factors["hada_w1_b"], factors["hada_w2_b"])
        up = torch.einsum("or,os->ors", factors["hada_w1_a"], factors["hada_w2_a"])
        return down.flatten(0, 1), up.flatten(1)

    def delta_weight(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return ``scaling · (W₁ₐ W₁ᵦ) ⊙ (W₂ₐ W₂ᵦ)``, ``[out, in]`` in ``dtype``."""
        w1_a, w1_b, w2_a, w2_b = (factor.detach().to(dtype) for factor in self.factors().values())
        return (w1_a @ w1_b).mul_(w2_a @ w2_b).mul_(self.scaling)

    @classmethod
    def as_saved(cls, state: Mapping[str, Tensor], settings: LoRASettings) -> tuple[Mapping[str, Tensor], LoRASettings]:
        """Return the adapter without dropout, scaled by alpha / rank."""
        settings = replace(settings, dropout=0.0)
        if not settings.use_rslora:
            return state, settings
        ranks = {path: settings.rank_of(path) for path in module_paths(state)}
        alphas = {path: rank * settings.scaling_of(path) for path, rank in ranks.items()}
        return state, LoRASettings.of_layers(ranks, alphas, replace(settings, use_rslora=False))
