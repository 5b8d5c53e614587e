"""Which layers a PEFT configuration means; what PEFT's ``check_target_module_exists`` decides, without PEFT."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from stickgen.errors import CheckpointError

_ALL = "all-linear"


def compare_targets(config: Mapping[str, Any], modules: Iterable[str], where: Path, weights: Path) -> None:
    """Refuse a folder whose files do not speak of the same layers: PEFT runs with fewer adapters, and only warns.

    Args:
        config: the content of adapter_config.json.
        modules: paths of the layers that the tensors are of.
        where: that file, for messages.
        weights: the tensors' file, likewise.

    Raises:
        CheckpointError: a target module has no tensors, tensors are of none, or what names the targets is of a wrong
            type, no regular expression, or goes with nothing else that is there.
    """
    _check(config, where)
    modules = list(modules)
    for module in modules:
        if not is_target(config, module):
            raise CheckpointError(f"{weights}: holds {module}, no target module in {where.name}")
    targets = config.get("target_modules")
    for target in targets if isinstance(targets, list) else ():
        if not any(_ends_with(module, [target]) for module in modules):
            raise CheckpointError(f"{weights}: holds no {target}, a target module in {where.name}")


def target_patterns(config: Mapping[str, Any], where: Path) -> list[str]:
    """Return the regular expressions by which a PEFT configuration chooses layers.

    Raises:
        CheckpointError: what names the targets is of a wrong type, or no regular expression.
    """
    _check(config, where)
    below = config.get("layers_pattern") or []
    named = [
        config.get("target_modules"),
        config.get("exclude_modules"),
        *([below] if isinstance(below, str) else below),
    ]
    return [pattern for pattern in named if isinstance(pattern, str)]


def lacking(config: Mapping[str, Any], linears: Iterable[str], modules: Iterable[str]) -> list[str]:
    """Return the layers of a model that a PEFT configuration targets, and an adapter has no tensors of.

    Args:
        config: the content of adapter_config.json.
        linears: paths of the model's Linear layers.
        modules: paths of the layers that the adapter has tensors of.
    """
    targets = config.get("target_modules")
    if targets is None or (isinstance(targets, str) and targets.lower() == _ALL):
        return []  # which layers those are depends on PEFT's own lists
    there = set(modules)
    return [path for path in linears if path not in there and is_target(config, path)]


def is_target(config: Mapping[str, Any], module: str) -> bool:
    """Return whether a PEFT configuration targets the layer of this path.

    A list names paths or their ends; a string is a regular expression for the whole path, or "all-linear". Excluded
    modules are told likewise. Where a name in a list is the end of a path, ``layers_to_transform`` can restrict it to
    blocks of some numbers, below a name of ``layers_pattern``.
    """
    excluded, targets = config.get("exclude_modules"), config.get("target_modules")
    if excluded and _names(excluded, module):
        return False
    if targets is None or (isinstance(targets, str) and targets.lower() == _ALL):
        return True
    if not _names(targets, module):
        return False
    numbers = config.get("layers_to_transform")
    if isinstance(targets, str) or module in targets or numbers in (None, []):
        return True
    return _block(config.get("layers_pattern"), module) in (numbers if isinstance(numbers, list) else [numbers])


def _names(targets: str | list[str], module: str) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, module) is not None
    return _ends_with(module, targets)


def _ends_with(module: str, names: Iterable[str]) -> bool:
    return any(f".{module}".endswith(f".{name}") for name in names)


def _block(patterns: str | list[str] | None, module: str) -> int | None:
    """Return the number of the first block that a layer lies in: any, or one below a name that matches a pattern."""
    below = [patterns] if isinstance(patterns, str) and patterns else patterns
    ways = [rf"(?:^|.*?\.){pattern}" for pattern in below] if below else [r".*?\.[^.]*"]
    found = (re.match(rf"{way}\.(?P<idx>\d+)\.", module) for way in ways)
    return next((int(match["idx"]) for match in found if match), None)


def _check(config: Mapping[str, Any], where: Path) -> None:
    for key in ("target_modules", "exclude_modules", "layers_pattern"):
        value = config.get(key)
        names = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise CheckpointError(f"{where}: {key}={value!r}: a regular expression, or names in a list, expected")
        for name in names if isinstance(value, str) or key == "layers_pattern" else ():
            try:
                re.compile(name)
            except (re.error, RecursionError, OverflowError) as error:
                raise CheckpointError(f"{where}: {key}={name!r}: not a regular expression: {error}") from None
    numbers = config.get("layers_to_transform")
    blocks = numbers if isinstance(numbers, list) else [] if numbers is None else [numbers]
    if not all(type(number) is int for number in blocks):
        raise CheckpointError(f"{where}: layers_to_transform={numbers!r}: numbers of blocks expected")
    if isinstance(config.get("target_modules"), str) and numbers is not None:
        raise CheckpointError(
            f"{where}: layers_to_transform goes with a list of target_modules, not with an expression"
        )
    if config.get("layers_pattern") and numbers is None:
        raise CheckpointError(f"{where}: layers_pattern goes with layers_to_transform, which is not there")
