"""Which Linear layers a list of target names means."""

import difflib
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn

from stickgen.errors import AdapterError
from stickgen.lora.adapted import AdaptedLinear


def match_targets(model: nn.Module, target_modules: Iterable[str], layers: Iterable[int] | None = None) -> list[str]:
    """Return the paths of the Linear layers that the targets name, in the model's order, each once.

    A target is one or more names joined by dots that stand, in that order and without a gap, anywhere in a module
    path: ``transformer_encoder`` means every Linear below it, ``q_proj`` every layer of that name,
    ``self_attn.out_proj`` and ``transformer_encoder.layers.0`` what they say. Each name may hold the wildcards of
    file names: ``layers.[0-3].self_attn.*``.

    Args:
        model: any module.
        target_modules: the targets.
        layers: of modules inside numbered blocks, such as ``transformer_encoder.layers.3.ffn.gate_proj``, take only
            those in blocks of these numbers. -1 means the last block in which targets lie. Negative numbers that count
            past the first are ignored, so that one list serves models of any depth. What lies in no block, such as
            ``pose_decoder.0``, is not concerned (PEFT leaves it out). None: all.

    Raises:
        AdapterError: the list is empty, a target names no Linear layer, a number no block, or the negative numbers none
            of the blocks. The message lists near matches, or, for a regular expression that matches layers, the
            targets that mean the same layers.
    """
    targets = list(dict.fromkeys(target_modules))
    if not targets:
        raise AdapterError("target modules: the list is empty; name at least one")
    paths = [name for name, module in model.named_modules() if name and isinstance(module, nn.Linear | AdaptedLinear)]
    matched: set[str] = set()
    for target in targets:
        hits = {path for path in paths if _names(target, path)}
        if not hits:
            raise AdapterError(no_match(target, paths))
        matched |= hits
    found = [path for path in paths if path in matched]
    return found if layers is None else _in_blocks(found, set(layers))


def module_paths(state: Iterable[str]) -> list[str]:
    """Return the paths of the layers that the keys of an adapter's state name, each once and in their order."""
    return list(dict.fromkeys(key.rpartition(".")[0] for key in state))


def _in_blocks(paths: list[str], wanted: set[int]) -> list[str]:
    blocks = {path: _block(path) for path in paths}
    there = sorted({number for number in blocks.values() if number is not None})
    numbers = {there[number] if number < 0 else number for number in wanted if number >= -len(there)}
    if not there and (numbers or not wanted):
        raise AdapterError(f"layers {sorted(wanted)}: the targets lie in no numbered block; set layers to null")
    if there and not (numbers and numbers <= set(there)):
        raise AdapterError(f"layers {sorted(wanted)}: the targets lie in layers {', '.join(map(str, there))}")
    return [path for path, number in blocks.items() if number is None or number in numbers]


def _block(path: str) -> int | None:
    """Return the number of the outermost numbered block that a module lies in."""
    return next((int(name) for name in path.split(".")[:-1] if name.isdecimal()), None)


def _names(target: str, path: str) -> bool:
    wanted, parts = target.split("."), path.split(".")
    return any(
        all(fnmatchcase(part, pattern) for part, pattern in zip(parts[at:], wanted, strict=False))
        for at in range(len(parts) - len(wanted) + 1)
    )


def no_match(target: str, paths: list[str]) -> str:
    """Return what to say of a target that is none of a model's Linear layers, whose paths these are."""
    if not paths:
        return f"target module {target!r}: the model has no Linear layer below it"
    names = dict.fromkeys(part for path in paths for part in (path, *path.split(".")))
    same = _counterpart(target, paths)
    near = same or difflib.get_close_matches(target, names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(_top_level(paths))}"
    if same and not re.fullmatch(r"[\w.]+", target):
        hint = f"as a regular expression it means [{', '.join(same)}]; write these names"
    return f"target module {target!r} matches no Linear layer of the model; {hint}"


def _counterpart(pattern: str, paths: list[str]) -> list[str]:
    """Return the targets for the layers that a regular expression of stick-gen means: those with a match in their path.

    Returns an empty list if the pattern is no regular expression, matches no layer, or could take long to compare.
    Targets may come from other people's files, so at most three repetitions are tried, and no repeated groups.
    """
    if not pattern or len(pattern) > 200 or len(re.findall(r"[*+{?]", pattern)) > 3 or re.search(r"\)[*+{?]", pattern):
        return []
    pattern = pattern.replace(r"\\", "\\")  # as copied from a YAML file; no module's name has a backslash
    try:
        meant = {path for path in paths if re.search(pattern, path)}
    except (re.error, RecursionError, OverflowError):
        return []
    # The pattern as file names write it, such as layers.*.self_attn for layers\\.\\d+\\.self_attn.
    plain = re.sub(r"(\\d|\[0-9\])\+?", "*", pattern).replace("\\.", ".").strip("^$.")
    candidates = dict.fromkeys([plain, *(window for path in paths if path in meant for window in _windows(path))])
    covers = {name: hits for name in candidates if (hits := {path for path in paths if _names(name, path)}) <= meant}
    found: list[str] = []
    while missing := meant - {path for name in found for path in covers[name]}:
        found.append(
            max(
                covers,
                key=lambda name: (len(covers[name] & missing), plain in name, not name[0].isdigit(), -name.count(".")),
            )
        )
    return found


def _windows(path: str) -> list[str]:
    """Return every part of a path that is a target."""
    parts = path.split(".")
    return [".".join(parts[i:j]) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)]


def _top_level(paths: list[str]) -> list[str]:
    return list(dict.fromkeys(path.split(".")[0] for path in paths))
