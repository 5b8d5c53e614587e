"""What the adapters of a model have in common, and which of them differ."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from stickgen.errors import AdapterError

Value = TypeVar("Value", int, float)


@dataclass(frozen=True)
class LoRASettings:
    """How adapters are built; :class:`~stickgen.lora.LoRALinear` says what the values mean.

    Attributes:
        rank: of every update that no pattern names.
        alpha: likewise.
        dropout: probability of dropping an input of the adapter path.
        use_rslora: scale by alpha / √rank.
        use_dora: train magnitudes too, as :class:`~stickgen.lora.DoRALinear`.
        rank_pattern: ranks of single layers, by a regular expression for the end of their path: PEFT's rule. The first
            that matches holds.
        alpha_pattern: alphas, likewise.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    use_rslora: bool = False
    use_dora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the settings for people: "rank 8, alpha 16, dropout 0.05, DoRA"."""
        options = {
            "rank-stabilised": self.use_rslora,
            "DoRA": self.use_dora,
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
            ValueError: a rank, an alpha or the dropout is out of its range, or a pattern is no regular expression.
        """
        for rank in (self.rank, *self.rank_pattern.values()):
            if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
                raise ValueError(f"rank={rank}: a whole number of at least 1 expected")
        for alpha in (self.alpha, *self.alpha_pattern.values()):
            if not (math.isfinite(alpha) and alpha > 0):
                raise ValueError(f"alpha={alpha}: a number above 0 expected")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: a number from 0 up to, not including, 1 expected")
        for pattern in (*self.rank_pattern, *self.alpha_pattern):
            try:
                re.compile(pattern)
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(f"pattern {pattern!r}: not a regular expression: {error}") from None

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
