"""The layer of plain LoRA (Hu et al. 2021, arXiv:2106.09685)."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.lora.adapted import AdaptedLinear, PeftWords, linear
from stickgen.lora.functional import lora_linears

LORA_WORDS = PeftWords(
    peft_type="LORA",
    settings={"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "use_rslora": "use_rslora"},
    tensors={"lora_A": "lora_A.weight", "lora_B": "lora_B.weight"},
    marks={"use_dora": False},
    others={"bias": "none", "fan_in_fan_out": False, "init_lora_weights": True},
)


class LoRALinear(AdaptedLinear):
    """A frozen Linear layer and the low-rank update that is trained beside it.

    ``y = W x + b + scaling · B A dropout(x)`` with ``scaling = alpha / rank``, or ``alpha / √rank`` when
    rank-stabilised (Kalajdzievski 2023, arXiv:2312.03732).

    Shapes: x ``[..., in]``, y ``[..., out]``; ``lora_A [rank, in]`` starts Kaiming-uniform (a = √5) and
    ``lora_B [out, rank]`` zero, so that training starts from the base's function. Arguments: see
    :class:`~stickgen.lora.AdaptedLinear`.
    """

    KIND: ClassVar[str] = "lora"
    FACTORS: ClassVar[Mapping[str, tuple[str, ...]]] = {"lora_A": ("rank", "in"), "lora_B": ("out", "rank")}
    PEFT: ClassVar[PeftWords | None] = LORA_WORDS

    lean: bool = True
    """Whether to compute by :mod:`stickgen.lora.functional`: the same function, with less kept for the backward pass.
    False follows the formula step by step, which can also be differentiated twice."""

    def __init__(
        self, linear: nn.Linear, rank: int, alpha: float, dropout: float = 0.0, *, use_rslora: bool = False
    ) -> None:
        super().__init__(linear, rank, alpha, dropout, use_rslora=use_rslora)
        self.lora_A = self.new_factor(rank, self.in_features)
        self.lora_B = self.new_factor(self.out_features, rank)
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``y [..., out]`` for ``x [..., in]``."""
        if not self.enabled:
            return F.linear(x, self.weight, self.bias)
        if self.lean:  # what follows, computed with less memory
            return self.forward_together(x, [self])[0]
        A, B = self.thin(self.factors())
        update = linear(linear(self.dropped(x), A), B)
        return linear(x, self.weight, self.bias) + self.scaling * update

    @classmethod
    def thin(cls, factors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return ``A [rank, in]`` and ``B [out, rank]``."""
        return factors["lora_A"], factors["lora_B"]

    @staticmethod
    def forward_together(x: Tensor, layers: Sequence[nn.Module]) -> Sequence[Tensor]:
        """Return every layer's output for the one input they all read, ``x [..., in]``.

        Adapted layers of the same settings share the dropped input of their adapters; each alone computes what it
        would by itself.
        """
        first, *others = cast("Sequence[LoRALinear]", layers)
        if not (first.lean and first.enabled and all(first._shares_input_with(other) for other in others)):
            return [layer(x) for layer in layers]
        tensors = [(layer.weight, layer.bias, *layer.thin(layer.factors())) for layer in (first, *others)]
        return lora_linears(x, tensors, first.scaling, first.dropout if first.training else 0.0)

    def _shares_input_with(self, other: nn.Module) -> bool:
        """Whether another layer's adapter can share this one's dropped input and scaling."""
        settings = ("lean", "enabled", "scaling", "dropout", "training", "in_features")
        return type(other) is type(self) and all(getattr(self, s) == getattr(other, s) for s in settings)
