"""Text of files that others made: JSON and YAML within limits, since a small file can ask for all memory and time."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

MAX_DEPTH = 64
"""Levels of lists and objects in each other; stickgen's own files have six."""

MAX_DIGITS = 300
"""Digits of a number: more are beyond a float64."""

MAX_YAML_BYTES = 2**20
"""A run's settings take some kilobytes."""

MAX_TENSORS = 20_000
"""Tensors in a file; the largest base has some hundreds."""

MAX_UNPACKED_BYTES = 2**33
"""What the arrays of an archive may take in memory together."""

FPS_RANGE = (1.0, 1000.0)
"""Frames a second that a recording may have; resampling takes memory by their ratio."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")
_LONG_NUMBER = re.compile(rf"[0-9]{{{MAX_DIGITS + 1},}}")


def parse_json(text: str) -> Any:
    """Return what a JSON text says.

    Raises:
        ValueError: it is none, or beyond the limits of this module; the message is one line.
    """
    try:
        content = json.loads(text, parse_int=_whole_number)
        _check_depth(content)
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels deep") from None
    if _ESCAPED.search(text) or _SURROGATE.search(text):
        for part in _texts(content):
            check_text(part)
    return content


def parse_yaml(text: str) -> Any:
    """Return the plain values of a YAML text, interpolations as they stand.

    Raises:
        ValueError: it is none, has aliases, or is beyond the limits of this module; the message is one line.
    """
    # Here, since --help needs neither.
    import yaml  # type: ignore[import-untyped]
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if len(text) > MAX_YAML_BYTES:
        raise ValueError(f"{len(text)} characters; at most {MAX_YAML_BYTES} expected")
    if _LONG_NUMBER.search(text):
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"line {event.start_mark.line + 1}: an alias (*{event.anchor}); write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise ValueError(f"more than {MAX_DEPTH} levels deep")
        content = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels deep") from None
    except (yaml.YAMLError, OmegaConfBaseException, TypeError, AssertionError) as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None
    for part in _texts(content):
        check_text(part)
    return content


def refuse_interpolations(content: Any) -> None:
    """Refuse plain settings that would have to be resolved: an interpolation can read this machine's environment.

    Raises:
        ValueError: there is one; the message names it.
    """
    for part in _texts(content):
        if "${" in part:
            raise ValueError(f"an interpolation, {part[:80]!r}; a recorded setting is a plain value")


def check_text(text: str) -> None:
    """Refuse text that no file can hold.

    Raises:
        ValueError: it has half of a surrogate pair.
    """
    if _SURROGATE.search(text):
        raise ValueError(f"{text[:80]!r}: not valid Unicode (half of a surrogate pair)")


def check_archive(path: Path, most_files: int = MAX_TENSORS, *, stored: bool = False) -> None:
    """Refuse a zip archive that unpacks to more than it should, before anything in it is read.

    Args:
        path: the archive.
        most_files: files that it may hold.
        stored: refuse compressed files, which PyTorch does not write.

    Raises:
        ValueError: it does, or it is no archive.
    """
    try:
        with ZipFile(path) as archive:
            files = archive.infolist()
    except (BadZipFile, NotImplementedError, LookupError) as error:
        raise ValueError(str(error)) from None
    if len(files) > most_files:
        raise ValueError(f"holds {len(files)} files; at most {most_files} expected")
    unpacked = sum(file.file_size for file in files)
    if stored and any(file.compress_type != 0 for file in files):
        raise ValueError("holds compressed tensors, which PyTorch does not write")
    if not stored and unpacked > MAX_UNPACKED_BYTES:
        raise ValueError(f"unpacks to {unpacked / 2**30:.1f} GiB; at most {MAX_UNPACKED_BYTES >> 30} expected")


def check_fps(fps: float) -> None:
    """Refuse a rate that no recording has.

    Raises:
        ValueError: it lies outside :data:`FPS_RANGE`.
    """
    low, high = FPS_RANGE
    if not low <= fps <= high:
        raise ValueError(f"{fps:g} frames a second: {low:g} to {high:g} expected")


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _check_depth(content: Any) -> None:
    level: list[Any] = [content]
    for _ in range(MAX_DEPTH + 1):
        level = [part for whole in level if isinstance(whole, dict | list) for part in _parts(whole)]
        if not level:
            return
    raise ValueError(f"more than {MAX_DEPTH} levels deep")


def _parts(whole: Any) -> Iterable[Any]:
    return whole.values() if isinstance(whole, dict) else whole


def _texts(content: Any) -> Iterator[str]:
    """Yield every text in plain values, keys too."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            waiting.extend(part.keys())
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)
