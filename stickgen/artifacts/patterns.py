"""Regular expressions of files that others made, tried first in a process that can be ended."""

import functools
import json
import re
import subprocess
import sys
from collections.abc import Iterable

import torch

from stickgen.model import StickFigureTransformer

MAX_SECONDS = 5.0
"""How long all patterns of a file may take on all paths; those of real adapters take milliseconds."""

MAX_LENGTH = 20_000
"""Characters of all patterns together."""

_PLAIN = re.compile(r"\^?(?:[\w.-]|\\\.)*\$?")
"""What cannot go wrong: letters, dots and anchors, as in the paths that stickgen writes."""

_TRIAL = """
import json, re, sys
patterns, paths = json.load(sys.stdin)
for pattern in patterns:
    for way in ("{}", r"(.*\\.)?({})", r"(?:^|.*?\\.){}\\.(?P<idx>\\d+)\\."):
        compiled = re.compile(way.replace("{}", pattern))
        for path in paths:
            compiled.fullmatch(path), compiled.match(path)
"""


def check_patterns(patterns: Iterable[str], further: Iterable[str] = ()) -> None:
    """Refuse regular expressions that take too long, or cannot be compiled, in any way that PEFT's rules use them.

    Python's own engine can take exponential time; what it has done once in another process, it does again in this.

    Args:
        patterns: expressions.
        further: what they will be compared with, beside the paths of a base's layers.

    Raises:
        ValueError: the message is one line.
    """
    tried = [pattern for pattern in patterns if not _PLAIN.fullmatch(pattern)]
    if sum(map(len, tried)) > MAX_LENGTH:
        raise ValueError(f"regular expressions of {sum(map(len, tried))} characters; at most {MAX_LENGTH} expected")
    if tried:
        _try(tuple(dict.fromkeys(tried)), tuple(dict.fromkeys((*base_paths(), *further))))


@functools.lru_cache(maxsize=64)
def _try(patterns: tuple[str, ...], paths: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _TRIAL],
            input=json.dumps([patterns, paths]).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=MAX_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ValueError(f"regular expression {patterns[0][:60]!r} takes too long to compare with names") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["refused"]
        raise ValueError(f"regular expression {patterns[0][:60]!r}: {reason[0]}")


@functools.cache
def base_paths() -> tuple[str, ...]:
    """Return the paths of the layers of a large base, which stand for those of any."""
    with torch.device("meta"):
        model = StickFigureTransformer(num_layers=10, d_model=32, nhead=2)
    return tuple(name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear))
