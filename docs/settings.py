"""Write docs/reference/settings.md, a table of every setting, from the settings classes."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from stickgen.config import MergeConfig, TrainConfig

PAGE = Path(__file__).parent / "reference" / "settings.md"

HEAD = """# Settings

The keys of `python train.py` and `python merge.py`, given as `key=value` on the command line. The defaults are
those of the settings classes; files in `conf/` change some of them for a choice, such as `experiment=style`.
`python docs/settings.py` writes this page.
"""


class Setting(NamedTuple):
    """A row of the page."""

    key: str
    kind: str
    default: str
    meaning: str


def settings_of(kind: type, prefix: str = "") -> Iterator[Setting]:
    """Yield the settings of a class, its own before those of its groups."""
    meanings = _docstrings(kind)
    groups = []
    for field in dataclasses.fields(kind):
        make: Any = field.default_factory
        if isinstance(make, type) and dataclasses.is_dataclass(make):
            groups.append((f"{prefix}{field.name}.", make))
            continue
        default = make() if field.default is dataclasses.MISSING else field.default
        shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        name = field.type if isinstance(field.type, str) else inspect.formatannotation(field.type)
        yield Setting(prefix + field.name, name.replace("None", "null"), shown, meanings.get(field.name, ""))
    for name, group in groups:
        yield from settings_of(group, name)


def page() -> str:
    """Return the page."""
    lines = [HEAD]
    for title, first, kind in (("Training", "The run", TrainConfig), ("Merging", "The merge", MergeConfig)):
        lines.append(f"## {title}\n")
        group = None
        for setting in settings_of(kind):
            if (of := setting.key.rpartition(".")[0]) != group:
                group = of
                lines.append(f"\n### {group or first}\n\n| key | type | default | meaning |\n| --- | --- | --- | --- |")
            cells = (f"`{setting.key}`", f"`{setting.kind}`", f"`{setting.default}`", setting.meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("``", "`") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines).replace("\n\n\n", "\n\n")


def _docstrings(kind: type) -> dict[str, str]:
    """Return the text below each field of a dataclass and of those that it extends."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
            for field, text in pairwise(body):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    found[ast.unparse(field.target)] = " ".join(ast.literal_eval(text.value).split())
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
