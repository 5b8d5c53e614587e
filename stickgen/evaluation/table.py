"""The scores of an evaluation as tables."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from stickgen.evaluation.scores import ScoresFile, Summary
from stickgen.metrics import CHANCE, METRICS, SECTIONS, SHOWN

_NO_MSE_FROM_REST = "From rest there is no rollout MSE, since the figure is at another place than the real one."

_LONGEST_NAME = 24
_ANY_WIDTH = 10_000

_Section = tuple[str, list[tuple[str, list[str]]]]
"""A title, and rows of a title and a cell for every predictor."""


def print_scores(console: Console, scores: ScoresFile) -> None:
    """Print a table for every data file, one metric a row; mean ± standard deviation where models share a label.

    Metrics that nobody has are left out. Where clips were scored in groups, a second table has a row for every group.
    Figures are never cut: a table that is wider than the console continues in another below it.
    """
    for source, rows in scores.report.items():
        _print(console, f"evaluation · {source}", list(rows), _sections(rows))
        if groups := scores.groups.get(source):
            _print(console, f"evaluation by group · {source}", list(rows), _group_sections(groups, list(rows)))
    said = f"Rollouts are made of {scores.protocol.start}"
    said += f", or of {scores.protocol.from_rest.start}." if scores.protocol.given else "."
    console.print(f"{said} {_NO_MSE_FROM_REST}")


def _sections(rows: Mapping[str, Mapping[str, Summary]]) -> list[_Section]:
    found = [
        (section, [
            (metric.heading, _cells(name, rows.values()))
            for name, metric in SHOWN.items()
            if metric.section == section and _any(name, rows)
        ])
        for section in SECTIONS
    ]  # fmt: skip
    return [(section, lines) for section, lines in found if lines]


def _group_sections(groups: Mapping[str, Mapping[str, Mapping[str, Summary]]], names: Sequence[str]) -> list[_Section]:
    return [
        (metric.full_heading, [
            (group, _cells(metric.name, [rows.get(name, {}) for name in names]))
            for group, rows in groups.items()
            if _any(metric.name, rows)
        ])
        for metric in SHOWN.values()
        if metric.grouped and any(_any(metric.name, rows) for rows in groups.values())
    ]  # fmt: skip


def _any(metric: str, rows: Mapping[str, Mapping[str, Summary]]) -> bool:
    """Return whether anything but a guess has a figure of a metric."""
    return any(summary_text(metric, metrics.get(metric)) != "–" for name, metrics in rows.items() if name != CHANCE)


def _cells(metric: str, rows: Iterable[Mapping[str, Summary]]) -> list[str]:
    return [summary_text(metric, metrics.get(metric)) for metrics in rows]


def _print(console: Console, title: str, names: Sequence[str], sections: Sequence[_Section]) -> None:
    lines = [line for _, lines in sections for line in lines]
    first = max(len(text) for text in (*(s for s, _ in sections), *(line for line, _ in lines)))
    columns = [[_short(name), *(cells[number] for _, cells in lines)] for number, name in enumerate(names)]
    for number, part in enumerate(_parts(columns, console.width, first)):
        table = Table(title=title + " (continued)" * (number > 0), title_justify="left")
        table.add_column("", no_wrap=True)
        for name, *_ in part:
            table.add_column(name, justify="right", no_wrap=True)
        at = 1
        for section, of_section in sections:
            table.add_section()
            table.add_row(section, style="bold")
            for row, _ in of_section:
                table.add_row(row, *(column[at] for column in part))
                at += 1
        needed = Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table).maximum
        # A console makes nothing wider than itself.
        wide = Console(file=console.file, width=needed) if needed > console.width else console
        wide.print(table)


def _short(name: str) -> str:
    """Return the end of a long name, which tells more of a path than its beginning."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _parts(columns: Sequence[list[str]], width: int, first: int) -> list[list[list[str]]]:
    """Divide columns into tables that are no wider than so many characters, at least a column each."""
    padding = 3
    first += padding + 1
    parts: list[list[list[str]]] = [[]]
    used = first
    for column in columns:
        needed = max(map(len, column)) + padding
        if parts[-1] and used + needed > width:
            parts.append([])
            used = first
        parts[-1].append(column)
        used += needed
    return parts


def summary_text(name: str, summary: Summary | None) -> str:
    """Return a metric's mean, and its standard deviation where several models share a label, as the tables show it."""
    text = METRICS[name].text
    if summary is None:
        return text(None)
    mean = text(summary.mean)
    return f"{mean} ± {text(summary.std)}" if summary.models > 1 and mean != text(None) else mean
