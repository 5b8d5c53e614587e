"""How commands name models: ``label=path``, with weights of adapters, and sums of them."""

import math
from dataclasses import dataclass
from pathlib import Path

from stickgen.errors import ConfigError


@dataclass(frozen=True)
class Weighted:
    """A model's path, and how much of it is applied.

    Attributes:
        path: of a whole model, or of an adapter.
        weights: one, or one for each part of a prompt.
    """

    path: Path
    weights: tuple[float, ...] = (1.0,)

    def __str__(self) -> str:
        weights = ",".join(f"{weight:g}" for weight in self.weights)
        return str(self.path) if self.weights == (1.0,) else f"{self.path}={weights}"


def weighted_paths(name: str) -> list[Weighted]:
    """Return the adapters that a name sums: ``a=0.6+b=0.4``, or a path alone.

    Args:
        name: a path, ``path=0.6``, ``path=1,0`` with a weight for each part of a prompt, or several of them with a +
            between them. A path that exists is taken as it is, whatever signs it contains.

    Raises:
        ConfigError: a weight is not finite.
    """
    first, *rest = name.split("+")
    if rest and not Path(name).exists() and _weighted(first).path.exists():
        return [_weighted(one) for one in (first, *rest)]
    return [_weighted(name)]


def label_and_path(model: str) -> tuple[str, str]:
    """Return the label and the path of a model that a command names, bare or as ``label=path``.

    A bare path, also one with a = in it as in a sweep's folder or before a weight, is its own label.

    Raises:
        ConfigError: there is a label, and no path.
    """
    label, given, path = model.partition("=")
    labelled = given and "/" not in label and not weighted_paths(model)[0].path.exists()
    if labelled and not path:
        raise ConfigError(f"{model}: a path expected after the =")
    return (label, path) if labelled else (model, model)


def by_part(name: str) -> list[str]:
    """Return the names of the models for each part of a prompt; one for all parts where no weight changes.

    Raises:
        ConfigError: adapters have weights for different numbers of parts.
    """
    adapters = weighted_paths(name)
    counts = sorted({len(one.weights) for one in adapters} - {1}) or [1]
    if len(counts) > 1:
        raise ConfigError(f"{name}: weights for {counts[0]} and for {counts[1]} parts; give each adapter as many")
    if counts == [1]:
        return [name]
    return [
        "+".join(str(Weighted(one.path, (one.weights[part if len(one.weights) > 1 else 0],))) for one in adapters)
        for part in range(counts[0])
    ]


def _weighted(text: str) -> Weighted:
    head, given, tail = text.rpartition("=")
    if not given or Path(text).exists() or not Path(head).exists():
        return Weighted(Path(text))
    try:
        weights = tuple(float(weight) for weight in tail.split(","))
    except ValueError:
        return Weighted(Path(text))
    if not all(math.isfinite(weight) for weight in weights):
        raise ConfigError(f"{text}: a weight such as 0.6 expected after the =")
    return Weighted(Path(head), weights)
