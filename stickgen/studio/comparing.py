"""What the Runs tab does: a table of runs, two of them side by side, a sweep's picture, and what is made of a run."""

import html
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stickgen.artifacts.model import ModelOptions
from stickgen.artifacts.run import RunFolder, read_json
from stickgen.config import MergeConfig
from stickgen.data.clips import counted
from stickgen.errors import CheckpointError, ConfigError
from stickgen.files import temporary_folder
from stickgen.metrics import FROZEN_BASE, METRICS, NEXT_FRAMES, Aim
from stickgen.motion.skeleton import FPS
from stickgen.studio.generating import as_typed, labels_of
from stickgen.sweeps.table import Job, Sweep, read_runs, read_sweep

MOST_RUNS = 100
MOST_SETTINGS = 8
"""Columns of settings; a table that is wider is no longer read."""

_METRICS = [metric for metric in METRICS.values() if metric.section == NEXT_FRAMES]


def table_of_runs(names: Sequence[str], folders: Sequence[Path]) -> str:
    """Return an HTML table: the settings that differ, and the final scores of each run with its frozen base's.

    Args:
        names: of the runs.
        folders: of the runs.
    """
    if not names:
        return '<p role="status">No runs yet. Start one in the Train tab.</p>'
    names, folders = names[:MOST_RUNS], folders[:MOST_RUNS]
    varied, jobs = read_runs(folders)
    varied.sort(key=lambda key: not key.startswith(("lora.", "optimizer.lr")))  # what people vary first
    shown = varied[:MOST_SETTINGS]
    head = ["run", *(f"{metric.heading}" for metric in _METRICS), "seconds", *shown, "status"]
    rows = [
        [name, *_scores(folder, job), _seconds(job), *(_setting(job, key) for key in shown), _state(job)]
        for name, folder, job in zip(names, folders, jobs, strict=True)
    ]
    more = f" {len(varied) - len(shown)} more settings differ." if len(varied) > len(shown) else ""
    caption = f"Scores on test clips; in brackets those of the frozen base, and of the best simple guess.{more}"
    # Beside the table: on a phone the table scrolls, and the caption does not.
    return f'<p id="about-runs">{html.escape(caption)}</p><div class="runs" tabindex="0">{_table(head, rows)}</div>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    lines = [
        f'<tr><th scope="row">{html.escape(first)}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in others)
        + "</tr>"
        for first, *others in rows
    ]
    return f'<table aria-labelledby="about-runs"><thead><tr>{cells}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def _setting(job: Job, key: str) -> str:
    value = job.settings.get(key, "–")
    if key.endswith(("path", "checkpoint")) and isinstance(value, str):
        return Path(value).name
    text = f"{value:.4g}" if isinstance(value, float) else ", ".join(value) if isinstance(value, dict) else str(value)
    return text if len(text) <= 40 else f"…{text[-39:]}"


def _scores(folder: Path, job: Job) -> list[str]:
    """Return each score on the test clips, with that of the frozen base and of the best baseline."""
    if not job.scores:
        return ["–"] * len(_METRICS)
    try:
        content = read_json(RunFolder(folder).metrics)
        others = {name: by["test"] for name, by in content["scores"].items() if name != content["trained"]}
        base = others.pop(FROZEN_BASE, {})
        cells = []
        for metric in _METRICS:
            guesses = [float(v) for by in others.values() if (v := by.get(metric.name)) is not None]
            best = (max if metric.aim is Aim.HIGH else min)(guesses, default=None)
            beside = [metric.text(_number(base.get(metric.name))), metric.text(best)]
            cells.append(f"{metric.text(job.scores.get(f'test/{metric.name}'))} ({', '.join(beside)})")
        return cells
    except (CheckpointError, KeyError, TypeError, ValueError, AttributeError):
        return ["damaged"] * len(_METRICS)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _seconds(job: Job) -> str:
    return f"{job.seconds:.0f}" if job.seconds == job.seconds else "–"


def _state(job: Job) -> str:
    return f"{job.status}: {job.said}" if job.said else job.status


def side_by_side(
    runs: Sequence[Path], names: Sequence[str], prompts: Sequence[str], seconds: float, options: ModelOptions
) -> str:
    """Return the page of ``stickgen compare``: runs beside each other, their bases, and the table of their scores.

    Args:
        runs: folders.
        names: of the runs.
        prompts: what they move to, from rest; none: they continue test clips of the first run.
        seconds: length.
        options: of the text encoder.

    Raises:
        StickgenError: see :func:`stickgen.reports.compare.compare`.
    """
    from stickgen.reports.compare import Shown, compare

    if len(set(names)) < len(names):
        raise ConfigError(f"{names[0]}: is on both sides; choose two runs")
    models = [f"{label}={run}" for label, run in zip(labels_of(names), runs, strict=True)]
    with temporary_folder() as folder:
        output = folder / "compare.html"
        compare(models, output, Shown(prompts, clips=4, frames=round(seconds * FPS)), options)
        return output.read_text(encoding="utf-8")


def picture_of_sweep(folder: Path) -> tuple[bytes, str]:
    """Return the picture of a sweep as PNG, rank × alpha where it varies both, and a sentence that describes it.

    Raises:
        CheckpointError: the folder is no sweep's.
        ConfigError: no job has a value, or matplotlib is not installed.
    """
    from stickgen.sweeps.plots import heat_map, parallel_coordinates

    sweep = read_sweep(folder)
    if sweep.best is None:
        raise ConfigError(f"{folder}: no job has a score yet; wait for the first one")
    by_rank = {"lora.rank", "lora.alpha"} <= set(sweep.varied)
    with temporary_folder() as scratch:
        output = scratch / "sweep.png"
        (heat_map if by_rank else parallel_coordinates)(sweep, output)
        return output.read_bytes(), _said_of(sweep)


def _said_of(sweep: Sweep) -> str:
    best = sweep.best
    assert best is not None
    given = ", ".join(f"{key}={_setting(best, key)}" for key in sweep.varied if key in best.settings)
    jobs = counted(len(sweep.jobs), "job")
    return f"{jobs}, {sweep.monitor}; the best is {best.number} with {best.monitored:.4g}: {given}"


@dataclass(frozen=True)
class Product:
    """Something that is made of a run, by the same function as on the command line.

    Attributes:
        title: what it is.
        name: of the file or folder, in the run's own folder; "" where the function chooses it.
        command: of the run's and the output's path, for a shell.
        write: likewise; returns what was written, in words.
    """

    title: str
    name: str
    command: Callable[[str, str], str]
    write: Callable[[Path, Path], str]


def _merge_command(run: str, output: str) -> str:
    return shlex.join(["stickgen", "merge", f"checkpoint={run}", f"output={output}"])


def _merge(run: Path, output: Path) -> str:
    from stickgen.export.merge import merge

    report = merge(MergeConfig(checkpoint=str(run), output=str(output)))
    return (
        f"{counted(report.layers, 'layer')} merged; largest difference from the unmerged model on "
        f"{counted(report.clips, 'clip')}: {report.largest_difference:.3g}"
    )


def _convert_command(run: str, output: str) -> str:
    return shlex.join(["stickgen", "convert", run, output])


def _convert(run: Path, output: Path) -> str:
    from stickgen.export.convert import convert

    return convert(run, output)


def _card_command(run: str, output: str) -> str:
    return shlex.join(["stickgen", "card", run])


def _card(run: Path, output: Path) -> str:
    from stickgen.export.card import write_card

    return f"the card is {as_typed(write_card(run))}"


PRODUCTS = (
    Product("merged model, .safetensors", "merged_model.safetensors", _merge_command, _merge),
    Product("merged model, .pth", "merged_model.pth", _merge_command, _merge),
    Product("merged model, .onnx (needs the extra onnx)", "merged_model.onnx", _merge_command, _merge),
    Product("adapter for PEFT, a folder", "peft", _convert_command, _convert),
    Product("adapter for stick-gen, .pth", "adapter.pth", _convert_command, _convert),
    Product("model card (needs the extra card)", "", _card_command, _card),
)
"""What can be made of a run."""


def product(title: str) -> Product:
    """Return a product by its title.

    Raises:
        ConfigError: there is none.
    """
    found = next((one for one in PRODUCTS if one.title == title), None)
    if found is None:
        raise ConfigError(f"{title[:80]}: choose one of {', '.join(one.title for one in PRODUCTS)}")
    return found
