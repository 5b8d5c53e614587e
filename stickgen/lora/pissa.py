"""Adapters of principal singular directions (Meng et al. 2024, arXiv:2404.02948)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from stickgen.adapter_settings import LoRASettings
from stickgen.lora.adapted import PeftWords
from stickgen.lora.layer import LoRALinear
from stickgen.lora.targets import module_paths


class PiSSALinear(LoRALinear):
    """A frozen Linear layer whose low-rank update starts as the principal part of its weight.

    ``y = W x + b + scaling · (B A − B₀ A₀) dropout(x)``. With W = U S Vᵀ, the factors start as
    ``A₀ = (S / scaling)^½ Vᵀ`` and ``B₀ = U (S / scaling)^½``, cut to the rank's largest singular values. The paper
    subtracts ``scaling · B₀ A₀`` from W; here W stays as it is, for the base must come back bit for bit.

    Training starts from the base's function, but for rounding. ``initial_A [rank, in]`` and ``initial_B [out, rank]``
    stay fixed. Ranks beyond the number of directions start as those of LoRA.

    Files hold it as LoRA of twice the rank: ``[B, −B₀] [A; A₀]``, as PEFT converts its own.
    """

    KIND: ClassVar[str] = "pissa"
    FACTORS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **LoRALinear.FACTORS,
        "initial_A": ("rank", "in"),
        "initial_B": ("out", "rank"),
    }
    PEFT: ClassVar[PeftWords | None] = None

    def __init__(
        self, linear: nn.Linear, rank: int, alpha: float, dropout: float = 0.0, *, use_rslora: bool = False
    ) -> None:
        super().__init__(linear, rank, alpha, dropout, use_rslora=use_rslora)
        count = min(rank, *self.weight.shape)
        with torch.no_grad():
            left, values, right = torch.linalg.svd(self.weight.to(self.factor_dtype), full_matrices=False)
            root = (values[:count] / self.scaling).sqrt()
            self.lora_A[:count] = root[:, None] * right[:count]
            self.lora_B[:, :count] = left[:, :count] * root
        self.initial_A = nn.Parameter(self.lora_A.detach().clone(), requires_grad=False)
        self.initial_B = nn.Parameter(self.lora_B.detach().clone(), requires_grad=False)

    @classmethod
    def thin(cls, factors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return ``[A; A₀]``, ``[2 rank, in]``, and ``[B, −B₀]``, ``[out, 2 rank]``."""
        down = torch.cat((factors["lora_A"], factors["initial_A"]))
        return down, torch.cat((factors["lora_B"], -factors["initial_B"]), dim=1)

    @classmethod
    def as_saved(cls, state: Mapping[str, Tensor], settings: LoRASettings) -> tuple[Mapping[str, Tensor], LoRASettings]:
        """Return the adapter as plain LoRA of twice the rank."""
        made: dict[str, Tensor] = {}
        for path in module_paths(state):
            down, up = cls.thin({name: state[f"{path}.{name}"] for name in cls.FACTORS})
            made |= {f"{path}.lora_A": down, f"{path}.lora_B": up}
        # Twice the rank would divide the update by two, or by √2.
        more = 2**0.5 if settings.use_rslora else 2
        return made, replace(
            settings,
            kind=LoRALinear.KIND,
            rank=2 * settings.rank,
            alpha=more * settings.alpha,
            rank_pattern={pattern: 2 * rank for pattern, rank in settings.rank_pattern.items()},
            alpha_pattern={pattern: more * alpha for pattern, alpha in settings.alpha_pattern.items()},
        )
