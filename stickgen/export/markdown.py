"""Text of a run's files in Markdown, and in code that a reader will paste: escaped and quoted."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

_SPECIAL = re.compile(r"[\\`*\[\]<>|~$]|(?<![^\W_])_|_(?![^\W_])|^(?=[#+-])")


class Markdown(str):
    """Text that is Markdown already, and not to be escaped."""


def plain(text: Any) -> str:
    """Return text as Markdown shows it, on one line; what is :class:`Markdown` already is left as it is."""
    if isinstance(text, Markdown):
        return text
    line = " ".join(str(text).split()).replace("&", "&amp;")
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", line)


def code_span(text: str) -> Markdown:
    """Return text as code within a line, also within a table."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if "`" in line else ""
    return Markdown(f"{fence}{space}{line}{space}{fence}".replace("|", "\\|"))


def python_string(text: str) -> str:
    """Return text as a literal of Python."""
    return json.dumps(text)


def shell_command(*words: str) -> str:
    """Return words as one line of a shell, each an argument of its own."""
    return shlex.join(" ".join(word.split()) for word in words)


def recorded_command(command: str) -> str:
    """Return a command from a run's files as one that runs nothing else, without a machine's folders."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quote of a caption's
        words = command.split()
    return shell_command(*map(_without_folders, words))


def _without_folders(word: str) -> str:
    """Return a word with absolute paths cut to their last names: a machine's folders are not for the public."""
    return re.sub(r"(?:^|(?<=[\s=\[,'\"]))/(?:[^/\s,\]'\"]+/)*", "", word)


def table(rows: Mapping[str, Any]) -> str:
    """Return a table of two columns; what is None or empty is left out."""
    lines = [row(plain(key), plain(value)) for key, value in rows.items() if value not in (None, "")]
    return "\n".join([row("", ""), row("---", "---"), *lines])


def row(*cells: str) -> str:
    """Return a row of a table; the cells are Markdown."""
    return f"| {' | '.join(cells)} |"


def code(language: str, lines: Sequence[str]) -> str:
    """Return lines of code as a block."""
    return "\n".join([f"```{language}", *lines, "```"])
