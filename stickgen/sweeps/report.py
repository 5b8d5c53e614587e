"""``stickgen sweep-report``: a sweep's jobs as a table and pictures, and the best of them."""

import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stickgen.artifacts.run import runnable
from stickgen.errors import CheckpointError
from stickgen.files import check_absent
from stickgen.sweeps.logs import LOGS
from stickgen.sweeps.table import FINISHED, Job, Sweep, read_sweep

log = logging.getLogger(__name__)

TABLE_FILE, HEAT_MAP_FILE, PARALLEL_FILE = "sweep.csv", "rank_alpha.png", "parallel.png"


def write_report(
    folder: Path, console: Console, *, sort: str | None = None, out: Path | None = None, overwrite: bool = False
) -> list[Path]:
    """Print a sweep's table and write it as CSV with its pictures; return what was written.

    Args:
        folder: the sweep's.
        console: where to print.
        sort: a column; None: the best job first.
        out: where to write; None: into the sweep's folder.
        overwrite: replace an older report.

    Raises:
        CheckpointError: the folder is no sweep's.
        ConfigError: there is no such column, or matplotlib is not installed.
        OutputExistsError: a report is there and ``overwrite`` is false.
    """
    from stickgen.sweeps.plots import heat_map, parallel_coordinates

    sweep = read_sweep(folder)
    jobs = sweep.sorted_by(sort)
    out = out or folder
    pictures = {PARALLEL_FILE: parallel_coordinates}
    if {"lora.rank", "lora.alpha"} <= set(sweep.varied):
        pictures = {HEAT_MAP_FILE: heat_map, **pictures}
    written = [out / TABLE_FILE, *(out / name for name in pictures)] if sweep.best else [out / TABLE_FILE]
    for path in written:
        check_absent(path, overwrite=overwrite, file=True)
    print_table(console, sweep, jobs)
    sweep.write_csv(out / TABLE_FILE, jobs, overwrite=overwrite)
    if sweep.best is not None:
        for name, draw in pictures.items():
            draw(sweep, out / name, overwrite=overwrite)
    if overwrite:  # pictures of an older report that this one does not have
        for name in {HEAT_MAP_FILE, PARALLEL_FILE} - {path.name for path in written}:
            (out / name).unlink(missing_ok=True)
    return written


def print_table(console: Console, sweep: Sweep, jobs: Sequence[Job]) -> None:
    """Print the jobs, one a row, and how to run the best one again."""
    table = Table(title=f"sweep · {sweep.folder}", title_justify="left")
    for name in ("job", *(key.rpartition(".")[2] for key in sweep.varied), sweep.monitor, "seconds", "status"):
        table.add_column(name, justify="left" if name == "status" else "right", overflow="fold")
    for job in jobs:
        settings = [_shown(job.settings.get(key, "?")) for key in sweep.varied]
        value = f"{job.monitored:.4g}" if job.has_value else "–"
        seconds = f"{job.seconds:.0f}" if job.seconds == job.seconds else "–"
        status = f"{job.status}: {job.said}" if job.said else job.status
        style = "bold" if job == sweep.best else None if job.status == FINISHED else "dim"
        table.add_row(str(job.number), *settings, value, seconds, status, style=style)
    console.print(table)
    counts = {status: sum(job.status == status for job in jobs) for status in dict.fromkeys(j.status for j in jobs)}
    console.print(f"{len(jobs)} jobs: {', '.join(f'{count} {status}' for status, count in counts.items())}")
    best = sweep.best
    if best is None:
        console.print("no job has a value to compare")
        return
    console.print(f"best: {sweep.folder / str(best.number)}", soft_wrap=True)
    console.print(f"      {runnable(best.command)}", soft_wrap=True, markup=False, highlight=False)


def log_end(folder: Path) -> None:
    """Log which job of a sweep is the best, and how to look at all of them."""
    try:
        sweep = read_sweep(folder)
    except CheckpointError as error:
        log.warning("%s", error)
        return
    if (best := sweep.best) is not None:
        given = " ".join(f"{key}={_shown(value)}" for key, value in best.settings.items())
        log.info(
            "best of %d jobs: %d, %s %.4g, with %s", len(sweep.jobs), best.number, sweep.monitor, best.monitored, given
        )
    shown = shlex.quote(os.path.relpath(folder))
    log.info("compare: stickgen sweep-report %s", shown)
    if (folder / LOGS).is_dir():
        log.info("watch:   tensorboard --logdir %s", f"{shown}/{LOGS}")


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
