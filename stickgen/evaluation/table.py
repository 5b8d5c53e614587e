"""The figures of an evaluation as tables."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from stickgen.evaluation.scores import ScoresFile, Summary

TITLES = {
    "pose_mse": "next-frame pose MSE ↓",
    "temporal_consistency_error": "next-frame temporal error ↓",
    "action_accuracy": "action accuracy ↑",
    "rollout_mse_400ms": "rollout MSE at 0.4 s ↓",
    "rollout_mse_1000ms": "rollout MSE at 1 s ↓",
    "rollout_mse_2000ms": "rollout MSE at 2 s ↓",
    "speed_ratio": "speed ÷ real → 1",
    "travel_ratio": "travel ÷ real → 1",
    "jerk_ratio": "jerk ÷ real → 1",
    "foot_skating": "foot skating (H/s) → real",
    "bone_length_error": "bone-length error ↓",
    "torso_length_error": "torso-length error → real",
    "exploded": "exploded clips ↓",
    "frechet_distance": "Fréchet distance ↓",
    "diversity": "diversity → real",
}
"""Metrics in the order of the table, with their titles."""

SHARES = ("action_accuracy", "bone_length_error", "torso_length_error", "exploded")
"""Metrics shown in percent."""

FROM_REST = (
    "No rollout MSE: a figure that sets out from rest is at another place than the real one. Lengths are compared with "
    "the resting figure's, so those of the real clips, of other people, differ too."
)

_LONGEST_NAME = 24
_ANY_WIDTH = 10_000


def print_scores(console: Console, scores: ScoresFile) -> None:
    """Print a table for every data file, one metric a row; mean ± standard deviation where models share a label.

    Figures are never cut: a table that is wider than the console goes on in another below it.
    """
    for source, rows in scores.report.items():
        columns = [
            [_short(name), *(summary_text(metric, metrics.get(metric)) for metric in TITLES)]
            for name, metrics in rows.items()
        ]
        for number, part in enumerate(_parts(columns, console.width)):
            table = Table(title=f"evaluation · {source}" + " (continued)" * (number > 0), title_justify="left")
            table.add_column("", no_wrap=True)
            for name, *_ in part:
                table.add_column(name, justify="right", no_wrap=True)
            for title, *cells in zip(TITLES.values(), *(cells for _, *cells in part), strict=True):
                table.add_row(title, *cells)
            needed = Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), table).maximum
            # A console makes nothing wider than itself.
            wide = Console(file=console.file, width=needed) if needed > console.width else console
            wide.print(table)
    console.print(f"Rollouts are made of {scores.protocol.start}.", "" if scores.protocol.given else FROM_REST)


def _short(name: str) -> str:
    """Return the end of a long name, which tells more of a path than its beginning."""
    return name if len(name) <= _LONGEST_NAME else f"…{name[1 - _LONGEST_NAME :]}"


def _parts(columns: Sequence[list[str]], width: int) -> list[list[list[str]]]:
    """Divide columns into tables that are no wider than so many characters, at least a column each."""
    padding = 3
    first = max(map(len, TITLES.values())) + padding + 1
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


def summary_text(metric: str, summary: Summary | None) -> str:
    """Return a figure as the tables show it: three digits, shares in percent, – where there was nothing to score."""
    if summary is None or math.isnan(summary.mean):
        return "–"
    shown = [f"{value:.1%}" if metric in SHARES else f"{value:.3g}" for value in (summary.mean, summary.std)]
    return " ± ".join(shown) if summary.models > 1 else shown[0]
