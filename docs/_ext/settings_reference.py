"""The directive ``settings-reference``: a table of every key of a settings class, read from the class itself."""

import ast
import dataclasses
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Parser
from docutils.utils import new_document
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


def meanings(kind: type) -> dict[str, str]:
    """Return the docstrings that stand below the fields of a dataclass."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
        for field, text in pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


def rows(kind: type, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield key, type, default and meaning of every setting, groups after single values."""
    texts = meanings(kind)
    groups = []
    for field in dataclasses.fields(kind):
        make = field.default_factory
        if isinstance(make, type) and dataclasses.is_dataclass(make):
            groups.append((f"{prefix}{field.name}.", make))
            continue
        default: Any = field.default if field.default is not dataclasses.MISSING else make()  # type: ignore[operator]
        shown = "null" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        type_name = field.type.__name__ if field.type in (bool, int, float, str) else str(field.type)  # type: ignore[union-attr]
        yield f"{prefix}{field.name}", type_name.replace("None", "null"), shown, texts.get(field.name, "")
    for name, group in groups:
        yield from rows(group, name)


class SettingsReference(SphinxDirective):
    """``{settings-reference} stickgen.config.TrainConfig``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a section for every group, with a table of its keys."""
        module, _, name = self.arguments[0].rpartition(".")
        kind = getattr(importlib.import_module(module), name)
        by_group: dict[str, list[tuple[str, str, str, str]]] = {}
        for row in rows(kind):
            by_group.setdefault(row[0].rpartition(".")[0], []).append(row)
        lines: list[str] = []
        for group, settings in by_group.items():
            options = ["   :header-rows: 1", "   :widths: 30 20 15 60"]
            lines += [f"**{group or 'the run'}**", "", ".. list-table::", *options, ""]
            for row in [("key", "type", "default", "meaning"), *settings]:
                head = row[0] == "key"
                cells = [cell if head or place == 3 or not cell else f"``{cell}``" for place, cell in enumerate(row)]
                lines += [f"   {'* -' if place == 0 else '  -'} {cell}" for place, cell in enumerate(cells)]
            lines.append("")
        document = new_document(self.arguments[0], self.state.document.settings)
        Parser().parse("\n".join(lines), document)
        return list(document.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directive known to Sphinx."""
    app.add_directive("settings-reference", SettingsReference)
    return {"parallel_read_safe": True}
