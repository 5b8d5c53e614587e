"""What the card of a data file says, in Markdown: all from the file; what it does not record is marked to fill in."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stickgen.data.clips import counted
from stickgen.data.split import SPLITS
from stickgen.data.table import ClipInfos
from stickgen.evaluation.clip_measures import MEASURES, MOST_CLIPS, NEAR_DUPLICATE, Measured
from stickgen.export.markdown import code, plain, row, shell_command
from stickgen.motion.actions import action_name
from stickgen.motion.skeleton import FPS, skeleton_of

if TYPE_CHECKING:
    from stickgen.export.data_card import DataFacts

FILL_IN = "**not recorded: fill in**"
_MOST_ROWS = 15
_BINS, _WIDEST_BAR = 10, 40
_WORST = 3
_LEAKS_SHOWN = 10
_COMMON = frozenset(
    ("a", "an", "and", "at", "by", "for", "from", "her", "his", "in", "into", "is", "of", "on", "the", "to", "with")
)
"""Words that say nothing about motion."""


def body(facts: "DataFacts") -> str:
    """Return the card below its YAML head."""
    sections = [_what(facts), _sources(facts), _splits(facts), _captions(facts), *_measures(facts), _use(facts)]
    return "\n\n".join(sections) + "\n"


def _what(facts: "DataFacts") -> str:
    infos, record = facts.infos, facts.record
    clips, takes, frames = infos.amount()
    figures = " and ".join(skeleton_of(int(dim)).name for dim in np.unique(infos.column("dim")))
    people, nobody = infos.people(), infos.counts("subject").get("", 0)
    encoder = (record.get("text_encoder") or {}).get("id")
    rows = {
        "clips": f"{clips:,}, of {counted(takes, 'take')}",
        "people": f"{people:,}; {counted(nobody, 'clip')} without a name"
        if people and nobody
        else f"{people or FILL_IN}",
        "length": f"{frames:,} frames, {frames / FPS / 60:.1f} minutes at {FPS} frames a second",
        "figure": plain(figures),
        "captions": f"embedded by {plain(encoder) if encoder else FILL_IN}",
        "with action labels": f"{int(infos.column('has_actions').sum()):,} clips",
        "with physics": f"{int(infos.column('has_physics').sum()):,} clips",
        "with a camera": f"{int(infos.column('has_camera').sum()):,} clips",
        "with a partner": f"{int((infos.column('partner') >= 0).sum()):,} clips",
        "made by": plain(record["made_by"]) if record.get("made_by") else FILL_IN,
    }
    lines = [row("", ""), row("---", "---"), *(row(name, text) for name, text in rows.items())]
    about = "Captioned motion of stick figures, for training text-to-motion models with stickgen."
    return f"# {plain(facts.name)}\n\n{about}\n\n" + "\n".join(lines)


def _sources(facts: "DataFacts") -> str:
    infos, table = facts.infos, facts.infos.table.source
    given = f"{plain(facts.license)} (this card's)" if facts.license else FILL_IN
    rows = {}
    for code_ in dict.fromkeys(infos.column("source").tolist()):
        source = table.text(code_)
        terms = "; ".join(map(plain, facts.licenses.get(source, ())))
        rows[plain(source) or FILL_IN] = [
            *_amounts(infos.chosen(np.flatnonzero(infos.column("source") == code_))),
            terms or given,
        ]
    text = "## Sources and licences\n\n" + _table(["source", *_AMOUNTS, "licence"], rows)
    if FILL_IN in text:
        text += "\n\nFill in what the file does not record, and what the licences ask for, before you publish it."
    return text


def _splits(facts: "DataFacts") -> str:
    infos = facts.kept
    split_of = np.array([facts.split_of[info] for info in _texts(infos, "take")])
    parts = {split: infos.chosen(np.flatnonzero(split_of == split)) for split in SPLITS}
    rows = {split: _amounts(part) for split, part in parts.items()}
    rows |= {f"left out: {plain(reason)}": [f"{count:,}"] for reason, count in facts.left_out.items()}
    fixed = int((facts.infos.column("split") > 0).sum())
    how = "by default" if facts.split_by == "take" else f"with `data.split_by={facts.split_by}`"
    lines = [f"Training divides the takes like this {how}; the file fixes the split of {fixed:,} clips."]
    people = [set(_texts(part, "subject")) - {""} for part in parts.values()]
    several = {who for split in people for who in split if sum(who in other for other in people) > 1}
    if any(people):
        lines.append(f"Of {len(set.union(*people)):,} people, {len(several):,} are in several splits.")
    text = "## Splits\n\n" + _table(["split", *_AMOUNTS], rows) + "\n\n" + " ".join(lines)
    return text if facts.measured is None else f"{text}\n\n{_leaks(facts, parts)}"


def _leaks(facts: "DataFacts", parts: Mapping[str, ClipInfos]) -> str:
    counts = [
        f"{sum(leak.split == split for leak in facts.leaks)} of {counted(len(parts[split]), f'{split} clip')}"
        for split in ("val", "test")
    ]
    text = f"Near-duplicates of training clips (distance below {NEAR_DUPLICATE:g}): {counts[0]}, {counts[1]}."
    if not facts.leaks:
        return text
    shown = facts.leaks[:_LEAKS_SHOWN]
    lines = [
        row(
            leak.split,
            leak.held_out.label,
            plain(leak.held_out.take),
            leak.train.label,
            plain(leak.train.take),
            f"{leak.distance:.2f}",
        )
        for leak in shown
    ]
    head = ["split", "clip", "take", "nearest in train", "its take", "distance"]
    more = f"\n\nand {len(facts.leaks) - len(shown)} more." if len(facts.leaks) > len(shown) else ""
    return f"{text}\n\n" + "\n".join([row(*head), row(*["---"] * len(head)), *lines]) + more


def _captions(facts: "DataFacts") -> str:
    captions = Counter(_texts(facts.infos, "description"))
    lengths = np.array([len(caption.split()) for caption in captions.elements()])
    words: Counter[str] = Counter()
    for caption, count in captions.items():
        for word in set(re.findall(r"[^\W\d_]+", caption.lower())) - _COMMON:
            words[word] += count
    common = ", ".join(f"{plain(word)} ({count:,})" for word, count in words.most_common(_MOST_ROWS))
    low, middle, high = np.quantile(lengths, (0.05, 0.5, 0.95))
    parts = [
        "## Captions and labels",
        f"{counted(len(captions), 'different caption')} of {middle:g} words (5 % to 95 %: {low:g} to {high:g}).",
        f"Most common words, with the clips that have them: {common or 'none'}.",
    ]
    main = facts.infos.main_actions()
    actions = {label: np.flatnonzero(main == label) for label in np.unique(main).tolist()}
    styles = np.array(_texts(facts.infos, "style"))
    groups = {
        "main action": {action_name(label) if label >= 0 else "none": places for label, places in actions.items()},
        "style": {str(style) or "none": np.flatnonzero(styles == style) for style in np.unique(styles)},
    }
    for title, group in groups.items():
        if set(group) == {"none"}:
            continue
        largest = sorted(group.items(), key=lambda item: -len(item[1]))
        rows = {plain(name): _amounts(facts.infos.chosen(places)) for name, places in largest[:_MOST_ROWS]}
        more = f"\n\nand {len(largest) - _MOST_ROWS} more." if len(largest) > _MOST_ROWS else ""
        parts.append(_table([title, *_AMOUNTS], rows) + more)
    return "\n\n".join(parts)


def _measures(facts: "DataFacts") -> list[str]:
    shown = {"length, seconds": facts.infos.column("length") / FPS}
    measured = facts.measured
    if measured is not None:
        shown["speed, body heights a second (mean over joints)"] = measured.values["speed"]
        shown["height, body heights (lowest to highest joint)"] = measured.values["height"]
    bars = [code("text", [title, *_bars(values)]) for title, values in shown.items()]
    sections = ["## Distributions\n\n" + "\n\n".join(bars)]
    if measured is None:
        return [*sections, f"## Measures\n\nNot measured: there are more than {MOST_CLIPS:,} clips."]
    return [*sections, _worst(measured)]


def _worst(measured: Measured) -> str:
    rows = {}
    for one in MEASURES:
        values = measured.values[one.name]
        known = np.flatnonzero(~np.isnan(values))
        if not len(known):
            continue
        order = known[np.argsort(-values[known] if one.high_is_odd else values[known], kind="stable")]
        usual = np.median(values[known])
        worst = [
            f"{measured.infos[at].label} ({values[at]:.3g})" for at in order[:_WORST].tolist() if values[at] != usual
        ]
        quantiles = [f"{value:.3g}" for value in np.quantile(values[known], (0.05, 0.5, 0.95))]
        rows[one.name] = [one.meaning, *quantiles, ", ".join(worst) or "–"]
    text = "## Measures and worst clips\n\n" + _table(
        ["measure", "meaning", "5 %", "median", "95 %", "worst clips"], rows
    )
    if measured.unreadable:
        text += "\n\nClips that cannot be read:\n\n" + "\n".join(
            f"* {plain(line)}" for line in measured.unreadable[:_MOST_ROWS]
        )
    return text


def _use(facts: "DataFacts") -> str:
    return "## Use\n\n" + code(
        "bash", [shell_command("python", "train.py", "experiment=style", f"data.path={facts.path}")]
    )


_AMOUNTS = ("clips", "takes", "people", "minutes")


def _amounts(infos: ClipInfos) -> list[str]:
    clips, takes, frames = infos.amount()
    return [
        f"{clips:,}",
        f"{takes:,}",
        f"{infos.people() or '–'}",
        f"{frames / FPS / 60:.1f}",
    ]


def _texts(infos: ClipInfos, name: str) -> list[str]:
    """Return a column of texts, each made once."""
    column: Any = getattr(infos.table, name)
    codes = infos.column(name)
    made = {code_: column.text(code_) for code_ in np.unique(codes).tolist()}
    return [made[code_] for code_ in codes.tolist()]


def _table(head: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Return a table; short rows are filled up."""
    right = ["---:" if name in (*_AMOUNTS, "5 %", "median", "95 %") else "---" for name in head]
    lines = [row(name, *cells, *[""] * (len(head) - 1 - len(cells))) for name, cells in rows.items()]
    return "\n".join([row(*head), row(*right), *lines])


def _bars(values: np.ndarray) -> list[str]:
    """Return a histogram in lines of text."""
    known = values[~np.isnan(values)]
    if not len(known):
        return ["none"]
    if known.min() == known.max():
        return [f"{known[0]:8.2f}  {len(known)}"]
    counts, edges = np.histogram(known, bins=_BINS)
    widths = np.ceil(counts / counts.max() * _WIDEST_BAR).astype(int)
    return [
        f"{low:8.2f} to {high:8.2f}  {'█' * width}{' ' * bool(width)}{count}"
        for low, high, count, width in zip(edges[:-1], edges[1:], counts.tolist(), widths.tolist(), strict=True)
    ]
