"""The settings of adapters, for the command line, files and library calls; without torch."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from stickgen.errors import AdapterError

Value = TypeVar("Value", int, float)

KINDS = {"lora": "LoRA", "dora": "DoRA", "pissa": "PiSSA", "loha": "LoHa"}
"""Every kind of adapter, and what people call it; :mod:`stickgen.lora.kinds` has the classes."""


@dataclass
class LoRASettings:
    """How adapters are built; :class:`~stickgen.lora.LoRALinear` explains the values."""

    rank: int = 8
    """Rank of the updates."""
    alpha: float = 16.0
    """Numerator of the scaling alpha / rank."""
    dropout: float = 0.05
    """Probability of dropping an input of the adapter path."""
    use_rslora: bool = False
    """Scale updates by alpha / √rank instead of alpha / rank (Kalajdzievski 2023, arXiv:2312.03732)."""
    kind: str = "lora"
    """lora, dora, pissa or loha: what is trained beside each weight (docs/adapters.md)."""
    rank_pattern: dict[str, int] = field(default_factory=dict)
    """Ranks of single layers, by a regular expression for the end of their path, as in PEFT; the first match holds."""
    alpha_pattern: dict[str, float] = field(default_factory=dict)
    """Alphas of single layers, likewise."""

    def __str__(self) -> str:
        """Return the settings for people: "rank 8, alpha 16, dropout 0.05, DoRA"."""
        options = {
            "rank-stabilised": self.use_rslora,
            KINDS[self.kind]: self.kind != LoRASettings.kind,
            "other ranks in some layers": bool(self.rank_pattern),
            "other alphas in some layers": bool(self.alpha_pattern),
        }
        values = [f"rank {self.rank}", f"alpha {self.alpha:g}", f"dropout {self.dropout:g}"]
        return ", ".join(values + [name for name, used in options.items() if used])

    def rank_of(self, path: str) -> int:
        """Return a layer's rank."""
        return _first_match(self.rank_pattern, path, self.rank)

    def alpha_of(self, path: str) -> float:
        """Return a layer's alpha."""
        return _first_match(self.alpha_pattern, path, self.alpha)

    def scaling_of(self, path: str) -> float:
        """Return what a layer's B A is multiplied by."""
        rank = self.rank_of(path)
        return self.alpha_of(path) / (math.sqrt(rank) if self.use_rslora else rank)

    def check(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            ValueError: a value is out of its range, or a pattern is not a regular expression. The message begins with
                the setting's name.
        """
        ranks = {"rank": self.rank, **{f"rank_pattern.{key}": rank for key, rank in self.rank_pattern.items()}}
        for name, rank in ranks.items():
            if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
                raise ValueError(f"{name}={rank}: a whole number of at least 1 expected")
        alphas = {"alpha": self.alpha, **{f"alpha_pattern.{key}": alpha for key, alpha in self.alpha_pattern.items()}}
        for name, alpha in alphas.items():
            if not (math.isfinite(alpha) and alpha > 0):
                raise ValueError(f"{name}={alpha}: a number above 0 expected")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: a number from 0 up to, not including, 1 expected")
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind}: one of {', '.join(KINDS)} expected")
        for name in ("rank_pattern", "alpha_pattern"):
            for pattern in getattr(self, name):
                try:
                    re.compile(pattern)
                except (re.error, RecursionError, OverflowError) as error:
                    raise ValueError(f"{name} {pattern!r}: not a regular expression: {error}") from None

    def refuse_unmatched(self, paths: Iterable[str]) -> None:
        """Refuse patterns that name none of the layers: they would be passed over in silence.

        Raises:
            AdapterError: the message names the pattern.
        """
        paths = list(paths)
        for name in ("rank_pattern", "alpha_pattern"):
            for pattern in getattr(self, name):
                if not any(_matches(pattern, path) for path in paths):
                    raise AdapterError(f"{name} {pattern!r} matches the path of no adapted layer, such as {paths[0]}")

    @classmethod
    def of_layers(
        cls, ranks: Mapping[str, int], alphas: Mapping[str, float], others: "LoRASettings | None" = None
    ) -> "LoRASettings":
        """Return settings that give layers, by path, exactly these ranks and alphas.

        Args:
            ranks: of at least one layer.
            alphas: of the same layers.
            others: what else is set; None: the defaults.
        """
        rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, alphas))
        return replace(
            others or cls(),
            rank=int(rank),
            alpha=float(alpha),
            rank_pattern={_exactly(path): value for path, value in ranks.items() if value != rank},
            alpha_pattern={_exactly(path): value for path, value in alphas.items() if value != alpha},
        )


def _first_match(patterns: Mapping[str, Value], path: str, otherwise: Value) -> Value:
    return next((value for pattern, value in patterns.items() if _matches(pattern, path)), otherwise)


def _matches(pattern: str, path: str) -> bool:
    return re.fullmatch(rf"(.*\.)?({pattern})", path) is not None


def _exactly(path: str) -> str:
    """Return a pattern for this path alone, and not for others that end like it."""
    return "^" + re.escape(path)
