"""A sweep's pictures: value over rank and alpha, and over all that varies (parallel coordinates, Inselberg 1985)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stickgen.errors import ConfigError
from stickgen.files import atomic_write
from stickgen.sweeps.table import FINISHED, PRUNED, Job, Sweep

BETTER_IS_DARKER = "viridis_r"
INK, FAINT = "#222222", "#bbbbbb"


def heat_map(sweep: Sweep, path: Path, *, overwrite: bool = False) -> None:
    """Draw the best value of every rank and alpha; a cell without one says what became of its jobs.

    Raises:
        ConfigError: matplotlib is not installed.
        OutputExistsError: the picture is there and ``overwrite`` is false.
    """
    ranks, alphas = (_values(sweep, key) for key in ("lora.rank", "lora.alpha"))
    figure, axes = _new(1.3 * len(ranks) + 2.6, 0.8 * len(alphas) + 1.8)
    cells: dict[tuple[int, int], list[Job]] = {}
    for job in sweep.jobs:
        if {"lora.rank", "lora.alpha"} <= job.settings.keys():
            at = (alphas.index(job.settings["lora.alpha"]), ranks.index(job.settings["lora.rank"]))
            cells.setdefault(at, []).append(job)
    grid = [[math.nan] * len(ranks) for _ in alphas]
    for (row, column), jobs in cells.items():
        values = [job.monitored for job in jobs if job.has_value]
        if values:
            grid[row][column] = max(values) if sweep.maximize else min(values)
    low, high = _limits(sweep)
    image = axes.imshow(grid, origin="lower", aspect="auto", cmap=_colours(sweep), vmin=low, vmax=high)
    for row in range(len(alphas)):
        for column in range(len(ranks)):
            jobs, value = cells.get((row, column), []), grid[row][column]
            said = f"{value:.3g}" if math.isfinite(value) else ", ".join(sorted({job.status for job in jobs})) or "–"
            mark = "*" if any(job.status == PRUNED for job in jobs) else ""
            red, green, blue, _ = image.cmap(image.norm(value)) if math.isfinite(value) else (1.0, 1.0, 1.0, 1.0)
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            weight = "bold" if sweep.best in jobs else "normal"
            axes.text(column, row, said + mark, ha="center", va="center", color="w" if dark else INK, weight=weight)
    axes.set_xticks(range(len(ranks)), _labels(ranks))
    axes.set_yticks(range(len(alphas)), _labels(alphas))
    axes.set(xlabel="rank", ylabel="alpha")
    marked = any(job.status == PRUNED for job in sweep.jobs)
    axes.set_title(_title(sweep) + (" (* pruned jobs among them)" if marked else ""), fontsize=10, loc="left")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _save(figure, path, overwrite=overwrite)


def parallel_coordinates(sweep: Sweep, path: Path, *, overwrite: bool = False) -> None:
    """Draw every job as a line through what it was given and what it came to; the best one is drawn on top.

    Jobs without a value end in a cross at the last axis's foot, so that none is missing.

    Raises:
        ConfigError: matplotlib is not installed.
        OutputExistsError: the picture is there and ``overwrite`` is false.
    """
    keys = [key for key in sweep.varied if any(key in job.settings for job in sweep.jobs)]
    figure, axes = _new(1.9 * (len(keys) + 1) + 1.2, 3.8)
    scales = {key: _Scale(_values(sweep, key)) for key in keys}
    low, high = _limits(sweep)
    colours = _colours(sweep)
    best = sweep.best
    for job in sorted(sweep.jobs, key=lambda job: (job is best, job.has_value)):
        given = [(i, scales[key].place(job.settings[key])) for i, key in enumerate(keys) if key in job.settings]
        if job.has_value:
            share = (job.monitored - low) / (high - low)
            line = {"color": colours(share), "lw": 3.0 if job is best else 1.3, "alpha": 1.0}
            style = "-" if job.status == FINISHED else "--"
            axes.plot(*zip(*given, (len(keys), share), strict=True), style, **line)
        else:
            axes.plot(*zip(*given, (len(keys), -0.08), strict=True), ":", color=FAINT, lw=1.3)
            axes.plot(len(keys), -0.08, "x", color=INK, ms=6, clip_on=False)
    for i, key in enumerate(keys):
        _axis(axes, i, scales[key].ticks)
    shares = (0, 0.25, 0.5, 0.75, 1)
    _axis(axes, len(keys), [*zip(shares, _labels([low + share * (high - low) for share in shares]), strict=True)])
    axes.set_xticks(range(len(keys) + 1), [*(key.rpartition(".")[2] for key in keys), sweep.monitor])
    axes.set_yticks([])
    axes.set_ylim(-0.12, 1.05)
    axes.set_xlim(-0.15, len(keys) + 0.45)
    left = [job for job in sweep.jobs if not job.has_value]
    said = f"; x: {len(left)} without a value" if left else ""
    said += "; dashed: pruned" if any(job.status == PRUNED for job in sweep.jobs) else ""
    axes.set_title(_title(sweep) + said, fontsize=10, loc="left")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _save(figure, path, overwrite=overwrite)


class _Scale:
    """Places values on an axis from 0 to 1: numbers by size, by their logarithm where they span decades."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = list(values)
        self.numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        self.log = self.numbers and min(values) > 0 and max(values) >= 8 * min(values)
        marks = [self._mark(value) for value in values] or [0.0]
        self.low, self.span = min(marks), max(marks) - min(marks)

    def _mark(self, value: Any) -> float:
        if not self.numbers:
            return float(self.values.index(value))
        return math.log(value) if self.log else float(value)

    def place(self, value: Any) -> float:
        return (self._mark(value) - self.low) / self.span if self.span else 0.5

    @property
    def ticks(self) -> list[tuple[float, str]]:
        shown = self.values if len(self.values) <= 6 or not self.numbers else [self.values[0], self.values[-1]]
        return [*zip(map(self.place, shown), _labels(shown), strict=True)]


def _values(sweep: Sweep, key: str) -> list[Any]:
    """Return the values that a setting takes, numbers by size before anything else."""
    found = {repr(job.settings[key]): job.settings[key] for job in sweep.jobs if key in job.settings}
    numbers = [value for value in found.values() if isinstance(value, (int, float))]
    return sorted(set(numbers)) + [value for value in found.values() if not isinstance(value, (int, float))]


def _limits(sweep: Sweep) -> tuple[float, float]:
    values = [job.monitored for job in sweep.jobs if job.has_value]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _colours(sweep: Sweep) -> Any:
    from matplotlib import colormaps

    return colormaps[BETTER_IS_DARKER if sweep.maximize else "viridis"]


def _title(sweep: Sweep) -> str:
    return f"{sweep.monitor}, {'higher' if sweep.maximize else 'lower'} is better"


def _labels(values: Sequence[Any]) -> list[str]:
    """Return values as text, numbers with as few digits, from three on, as tell them apart."""
    for digits in range(3, 18):
        shown = [f"{value:.{digits}g}" if isinstance(value, float) else str(value) for value in values]
        if len({*shown}) == len(values):
            break
    return shown


def _axis(axes: Any, at: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.plot([at, at], [0, 1], color=INK, lw=1, zorder=0)
    behind = {"fc": "w", "ec": "none", "pad": 0.5}
    for place, text in ticks:
        axes.text(at + 0.03, place, text, fontsize=8, va="center", color=INK, bbox=behind)


def _new(width: float, height: float) -> tuple[Any, Any]:
    try:
        # Without pyplot: it keeps figures of its own and looks for a display.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("sweep-report: its pictures need matplotlib; pip install 'stickgen[report]'") from None
    figure = Figure(figsize=(width, height), dpi=140, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _save(figure: Any, path: Path, *, overwrite: bool) -> None:
    with atomic_write(path, overwrite=overwrite) as scratch:
        figure.savefig(scratch, format="png")
