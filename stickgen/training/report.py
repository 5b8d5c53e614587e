"""What a run prints: a summary at the start, a table of results at the end."""

import os
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from stickgen.config import TrainConfig
from stickgen.data.clips import amount, counted
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.table import ClipInfos
from stickgen.metrics import METRICS, NEXT_FRAMES
from stickgen.motion.actions import action_name
from stickgen.training.setup import BuiltModel

Scores = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Predictor → split → metric → value."""

_COLUMNS = [metric for metric in METRICS.values() if metric.section == NEXT_FRAMES]


def print_summary(console: Console, config: TrainConfig, data: ClipDataModule, built: BuiltModel) -> None:
    """Print what is about to be trained, on what."""
    table = Table(title=f"stickgen · {config.run_dir}", show_header=False, title_justify="left")
    table.add_row("base", _base_line(built))
    share = built.trainable / built.total
    table.add_row("parameters", f"{built.trainable:,} trainable of {built.total:,} ({share:.1%})")
    if config.lora.enabled:
        lora = config.lora
        groups = ", ".join(lora.targets)
        table.add_row("LoRA", str(lora))
        table.add_row("adapted layers", f"{built.adapted} ({groups})")
    if data.hidden is not None:
        place = os.path.relpath(data.hidden.folder.parent)
        table.add_row("frozen layers", f"{data.hidden.layers}, read from {place} ({data.hidden.size / 2**20:,.0f} MiB)")
    report, split = data.report, data.split
    dropped = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items()) or "none"
    table.add_row("data", f"{report.source}: {counted(report.sequences, 'sequence')} → {counted(report.clips, 'clip')}")
    table.add_row("left out", dropped)
    for name in ("train", "val", "test"):
        table.add_row(name, _clips_line(getattr(split, name).infos))
    steps = f"{data.train_plan().steps} an epoch, of {data.batch_size} × {data.accumulate} clips"
    if config.trainer.devices > 1:
        steps += f", in {config.trainer.devices} processes"
    table.add_row("optimizer steps", steps)
    objective = f"{config.objective.name}, poses {built.model.pose_output}"
    if not config.objective.causal:
        objective += " — leaky: the frame asked for is in the input, so pose errors say little"
    table.add_row("objective", objective)
    console.print(table)


def print_results(
    console: Console,
    scores: Scores,
    split: str,
    trained_row: str,
) -> None:
    """Print a split's scores, one predictor a row.

    Args:
        console: where to.
        scores: predictor → split → metric → value.
        split: "val" or "test".
        trained_row: the row of what the run trained, to be emphasised.
    """
    table = Table(title=f"results · {split} clips", title_justify="left")
    table.add_column("")
    for metric in _COLUMNS:
        table.add_column(metric.heading.removeprefix("next-frame "), justify="right")
    for name, by_split in scores.items():
        cells = [metric.text(by_split.get(split, {}).get(metric.name)) for metric in _COLUMNS]
        if any(cell != "–" for cell in cells):
            table.add_row(name, *cells, style="bold" if name == trained_row else None)
    console.print(table)


def print_next(console: Console, config: TrainConfig, data: ClipDataModule, folder: Path) -> None:
    """Print where everything is, and commands to go on with; each can be pasted as it is.

    Args:
        console: where to.
        config: the run's settings.
        data: its clips; the prompt is the shortest caption of its training clips.
        folder: of the run.
    """
    # A caption of another's file may hold what steers a terminal.
    captions = (
        "".join(c for c in caption if c.isprintable()).strip()
        for caption in data.split.train.infos.counts("description")
    )
    prompt = min(filter(None, captions), key=len, default="a person walks")
    place = shlex.quote(os.path.relpath(folder))
    lines = {"run folder": place}
    if "tensorboard" in config.logger.kinds:
        lines["watch"] = f"tensorboard --logdir {place}"
    if config.lora.enabled:
        lines["see"] = f"stickgen generate {shlex.quote(prompt)} --adapter {place} --out motion.gif"
        lines["export"] = f"stickgen merge checkpoint={place} output=merged_model.pth"
    else:
        lines["see"] = f"stickgen generate {shlex.quote(prompt)} --model {place} --out motion.gif"
        lines["adapt"] = f"stickgen train base.checkpoint={place}"
    for name, line in lines.items():
        console.print(f"{f'{name}:':<11} {line}", soft_wrap=True, markup=False, highlight=False)


def _base_line(built: BuiltModel) -> str:
    settings = built.model.settings
    size = f"d {settings['d_model']}, {settings['num_layers']} layers, {settings['input_dim']} numbers a frame"
    return f"{built.base_path or 'from scratch'} ({size})"


def _clips_line(clips: ClipInfos) -> str:
    counts = Counter(action for action in clips.main_actions().tolist() if action >= 0)
    shown = ", ".join(f"{action_name(action)} {count}" for action, count in counts.most_common(4))
    more = ", …" if len(counts) > 4 else ""
    return amount(*clips.amount()) + (f" ({shown}{more})" if shown else "")
