"""The scores of an evaluation as a picture: a panel for every metric, a mark for every predictor and data file."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from stickgen.errors import ConfigError, StickgenError
from stickgen.evaluation.scores import Report, Summary
from stickgen.files import atomic_write, check_absent
from stickgen.metrics import METRICS, REAL_CLIPS, SHARE, SHOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")

_COLUMNS = 4
_MARKS = ("o", "s", "^", "D", "v", "P")


def check_plot(path: Path, *, overwrite: bool = False) -> None:
    """Refuse a picture that could not be written, before any work is spent on it.

    Raises:
        ConfigError: its suffix is none of :data:`SUFFIXES`.
        OutputExistsError: it exists and ``overwrite`` is false.
        StickgenError: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: a figure ends in {', '.join(SUFFIXES)}")
    check_absent(path, overwrite=overwrite, file=True)
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise StickgenError(f"{path}: matplotlib is not installed; pip install 'stickgen[report]'") from None


def save_plot(report: Report, path: Path, *, overwrite: bool = False) -> None:
    """Draw a report: predictors from top to bottom, their mean ± standard deviation, the real clips as a line.

    Errors are on a logarithmic scale, since trivial ways to go on are off by powers of ten.

    Args:
        report: of :func:`~stickgen.evaluation.evaluate.evaluate`.
        path: picture to write, one of :data:`SUFFIXES`.
        overwrite: whether an existing one is replaced.

    Raises:
        ConfigError: the suffix is another.
        OutputExistsError: it exists and ``overwrite`` is false.
        StickgenError: matplotlib is not installed.
    """
    check_plot(path, overwrite=overwrite)
    from matplotlib import rc_context

    figure = draw(report)
    # Text stays text in an SVG: it can be searched and copied.
    with rc_context({"svg.fonttype": "none"}), atomic_write(path, overwrite=overwrite) as scratch:
        figure.savefig(scratch, format=path.suffix.lower()[1:], dpi=150)


def draw(report: Report) -> "Figure":
    """Return the picture of a report; see :func:`save_plot`."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for rows in report.values() for name in rows if name != REAL_CLIPS))
    measured = [m for m in SHOWN if any(m in scores for rows in report.values() for scores in rows.values())]
    rows = -(-len(measured) // _COLUMNS)
    figure = Figure(figsize=(3.2 * _COLUMNS, (0.27 * len(names) + 0.9) * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False, sharey=True)
    panels = list(grid.flat)
    for metric, axes in zip(measured, panels, strict=False):
        _draw(axes, metric, report, names)
    for axes in panels[len(measured) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _draw(axes: "Axes", metric: str, report: Report, names: list[str]) -> None:
    values: list[float] = []
    for number, (source, rows) in enumerate(report.items()):
        color = f"C{number}"
        marked = [(names.index(n), s[metric]) for n, s in rows.items() if n != REAL_CLIPS and _known(s.get(metric))]
        places = [place + 0.12 * (number - (len(report) - 1) / 2) for place, _ in marked]
        means, spreads = [s.mean for _, s in marked], [s.std for _, s in marked]
        axes.errorbar(
            means, places, xerr=spreads, fmt=_MARKS[number % len(_MARKS)], color=color, ms=5, capsize=2, label=source
        )
        values += means
    axes.set_title(METRICS[metric].full_heading, fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.grid(axis="x", alpha=0.3)
    _scale(axes, metric, values)
    left, right = axes.get_xlim()
    for number, rows in enumerate(report.values()):
        real = rows.get(REAL_CLIPS, {}).get(metric)
        # An error that is 0, or nearly, has no place on a logarithmic scale.
        if real is not None and _known(real) and (axes.get_xscale() == "linear" or left <= real.mean <= right):
            axes.axvline(real.mean, color=f"C{number}", lw=1, ls="--", alpha=0.6)


def _scale(axes: "Axes", metric: str, values: list[float]) -> None:
    """Choose a scale for a panel and label it, also a logarithmic one that holds a single power of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    # A share of a whole reads best on a scale that shows it.
    if METRICS[metric].unit != SHARE and values and 0 < 10 * min(values) < max(values):
        axes.set_xscale("log")
        decades = math.log10(max(values) / min(values))
        steps = (1, 2, 5) if decades < 2 else (1, 3) if decades < 3 else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=steps))
        axes.xaxis.set_minor_formatter(NullFormatter())
    shown, unit = ("{:.3g}%", 100) if METRICS[metric].percent else ("{:g}", 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shown.format(unit * value).replace("e-0", "e-")))


def _known(summary: Summary | None) -> bool:
    return summary is not None and math.isfinite(summary.mean)
