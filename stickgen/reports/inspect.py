"""``stickgen inspect``: a data file in tables, a sheet or a page of its clips, and the clips that a rule flags."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from stickgen.config import DataConfig
from stickgen.data.clips import ClipInfo, counted
from stickgen.data.curation import read_curation, write_curation
from stickgen.data.dataset import FLAGGED, filter_clips
from stickgen.data.file import open_clips
from stickgen.data.split import divide_takes
from stickgen.data.stores import ClipStore
from stickgen.data.table import ClipInfos, numbered
from stickgen.errors import ConfigError, DataError
from stickgen.evaluation.clip_measures import MOST_CLIPS, Measured, Rule, leaks, measure
from stickgen.files import atomic_write, check_absent, check_writable
from stickgen.motion.actions import NUM_ACTIONS
from stickgen.motion.skeleton import skeleton_of
from stickgen.render import Panel, Style, check_output, save
from stickgen.reports.clip_tables import NO_SCORE, name_of_action, table_of_measures, tables_of
from stickgen.reports.clips_page import clips_page

ORDERS = ("quality", "action")
SPLIT_BY = ("take", "subject")
MOST_ON_A_SHEET = 200
"""Clips of a sheet, whose height is some hundred pixels a clip."""
_ON_A_SHEET = 24
_LEAKS_SHOWN = 5


@dataclass(frozen=True)
class Shown:
    """What ``stickgen inspect`` shows beside the tables.

    Attributes:
        outputs: at most one each of a sheet (``.png``), a page (``.html``) and a file of flagged clips (``.yaml``).
        order: "quality", worst first and of equal ones the oddest, or "action", the worst of every action in turn.
        clips: how many clips the sheet or page has; None: 24 of a sheet, all of a page.
        flags: rules, see :class:`~stickgen.evaluation.clip_measures.Rule`; clips for which one holds are flagged.
        curation: a file of clips that are flagged already.
        split_by: what is never divided between splits, "take" or "subject".
        style: how the sheet looks.
    """

    outputs: Sequence[Path] = ()
    order: str = "quality"
    clips: int | None = None
    flags: Sequence[str] = ()
    curation: Path | None = None
    split_by: str = "take"
    style: Style = field(default_factory=lambda: Style(size=120))

    def check(self, *, overwrite: bool) -> None:
        """Refuse what cannot be shown, before the data file is opened.

        Raises:
            StickgenError: a choice is none, or an output cannot be written.
        """
        if self.order not in ORDERS:
            raise ConfigError(f"order={self.order}: {' or '.join(ORDERS)} expected")
        if self.split_by not in SPLIT_BY:
            raise ConfigError(f"split-by={self.split_by}: {' or '.join(SPLIT_BY)} expected")
        if self.clips is not None and not 1 <= self.clips <= MOST_CLIPS:
            raise ConfigError(f"clips={self.clips}: 1 to {MOST_CLIPS} expected")
        for output in self.outputs:
            kind = output.suffix.lower()
            if self.output(kind) is not output:
                raise ConfigError(f"{output}: one {kind} expected, and {self.output(kind)} is another; leave one out")
            if kind == ".png":
                if self.clips is not None and self.clips > MOST_ON_A_SHEET:
                    raise ConfigError(f"clips={self.clips}: 1 to {MOST_ON_A_SHEET} expected for a sheet")
                check_output(output, overwrite=overwrite)
            elif kind not in (".html", ".htm", ".yaml"):
                raise ConfigError(f"{output}: a name that ends in .png, .html or .yaml expected")
            check_absent(output, overwrite=overwrite, file=True)
            check_writable(output)

    def output(self, *kinds: str) -> Path | None:
        """Return the output whose name ends in one of some ways, None where there is none."""
        return next((path for path in self.outputs if path.suffix.lower() in kinds), None)


def inspect(path: Path, console: Console, shown: Shown | None = None, *, overwrite: bool = False) -> None:
    """Print what a data file holds, and write a sheet, a page or the flagged clips.

    Args:
        path: the file, see docs/data.md.
        console: where to.
        shown: what else; None: nothing.
        overwrite: replace existing outputs.

    Raises:
        StickgenError: see :meth:`Shown.check`; the curation is of other data.
        ConfigError: a rule is none.
        DataError: the file cannot be read, or no clip of the sheet can be drawn.
    """
    shown = shown or Shown()
    shown.check(overwrite=overwrite)
    rules = [Rule.parse(text) for text in shown.flags]
    store, record = open_clips(path)
    curation = None if shown.curation is None else read_curation(shown.curation)
    flagged_before = frozenset() if curation is None else curation.positions(store, str(path))
    _print_head(console, path, store, record)
    config = DataConfig()
    kept, left_out = filter_clips(store.infos, config)
    split_of = divide_takes(
        kept, config.val_fraction, config.test_fraction, config.split_seed, str(path), shown.split_by
    )
    if curation is not None:
        is_flagged = np.isin(kept.column("position"), sorted(flagged_before))
        left_out[FLAGGED] = int(is_flagged.sum())
        kept = kept.chosen(np.flatnonzero(~is_flagged))
    for table in tables_of(store.infos, kept, left_out, split_of, shown.split_by):
        console.print(table)
    page, flags = shown.output(".html", ".htm"), shown.output(".yaml")
    measured = _measured(store, console, needed=bool(rules or page or flags))
    odd = {} if measured is None else measured.of_position("odd")
    if measured is not None:
        console.print(table_of_measures(measured))
        _print_leaks(console, measured, split_of)
        flagged = {p: "flagged before" for p, info in enumerate(measured.infos) if info.position in flagged_before}
        flagged |= _flag(console, measured, rules)
        if flags is not None:
            remarks = {place: f"{why} · {measured.infos[place].description}" for place, why in sorted(flagged.items())}
            clips = [(measured.infos[p].label, store.digest(measured.infos[p].position), remarks[p]) for p in remarks]
            captions = None if curation is None else curation.captions
            write_curation(flags, clips, captions=captions, overwrite=overwrite)
        if page is not None:
            positions = ordered(store.infos, shown.order, odd)[: shown.clips].column("position").tolist()
            text = clips_page(store, measured, flagged, split_of, path.name, set(positions))
            with atomic_write(page, overwrite=overwrite) as scratch:
                scratch.write_text(text, encoding="utf-8")
    sheet = shown.output(".png")
    if sheet is not None:
        pictured = one_of_each_pair(ordered(store.infos, shown.order, odd))
        save(
            sheet,
            _readable(store, islice(pictured, shown.clips or _ON_A_SHEET), console),
            shown.style,
            overwrite=overwrite,
        )


def _measured(store: ClipStore, console: Console, *, needed: bool) -> Measured | None:
    """Return the measures of all clips; None for too many, or none that can be read.

    Raises:
        ConfigError: there are too many, and something needs them.
    """
    if len(store.infos) > MOST_CLIPS:
        if needed:
            raise ConfigError(f"{len(store.infos)} clips: at most {MOST_CLIPS} can be measured; inspect a part of them")
        _say(console, f"measures and leakage: not looked for in more than {MOST_CLIPS:,} clips")
        return None
    measured = measure(store, store.infos)
    for line in measured.unreadable:
        _say(console, f"not measured: {line}")
    return measured if measured.infos else None


def _print_leaks(console: Console, measured: Measured, split_of: Mapping[str, str]) -> None:
    found = leaks(measured, split_of)
    for split in ("val", "test"):
        here = [leak for leak in found if leak.split == split]
        held_out = sum(split_of.get(info.take) == split for info in measured.infos)
        _say(console, f"leakage: {len(here)} of {counted(held_out, f'{split} clip')} have a near-duplicate in train")
        for leak in here[:_LEAKS_SHOWN]:
            names = f"{leak.held_out.label} (take {leak.held_out.take}) and {leak.train.label} (take {leak.train.take})"
            _say(console, f"  {names}: distance {leak.distance:.2f}")


def _flag(console: Console, measured: Measured, rules: Sequence[Rule]) -> dict[int, str]:
    """Return place → why of the clips for which a rule holds, and print how many that are of each."""
    flagged: dict[int, str] = {}
    for rule in rules:
        places = rule.flags(measured).nonzero()[0].tolist()
        _say(console, f"{rule}: {counted(len(places), 'clip')} of {len(measured.infos)}")
        flagged = {place: rule.remark(measured, place) for place in places} | flagged
    return flagged


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)


def _print_head(console: Console, path: Path, store: ClipStore, record: Mapping[str, Any]) -> None:
    infos = store.infos
    figures = " and ".join(sorted(skeleton_of(dim).name for dim in np.unique(infos.column("dim")).tolist()))
    widths = " and ".join(map(str, np.unique(infos.column("width")).tolist()))
    encoder = (record.get("text_encoder") or {}).get("id") or "an encoder that is not named"
    clips, takes, _ = infos.amount()
    _say(
        console,
        f"{path}: {counted(store.sequences, 'sequence')} → {counted(clips, 'clip')} of {counted(takes, 'take')}, "
        f"{figures}; captions in {widths} numbers by {encoder}",
    )


def ordered(infos: ClipInfos, order: str, odd: Mapping[int, float] | None = None) -> ClipInfos:
    """Return clips in the order in which they are to be looked at.

    Args:
        infos: the clips.
        order: "quality": worst first, those without a score last; "action": the worst of every action, then the next
            of each, and so on, actions of many clips first.
        odd: position → how odd a clip is; of clips of one quality, the oddest come first.
    """
    oddness = np.array([(odd or {}).get(position, 0.0) for position in infos.column("position").tolist()])
    worst = infos.chosen(np.lexsort((-oddness, infos.column("quality"))))  # NaN is last
    if order == "quality":
        return worst
    actions, of_clip = numbered(worst.main_actions() + 1, NUM_ACTIONS + 1)
    sizes = np.bincount(of_clip, minlength=len(actions))
    place = np.empty(len(actions), dtype=np.int64)
    place[np.argsort(-sizes, kind="stable")] = np.arange(len(actions))
    turn = np.empty(len(worst), dtype=np.int64)
    turn[np.argsort(of_clip, kind="stable")] = np.concatenate([np.arange(size) for size in sizes])
    return worst.chosen(np.lexsort((place[of_clip], turn)))


def one_of_each_pair(infos: Iterable[ClipInfo]) -> Iterator[ClipInfo]:
    """Give the clips without those whose partner comes before them: its picture has both figures."""
    seen: set[int] = set()
    for info in infos:
        if info.partner not in seen:
            seen.add(info.position)
            yield info


def panels_of(store: ClipStore, infos: Iterable[ClipInfo]) -> list[Panel]:
    """Return clips to be drawn, each with its place in the file, quality and action under its caption.

    Raises:
        DataError: a number in them is not finite.
    """
    panels = []
    for info in infos:
        quality = NO_SCORE if info.quality is None else f"quality {info.quality:.2f}"
        facts = (info.label, quality, name_of_action(info.main_action), f"{info.length} frames", info.source)
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
            _say(console, f"not drawn: {error}")
    if refused and not panels:
        raise refused[0]
    return panels
