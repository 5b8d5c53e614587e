"""Weighted sums of adapters as one adapter, exactly or in fewer ranks."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from stickgen.adapter_settings import LoRASettings
from stickgen.errors import AdapterError
from stickgen.lora.kinds import KINDS
from stickgen.lora.targets import module_paths


class AdapterWeights(Protocol):
    """An adapter apart from any model."""

    @property
    def state(self) -> Mapping[str, Tensor]:
        """Its tensors, as of :func:`~stickgen.lora.get_lora_state_dict`."""

    @property
    def settings(self) -> LoRASettings:
        """Its settings."""


_PLAIN = LoRASettings(dropout=0.0)
"""What a sum has besides ranks and alphas."""


@dataclass(frozen=True)
class Combination:
    """An adapter made of others.

    Attributes:
        state: as of :func:`~stickgen.lora.get_lora_state_dict`.
        settings: alpha is the rank in every layer, so that the updates are B A.
        errors: by layer, what was lost: the Frobenius norm of the difference over that of the exact update. Empty where
            nothing was.
        error: likewise, of all layers together.
    """

    state: dict[str, Tensor]
    settings: LoRASettings
    errors: dict[str, float] = field(default_factory=dict)
    error: float = 0.0


def combine_adapters(adapters: Sequence[AdapterWeights], weights: Sequence[float]) -> Combination:
    """Return the adapter whose update is the weighted sum of the adapters' updates, exactly.

    The factors are put beside each other along the rank: ``Σ wᵢ sᵢ Bᵢ Aᵢ = [w₁ s₁ B₁ … wₙ sₙ Bₙ] [A₁; …; Aₙ]``. (The
    mean of the factors themselves is another thing.) Ranks add up; a layer that only some adapters have gets theirs.

    Args:
        adapters: of one base, of any kind whose updates can be summed.
        weights: as many; they need not add up to one.

    Raises:
        AdapterError: a weight is not finite, their number is not the adapters', they sum to zero, an adapter that has a
            weight is of a kind that cannot be summed, as DoRA, or they are of layers of different shapes.
    """
    check_weights(weights, len(adapters))
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        if weight == 0:
            continue
        kind = KINDS[adapter.settings.kind]
        if kind.INDIVISIBLE:
            raise AdapterError(
                f"a {kind.title()} adapter {kind.INDIVISIBLE} and cannot be weighted or summed; use it alone"
            )
        for path in module_paths(adapter.state):
            down, up = kind.thin({name: adapter.state[f"{path}.{name}"] for name in kind.FACTORS})
            up = up.double() * (weight * adapter.settings.scaling_of(path))
            others = parts.setdefault(path, [])
            if others and (others[0][0].shape[1], len(others[0][1])) != (down.shape[1], len(up)):
                raise AdapterError(
                    f"{path}: one adapter is of a layer {len(others[0][1])} × {others[0][0].shape[1]}, another of "
                    f"{len(up)} × {down.shape[1]}; adapters of different bases have no sum"
                )
            others.append((down, up.float()))
    factors = {path: (torch.cat([a for a, _ in p]), torch.cat([b for _, b in p], dim=1)) for path, p in parts.items()}
    return _combination(factors)


def truncate_adapter(adapter: AdapterWeights, rank: int) -> Combination:
    """Return the adapter of at most that rank in every layer which comes closest, by singular values.

    The best approximation in the Frobenius norm (Eckart & Young 1936), taken from the thin factors alone; the result
    tells what it loses.

    Raises:
        AdapterError: the rank is no whole number of at least 1, or the adapter is of a kind that cannot be summed.
    """
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise AdapterError(f"rank={rank}: a whole number of at least 1 expected")
    exact = combine_adapters([adapter], [1.0])
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    lost: dict[str, float] = {}
    whole: dict[str, float] = {}
    for path in module_paths(exact.state):
        down, up = exact.state[f"{path}.lora_A"], exact.state[f"{path}.lora_B"]
        q_up, r_up = torch.linalg.qr(up.double())
        q_down, r_down = torch.linalg.qr(down.double().T)
        left, values, right = torch.linalg.svd(r_up @ r_down.T)
        whole[path], lost[path] = (float(part.square().sum()) for part in (values, values[rank:]))
        if len(down) > rank:
            root = values[:rank].sqrt()
            count = len(root)
            up = (q_up @ left[:, :count] * root).float()
            down = (root[:, None] * (right[:count] @ q_down.T)).float()
        factors[path] = (down, up)
    errors = {path: math.sqrt(lost[path] / whole[path]) if whole[path] else 0.0 for path in factors}
    total = sum(whole.values())
    return _combination(factors, errors, math.sqrt(sum(lost.values()) / total) if total else 0.0)


def check_weights(weights: Sequence[float], count: int) -> None:
    """Refuse weights that no sum can be meant by.

    Raises:
        AdapterError: their number is not ``count``, one is not finite, or they sum to zero.
    """
    shown = ", ".join(f"{weight:g}" for weight in weights)
    if len(weights) != count:
        raise AdapterError(f"weights [{shown}]: {count} expected, one an adapter")
    if not all(math.isfinite(weight) for weight in weights):
        raise AdapterError(f"weights [{shown}]: finite numbers expected")
    if abs(sum(weights)) <= 1e-9 * sum(map(abs, weights)):
        raise AdapterError(f"weights [{shown}]: they sum to zero; what is left would be no mixture of the adapters")


def _combination(
    factors: Mapping[str, tuple[Tensor, Tensor]], errors: dict[str, float] | None = None, error: float = 0.0
) -> Combination:
    state: dict[str, Tensor] = {}
    for path, (down, up) in factors.items():
        state |= {f"{path}.lora_A": down.contiguous(), f"{path}.lora_B": up.contiguous()}
    ranks = {path: len(down) for path, (down, _) in factors.items()}
    settings = LoRASettings.of_layers(ranks, {path: float(rank) for path, rank in ranks.items()}, _PLAIN)
    return Combination(state, settings, errors or {}, error)
