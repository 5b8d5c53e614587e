"""A data file in tables."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from rich.markup import escape
from rich.table import Table

from stickgen.data.clips import ClipInfo
from stickgen.data.split import SPLITS
from stickgen.evaluation.clip_measures import MEASURES, Measured
from stickgen.motion.actions import action_name
from stickgen.motion.skeleton import FPS

NO_ACTION, NO_SCORE, NO_SOURCE = "no label", "no score", "not named"
_BOUNDS = (0.5, 0.8, 0.9, 0.95)
"""Of the counts by quality; 0.8 is data.min_quality."""
_SHARES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


def tables_of(
    infos: Sequence[ClipInfo],
    kept: Sequence[ClipInfo],
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
    by_split = {split: [info for info in kept if split_of[info.take] == split] for split in SPLITS}
    splits = _groups(
        "split, as training divides by default" if split_by == "take" else f"split, with data.split_by={split_by}",
        by_split,
    )
    for reason, count in left_out.items():
        splits.add_row(f"left out: {reason}", str(count))
    labels = Table(title="labels", title_justify="left")
    labels.add_column("")
    labels.add_column("clips", justify="right")
    for name, has in (
        ("actions", lambda info: info.has_actions),
        ("physics", lambda info: info.has_physics),
        ("camera", lambda info: info.has_camera),
        ("a partner", lambda info: info.partner is not None),
        ("a fixed split", lambda info: info.split is not None),
    ):
        labels.add_row(name, str(sum(map(has, infos))))
    return [
        splits,
        _lengths(infos),
        _groups("main action", grouped(infos, action_of)),
        _groups("source", grouped(infos, lambda info: info.source or NO_SOURCE)),
        _groups("quality", {name: of for name, of in _by_quality(infos).items() if of}),
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


def action_of(info: ClipInfo) -> str:
    """Return the name of a clip's main action."""
    return NO_ACTION if info.main_action is None else action_name(info.main_action)


def grouped(infos: Iterable[ClipInfo], key: Callable[[ClipInfo], str]) -> dict[str, list[ClipInfo]]:
    """Return clips by what they have in common, the largest group first."""
    groups: dict[str, list[ClipInfo]] = defaultdict(list)
    for info in infos:
        groups[key(info)].append(info)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _by_quality(infos: Iterable[ClipInfo]) -> dict[str, list[ClipInfo]]:
    bounds = (0.0, *_BOUNDS, 1.0)
    names = [f"{low:g} to {high:g}" for low, high in pairwise(bounds)]
    groups: dict[str, list[ClipInfo]] = {name: [] for name in [*names, NO_SCORE]}
    for info in infos:
        at = NO_SCORE if info.quality is None else names[sum(info.quality >= bound for bound in _BOUNDS)]
        groups[at].append(info)
    return groups


def _groups(title: str, groups: Mapping[str, Sequence[ClipInfo]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in ("clips", "takes", "people", "frames", "minutes", "lowest quality"):
        table.add_column(name, justify="right")
    for name, infos in groups.items():
        frames = sum(info.length for info in infos)
        scores = [info.quality for info in infos if info.quality is not None]
        table.add_row(
            escape(name),  # a source's name is the file's own
            str(len(infos)),
            str(len({info.take for info in infos})),
            str(len({info.subject for info in infos if info.subject}) or "–"),
            f"{frames:,}",
            f"{frames / FPS / 60:.1f}",
            f"{min(scores):.2f}" if scores else "–",
        )
    return table


def _lengths(infos: Sequence[ClipInfo]) -> Table:
    lengths = sorted(info.length for info in infos)
    table = Table(title="length", title_justify="left")
    table.add_column("")
    for share in _SHARES:
        table.add_column({0: "shortest", 0.5: "median", 1: "longest"}.get(share, f"{share:.0%}"), justify="right")
    shown = [lengths[round(share * (len(lengths) - 1))] for share in _SHARES]
    table.add_row("frames", *(str(length) for length in shown))
    table.add_row("seconds", *(f"{length / FPS:.1f}" for length in shown))
    return table
