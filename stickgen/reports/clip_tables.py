"""A data file in tables."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
from rich.markup import escape
from rich.table import Table

from stickgen.data.split import SPLITS
from stickgen.data.table import ClipInfos, numbered
from stickgen.evaluation.clip_measures import MEASURES, Measured
from stickgen.motion.actions import action_name
from stickgen.motion.skeleton import FPS

NO_ACTION, NO_SCORE, NO_SOURCE = "no label", "no score", "not named"
_BOUNDS = (0.5, 0.8, 0.9, 0.95)
"""Of the counts by quality; 0.8 is data.min_quality."""
_SHARES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def tables_of(
    infos: ClipInfos,
    kept: ClipInfos,
    left_out: Mapping[str, int],
    split_of: Mapping[str, str],
    split_by: str = "take",
) -> list[Table]:
    """Return the tables: by split, length, action, source and quality, and which labels there are.

    Args:
        infos: the clips.
        kept: those that training keeps by default.
        left_out: how many of the others are left out, by reason.
        split_of: take → split, of those kept.
        split_by: what they are divided by.
    """
    codes, of_clip = numbered(kept.column("take"), len(kept.table.take.ends))
    split_of_take = np.array([SPLITS.index(split_of[kept.table.take.text(code)]) for code in codes.tolist()], dtype=int)
    of_split = split_of_take[of_clip]
    by_split = {split: kept.chosen(np.flatnonzero(of_split == number)) for number, split in enumerate(SPLITS)}
    how = "as training divides by default" if split_by == "take" else f"with data.split_by={split_by}"
    splits = _groups(f"split, {how}", by_split)
    for reason, count in left_out.items():
        splits.add_row(f"left out: {reason}", str(count))
    labels = Table(title="labels", title_justify="left")
    labels.add_column("")
    labels.add_column("clips", justify="right")
    for name, has in (
        ("actions", infos.column("has_actions")),
        ("physics", infos.column("has_physics")),
        ("camera", infos.column("has_camera")),
        ("a partner", infos.column("partner") >= 0),
        ("a fixed split", infos.column("split") > 0),
    ):
        labels.add_row(name, str(np.count_nonzero(has)))
    sources = infos.table.source
    return [
        splits,
        _lengths(infos),
        _groups("main action", _grouped(infos, infos.main_actions(), name_of_action)),
        _groups("source", _grouped(infos, infos.column("source"), lambda code: sources.text(code) or NO_SOURCE)),
        _groups("quality", {name: of for name, of in _by_quality(infos).items() if len(of)}),
        labels,
    ]


def table_of_measures(measured: Measured) -> Table:
    """Return how each measure spreads over the clips, and the clip that is the oddest by it."""
    table = Table(title="measures", title_justify="left")
    table.add_column("")
    for name in ("5%", "median", "95%", "oddest", "clip"):
        table.add_column(name, justify="right")
    for measure in MEASURES:
        values = measured.values[measure.name]
        if measure.name == "frames" or np.isnan(values).all():  # lengths have a table of their own
            continue
        oddest = int(np.nanargmax(values) if measure.high_is_odd else np.nanargmin(values))
        shown = [*np.nanquantile(values, (0.05, 0.5, 0.95)), values[oddest]]
        table.add_row(measure.name, *(f"{value:.3g}" for value in shown), measured.infos[oddest].label)
    return table


def name_of_action(action: int | None) -> str:
    """Return the name of a clip's main action; None and -1 where it has none."""
    return NO_ACTION if action is None or action < 0 else action_name(action)


def _grouped(infos: ClipInfos, values: np.ndarray, name_of: Callable[[int], str]) -> dict[str, ClipInfos]:
    """Return clips by what they have in common, the largest group first, of equal ones the first to appear."""
    present, firsts, counts = np.unique(values, return_index=True, return_counts=True)
    largest = np.lexsort((firsts, -counts))
    return {name_of(value): infos.chosen(np.flatnonzero(values == value)) for value in present[largest].tolist()}


def _by_quality(infos: ClipInfos) -> dict[str, ClipInfos]:
    quality = infos.column("quality")
    at = np.searchsorted(_BOUNDS, quality, side="right")
    at[np.isnan(quality)] = len(_BOUNDS) + 1
    names = [*(f"{low:g} to {high:g}" for low, high in pairwise((0.0, *_BOUNDS, 1.0))), NO_SCORE]
    return {name: infos.chosen(np.flatnonzero(at == number)) for number, name in enumerate(names)}


def _groups(title: str, groups: Mapping[str, ClipInfos]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("clips", "takes", "people", "frames", "minutes", "lowest quality"):
        table.add_column(name, justify="right")
    for name, infos in groups.items():
        clips, takes, frames = infos.amount()
        scores = infos.column("quality")
        scores = scores[~np.isnan(scores)]
        table.add_row(
            escape(name),  # a source's name is the file's own
            str(clips),
            str(takes),
            str(infos.people() or "–"),
            f"{frames:,}",
            f"{frames / FPS / 60:.1f}",
            f"{scores.min():.2f}" if len(scores) else "–",
        )
    return table


def _lengths(infos: ClipInfos) -> Table:
    lengths = np.sort(infos.column("length")).tolist()
    table = Table(title="length", title_justify="left")
    table.add_column("")
    for share in _SHARES:
        table.add_column({0: "shortest", 0.5: "median", 1: "longest"}.get(share, f"{share:.0%}"), justify="right")
    shown = [lengths[round(share * (len(lengths) - 1))] for share in _SHARES]
    table.add_row("frames", *(str(length) for length in shown))
    table.add_row("seconds", *(f"{length / FPS:.1f}" for length in shown))
    return table
