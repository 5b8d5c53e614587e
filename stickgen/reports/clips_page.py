"""The clips of a data file as one HTML page: every clip plays, sorted, searched and flagged."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from stickgen.data.clips import ClipInfo
from stickgen.data.curation import FORMAT
from stickgen.data.stores import ClipStore
from stickgen.errors import ConfigError
from stickgen.evaluation.clip_measures import MEASURES, Measured
from stickgen.motion.actions import action_name
from stickgen.motion.skeleton import FPS
from stickgen.render import Panel
from stickgen.reports.page import document, scene_data
from stickgen.reports.scenes import Scene

_MOST_BYTES = 24 * 2**20
"""Of motion in a page; browsers open it in about a second. More clips are kept at a lower frame rate."""
_MOST_STEP = 4
_BYTES_A_LINE, _BYTES_A_FIGURE = 8, 6
"""A frame's numbers: a line of a figure has four, a figure its head, a picture the place of its camera."""

_CHOOSER = """<input id="search" type="search" placeholder="search captions" aria-label="search captions">
<label>sort <select id="sort"><option value="">file order</option></select></label>
<label><input id="reverse" type="checkbox"> reverse</label>
<label><input id="only" type="checkbox"> flagged only</label>
<output id="count"></output>
"""
_SAVE = '<button id="save" type="button">save curation.yaml</button>'
_SAVED = '<output id="saved"></output>'
"""What the server of a page answered last."""
_LIST = """<section id="list" aria-label="clips"><p id="meaning"></p>
<div id="clips" tabindex="-1"><ul id="all"></ul></div></section>"""
_HINT = (
    "clip · <kbd>page up</kbd> <kbd>page down</kbd> a row of clips · <kbd>f</kbd> flag · <kbd>/</kbd> search, "
    "<kbd>esc</kbd> back"
)
_LEGEND = (
    "Flags by hand stay in this browser. Save them as a file, and <code>data.curation=curation.yaml</code> leaves the "
    "clips out."
)


def clips_page(
    store: ClipStore,
    measured: Measured,
    flagged: Mapping[int, str],
    split_of: Mapping[str, str],
    title: str,
    shown: Collection[int],
    server: str | None = None,
) -> str:
    """Return the page.

    Two figures of one sequence are one card, at the place of the first; its flag leaves both out.

    Args:
        store: where the clips lie.
        measured: the clips, and what was measured of them.
        flagged: places in ``measured`` that are flagged at first → why.
        split_of: take → split.
        title: of the window.
        shown: positions of the clips that the page has.
        server: the address of a server that keeps flags and edited captions: the page posts each change to it as JSON,
            ``{"names": [label, …], "flagged": …}`` or ``{"names": …, "caption": …}``, and shows the text it answers.
            None: the page is a file, which keeps flags in the browser.

    Raises:
        ConfigError: there is more motion than a page can hold.
        DataError: a clip cannot be read.
    """
    cards = _cards([info for info in measured.infos if info.position in shown])
    card_of = {info.position: number for number, infos in enumerate(cards) for info in infos}
    step = _step(cards)
    places = {info.position: place for place, info in enumerate(measured.infos)}
    scenes, clips, flags = [], [], []
    for number, infos in enumerate(cards):
        first = infos[0]
        motion = store.load(first.position).with_partner if len(infos) > 1 else store.load(first.position).motion
        scenes.append(scene_data(Scene(first.description, [Panel(motion, first.label)], has_reference=False), step))
        clips.append(_clip(store, measured, infos, places[first.position], split_of, card_of))
        flags += [(number, flagged[places[info.position]]) for info in infos if places[info.position] in flagged][:1]
    data = {
        "fps": FPS / step,
        "scenes": scenes,
        "clips": clips,
        "measures": [{"name": m.name, "meaning": m.meaning, "high_is_odd": m.high_is_odd} for m in MEASURES],
        "flagged": flags,
        "sort": "odd",
        "format": FORMAT,
        "server": server,
    }
    keeping, legend = (_SAVE, _LEGEND) if server is None else (_SAVED, "")
    parts = {"kind": "clips", "chooser": _CHOOSER + keeping, "list": _LIST, "hint": _HINT, "legend": legend}
    parts["about"] = '<div id="about"></div>'
    scripts = ("player.js", "clips.js")
    allow = "" if server is None else "connect-src 'self'"
    return document(title, data, scripts=scripts, parts=parts, styles=("clips.css",), allow=allow)


def _cards(infos: Sequence[ClipInfo]) -> list[list[ClipInfo]]:
    """Return the clips of each card."""
    by_position = {info.position: info for info in infos}
    seen: set[int] = set()
    cards = []
    for info in infos:
        if info.position not in seen:
            partner = None if info.partner is None else by_position.get(info.partner)
            cards.append([info] if partner is None else [info, partner])
            seen.update(one.position for one in cards[-1])
    return cards


def _step(cards: Sequence[Sequence[ClipInfo]]) -> int:
    """Return how many frames to go on from one that is kept to the next, so that the page stays small."""
    numbers = sum(
        infos[0].length * (len(infos) * (infos[0].dim // 4 + 1) * _BYTES_A_LINE + _BYTES_A_FIGURE) for infos in cards
    )
    step = max(math.ceil(numbers * 4 / 3 / _MOST_BYTES), 1)
    if step > _MOST_STEP:
        most = len(cards) * _MOST_STEP // step
        raise ConfigError(f"{len(cards)} clips: more motion than a page can hold; --clips {most} shows some of them")
    return step


def _clip(
    store: ClipStore,
    measured: Measured,
    infos: Sequence[ClipInfo],
    place: int,
    split_of: Mapping[str, str],
    card_of: Mapping[int, int],
) -> dict[str, Any]:
    """Return what the page knows of a card beside its motion; measures are those of its first clip."""
    first = infos[0]
    facts = {
        "action": None if first.main_action is None else action_name(first.main_action),
        "style": first.style,
        "subject": first.subject,
        "source": first.source,
        "take": first.take,
        "split": split_of.get(first.take),
    }
    neighbour = int(measured.neighbours[place])
    return {
        "names": [[info.label, store.digest(info.position)] for info in infos],
        "facts": {name: value for name, value in facts.items() if value},
        "values": [_value(measured, name.name, place) for name in MEASURES],
        "nearest": None if neighbour < 0 else card_of.get(measured.infos[neighbour].position),
    }


def _value(measured: Measured, name: str, place: int) -> float | None:
    value = float(measured.values[name][place])
    return None if math.isnan(value) else float(f"{value:.4g}")
