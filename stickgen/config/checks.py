"""A value that cannot work is refused, and its key named."""

import math
from dataclasses import fields
from typing import Any

from stickgen.errors import ConfigError


def check(key: str, value: Any, good: bool, expected: str) -> None:
    """Refuse a value that is not good, naming its key and what is expected.

    Raises:
        ConfigError: ``good`` is false.
    """
    if not good:
        raise ConfigError(f"{key}={value}: {expected} expected")


def check_loss_weights(key: str, weights: Any) -> None:
    """Refuse a dataclass of weights, under ``key``, of which one is negative or not finite.

    Raises:
        ConfigError: see above.
    """
    for term in fields(weights):
        value = getattr(weights, term.name)
        check(f"{key}.{term.name}", value, math.isfinite(value) and value >= 0, "0 or more")
