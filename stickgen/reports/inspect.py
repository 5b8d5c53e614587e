"""``stickgen inspect``: a data file in tables, and in a sheet of its clips, for bad ones to be found by eye."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, pairwise, zip_longest
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stickgen.config import DataConfig
from stickgen.data.clips import ClipInfo, ClipStore, counted
from stickgen.data.dataset import filter_clips
from stickgen.data.file import open_clips
from stickgen.data.split import SPLITS, divide_takes
from stickgen.errors import ConfigError, DataError
from stickgen.motion.actions import action_name
from stickgen.motion.skeleton import FPS, skeleton_of
from stickgen.render import Panel, Style, check_output, save

ORDERS = ("quality", "action")
NO_ACTION, NO_SCORE, NO_SOURCE = "no label", "no score", "not named"
_BOUNDS = (0.5, 0.8, 0.9, 0.95)
"""Of the counts by quality; 0.8 is data.min_quality."""
_SHARES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
MOST_CLIPS = 200
"""Of a sheet, whose height is some hundred pixels a clip."""


def inspect(
    path: Path,
    console: Console,
    sheet: Path | None = None,
    *,
    order: str = "quality",
    clips: int = 24,
    style: Style | None = None,
    overwrite: bool = False,
) -> None:
    """Print what a data file holds, and draw a sheet of its clips.

    Args:
        path: the file, see docs/data.md.
        console: where to.
        sheet: a ``.png``; None: no sheet, and no clip's motion is read.
        order: "quality", worst first, or "action", the worst of every action in turn.
        clips: how many the sheet has.
        style: how it looks.
        overwrite: replace an existing sheet.

    Raises:
        ConfigError: an argument is none of those.
        DataError: the file cannot be read, or no clip of the sheet can be drawn.
        OutputExistsError: the sheet exists and ``overwrite`` is false.
    """
    if order not in ORDERS:
        raise ConfigError(f"order={order}: {' or '.join(ORDERS)} expected")
    if not 1 <= clips <= MOST_CLIPS:
        raise ConfigError(f"clips={clips}: 1 to {MOST_CLIPS} expected")
    if sheet is not None:
        if sheet.suffix.lower() != ".png":
            raise ConfigError(f"{sheet}: a name that ends in .png expected")
        check_output(sheet, clips, overwrite=overwrite)
    store, record = open_clips(path)
    _print_head(console, path, store, record)
    for table in tables_of(store.infos, str(path)):
        console.print(table)
    if sheet is not None:
        chosen = one_of_each_pair(ordered(store.infos, order))[:clips]
        save(sheet, _readable(store, chosen, console), style or Style(size=120), overwrite=overwrite)


def _print_head(console: Console, path: Path, store: ClipStore, record: Mapping[str, Any]) -> None:
    infos = store.infos
    figures = " and ".join(sorted({skeleton_of(info.dim).name for info in infos}))
    widths = " and ".join(str(width) for width in sorted({info.width for info in infos}))
    encoder = (record.get("text_encoder") or {}).get("id") or "an encoder that is not named"
    takes = len({info.take for info in infos})
    console.print(
        f"{path}: {counted(store.sequences, 'sequence')} → {counted(len(infos), 'clip')} of {counted(takes, 'take')}, "
        f"{figures}; captions in {widths} numbers by {encoder}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def tables_of(infos: Sequence[ClipInfo], where: str) -> list[Table]:
    """Return the tables: by split, length, action, source and quality, and which labels there are.

    Args:
        infos: the clips.
        where: their file, for messages.

    Raises:
        DataError: a take is fixed in two splits.
    """
    config = DataConfig()
    kept, left_out = filter_clips(infos, config)
    split_of = divide_takes(kept, config.val_fraction, config.test_fraction, config.split_seed, where)
    by_split = {split: [info for info in kept if split_of[info.take] == split] for split in SPLITS}
    splits = _groups("split, as training divides by default", by_split)
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
        _groups("main action", _grouped(infos, _action)),
        _groups("source", _grouped(infos, lambda info: info.source or NO_SOURCE)),
        _groups("quality", {name: of for name, of in _by_quality(infos).items() if of}),
        labels,
    ]


def ordered(infos: Sequence[ClipInfo], order: str) -> list[ClipInfo]:
    """Return clips in the order in which they are to be looked at.

    Args:
        infos: the clips.
        order: "quality": worst first, those without a score last; "action": the worst of every action, then the next
            of each, and so on.
    """
    worst = sorted(infos, key=lambda info: (info.quality is None, info.quality))
    if order == "quality":
        return worst
    turns = zip_longest(*_grouped(worst, _action).values())
    return [info for info in chain.from_iterable(turns) if info is not None]


def one_of_each_pair(infos: Sequence[ClipInfo]) -> list[ClipInfo]:
    """Return the clips without those whose partner comes before them: its picture has both figures."""
    seen: set[int] = set()
    kept = []
    for info in infos:
        if info.partner not in seen:
            seen.add(info.position)
            kept.append(info)
    return kept


def panels_of(store: ClipStore, infos: Iterable[ClipInfo]) -> list[Panel]:
    """Return clips to be drawn, each with its place in the file, quality and action under its caption.

    Raises:
        DataError: a number in them is not finite.
    """
    panels = []
    for info in infos:
        quality = NO_SCORE if info.quality is None else f"quality {info.quality:.2f}"
        facts = (info.label, quality, _action(info), f"{info.length} frames", info.source)
        panels.append(Panel(store.load(info.position).with_partner, " · ".join(filter(None, facts)), info.description))
    return panels


def _readable(store: ClipStore, infos: Iterable[ClipInfo], console: Console) -> list[Panel]:
    """Return the clips that can be drawn, and name the others: to find such clips is what a sheet is for.

    Raises:
        DataError: there is none.
    """
    panels: list[Panel] = []
    refused: list[DataError] = []
    for info in infos:
        try:
            panels += panels_of(store, [info])
        except DataError as error:
            refused.append(error)
            console.print(f"not drawn: {error}", soft_wrap=True, markup=False, highlight=False)
    if refused and not panels:
        raise refused[0]
    return panels


def _action(info: ClipInfo) -> str:
    return NO_ACTION if info.main_action is None else action_name(info.main_action)


def _grouped(infos: Iterable[ClipInfo], key: Callable[[ClipInfo], str]) -> dict[str, list[ClipInfo]]:
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
    for name in ("clips", "takes", "frames", "minutes", "mean quality", "lowest"):
        table.add_column(name, justify="right")
    for name, infos in groups.items():
        frames = sum(info.length for info in infos)
        scores = [info.quality for info in infos if info.quality is not None]
        table.add_row(
            escape(name),  # a source's name is the file's own
            str(len(infos)),
            str(len({info.take for info in infos})),
            f"{frames:,}",
            f"{frames / FPS / 60:.1f}",
            f"{statistics.fmean(scores):.2f}" if scores else "–",
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
