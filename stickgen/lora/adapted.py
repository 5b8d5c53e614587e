"""What all kinds of adapted layers have in common."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.adapter_settings import KINDS, LoRASettings
from stickgen.dropout import keep_mask, kept


@dataclass(frozen=True)
class PeftWords:
    """How PEFT's files name a kind of adapter and its parts.

    Attributes:
        peft_type: the entry of that name in adapter_config.json.
        settings: our settings that PEFT has, and its names for them.
        tensors: the factors, and PEFT's names for them below a layer's path.
        marks: entries, true or false, that distinguish this kind from others of the same type; a missing one is false.
        others: further entries that are written.
    """

    peft_type: str
    settings: Mapping[str, str]
    tensors: Mapping[str, str]
    marks: Mapping[str, bool] = field(default_factory=dict)
    others: Mapping[str, Any] = field(default_factory=dict)


class AdaptedLinear(nn.Module):
    """A frozen Linear layer and an update of its weight that is trained beside it.

    A kind of adapter is a subclass that :mod:`stickgen.lora.kinds` lists. Its constructor makes the factors; it defines
    :meth:`forward`, :meth:`thin` and, where the update is not ``scaling`` times their product, :meth:`delta_weight`.

    ``weight [out, in]`` and ``bias [out]`` are the wrapped layer's own tensors under their own names, so a base's state
    dict keeps its keys.

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

    KIND: ClassVar[str]
    """The kind's name, one of :data:`~stickgen.adapter_settings.KINDS`."""

    FACTORS: ClassVar[Mapping[str, tuple[str, ...]]]
    """Names of the tensors that a state of adapters holds for every layer, and their dimensions: rank, in or out."""

    PEFT: ClassVar[PeftWords | None] = None
    """How PEFT's files name the kind; None for a kind that :meth:`as_saved` turns into another."""

    INDIVISIBLE: ClassVar[str] = ""
    """Why the update cannot be weighted or summed, for messages: "changes …"; empty where it can be."""

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
        self.train(linear.training)

    @classmethod
    def title(cls) -> str:
        """Return what people call the kind."""
        return KINDS[cls.KIND]

    @property
    def factor_dtype(self) -> torch.dtype:
        """The precision of the factors: float32 even beside a base in bfloat16, where updates of 1e-4 round away."""
        return torch.promote_types(self.weight.dtype, torch.float32)

    def new_factor(self, *shape: int) -> nn.Parameter:
        """Return a factor of this shape to be trained, of zeros, beside the weight."""
        return nn.Parameter(torch.zeros(*shape, device=self.weight.device, dtype=self.factor_dtype))

    def dropped(self, x: Tensor) -> Tensor:
        """Return ``x̃ = dropout(x)``, the input of the adapter path."""
        mask, keep = keep_mask(x.shape, self.dropout if self.training else 0.0, x.device)
        return x if mask is None else kept(x, mask) * keep

    @staticmethod
    def forward_together(x: Tensor, layers: Sequence[nn.Module]) -> Sequence[Tensor]:
        """Return every layer's output for the one input they all read, ``x [..., in]``."""
        return [layer(x) for layer in layers]

    @classmethod
    def thin(cls, factors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the update as thin factors: ``[n, in]`` and ``[out, n]``, whose product ``scaling`` multiplies.

        Args:
            factors: a layer's tensors by the names in :attr:`FACTORS`.
        """
        raise NotImplementedError

    def factors(self) -> dict[str, Tensor]:
        """Return the layer's own tensors by the names in :attr:`FACTORS`."""
        return {name: getattr(self, name) for name in self.FACTORS}

    def row_gain(self) -> Tensor | None:
        """Return what multiplies the rows of the updated weight, ``[out]``; None where nothing does."""
        return None

    def delta_weight(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return the change that merging makes to the weight, ``[out, in]`` in ``dtype``."""
        down, up = self.thin({name: value.detach().to(dtype) for name, value in self.factors().items()})
        return (up @ down).mul_(self.scaling)

    @classmethod
    def as_saved(cls, state: Mapping[str, Tensor], settings: LoRASettings) -> tuple[Mapping[str, Tensor], LoRASettings]:
        """Return an adapter as files hold it: as it is, or as one of another kind that computes the same.

        Args:
            state: of this kind, as of :func:`~stickgen.lora.get_lora_state_dict`.
            settings: its settings.
        """
        return state, settings

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


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x Wᵀ + b`` in the precision of x."""
    return F.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
