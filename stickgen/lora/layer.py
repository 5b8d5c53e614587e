"""The adapted Linear layer."""

import math
from collections.abc import Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.lora.functional import lora_linears
from stickgen.lora.settings import LoRASettings


class LoRALinear(nn.Module):
    """A frozen Linear layer and the low-rank update that is trained beside it.

    ``y = W x + b + scaling · B A dropout(x)`` with ``scaling = alpha / rank``, or ``alpha / √rank`` when
    rank-stabilised (Kalajdzievski 2023, arXiv:2312.03732).

    Shapes: x ``[..., in]``, y ``[..., out]``; ``weight [out, in]`` and ``bias [out]`` are the wrapped layer's own
    tensors under their own names, so a base's state dict keeps its keys; ``lora_A [rank, in]`` starts
    Kaiming-uniform (a = √5) and ``lora_B [out, rank]`` zero, so that training starts from the base's function.

    Args:
        linear: the layer to adapt; its parameters are shared, not copied, and frozen.
        rank: rank of the update, at least 1.
        alpha: numerator of the scaling, above 0.
        dropout: probability of dropping an input of the adapter path, in training mode; from 0 up to but not
            including 1.
        use_rslora: scale by alpha / √rank.

    Raises:
        ValueError: a setting is out of its range.
    """

    FACTORS: ClassVar[tuple[str, ...]] = ("lora_A", "lora_B")
    """Names of the parameters that are trained; what a file of adapters holds of every layer."""

    bias: nn.Parameter | None

    def __init__(
        self, linear: nn.Linear, rank: int, alpha: float, dropout: float = 0.0, *, use_rslora: bool = False
    ) -> None:
        super().__init__()
        LoRASettings(rank, alpha, dropout).check()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.rank = rank
        self.alpha = float(alpha)
        self.dropout = dropout
        self.use_rslora = use_rslora
        self.scaling = alpha / math.sqrt(rank) if use_rslora else alpha / rank
        self.enabled = True
        """Whether the update is applied; without it the layer computes exactly what the wrapped one did."""

        self.weight = linear.weight.requires_grad_(False)
        self.bias = linear.bias
        if self.bias is not None:
            self.bias.requires_grad_(False)
        # Adapters are trained in float32 even beside a base kept in bfloat16: updates of 1e-4 would round away.
        device, dtype = linear.weight.device, torch.promote_types(linear.weight.dtype, torch.float32)
        self.lora_A = nn.Parameter(torch.empty(rank, self.in_features, device=device, dtype=dtype))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank, device=device, dtype=dtype))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``y [..., out]`` for ``x [..., in]``."""
        return self.forward_together(x, [self])[0]

    @staticmethod
    def forward_together(x: Tensor, layers: Sequence[nn.Module]) -> Sequence[Tensor]:
        """Return every layer's output for the one input they all read, ``x [..., in]``.

        Adapted layers of the same settings share the dropped input of their adapters; each alone computes what it
        would by itself.
        """
        first, *others = layers
        if isinstance(first, LoRALinear) and first.enabled and all(first._matches(other) for other in others):
            adapted = cast("Sequence[LoRALinear]", layers)
            dropout = first.dropout if first.training else 0.0
            tensors = [(layer.weight, layer.bias, layer.lora_A, layer.lora_B) for layer in adapted]
            return lora_linears(x, tensors, first.scaling, dropout)
        if others:
            return [layer(x) for layer in layers]
        return [F.linear(x, cast("Tensor", first.weight), cast("Tensor | None", first.bias))]

    def _matches(self, other: nn.Module) -> bool:
        """Whether another layer's adapter can share this one's dropped input and scaling."""
        settings = ("enabled", "scaling", "dropout", "training", "in_features")
        return type(other) is type(self) and all(getattr(self, s) == getattr(other, s) for s in settings)

    def delta_weight(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return ``scaling · B A``, ``[out, in]`` in ``dtype``: the change that merging makes to the weight."""
        return (self.lora_B.detach().to(dtype) @ self.lora_A.detach().to(dtype)).mul_(self.scaling)

    def to_linear(self, weight: Tensor | None = None) -> nn.Linear:
        """Return a plain layer: the wrapped one again, or one with another ``weight [out, in]``."""
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        linear.weight = nn.Parameter(self.weight if weight is None else weight, requires_grad=False)
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias, requires_grad=False)
        return linear.train(self.training)

    def extra_repr(self) -> str:
        """Return the settings, for ``print(model)``."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"rank={self.rank}, alpha={self.alpha:g}, dropout={self.dropout:g}"
        )
