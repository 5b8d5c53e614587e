"""What the file names of known data sets say about the motion."""

import re
from collections.abc import Callable
from typing import Any

_GENRES = {
    "BR": "break dance", "PO": "popping", "LO": "locking", "MH": "middle hip-hop", "LH": "LA style hip-hop",
    "HO": "house", "WA": "waacking", "KR": "krumping", "JS": "street jazz", "JB": "ballet jazz",
}  # fmt: skip
"""AIST++'s genres by the letters after the g."""

_MOVES = {
    "FW": ("walks forwards", "walk"), "BW": ("walks backwards", "walk"), "SW": ("walks sideways", "walk"),
    "FR": ("runs forwards", "run"), "BR": ("runs backwards", "run"), "SR": ("runs sideways", "run"),
    "ID": ("stands", "idle"), "TR": ("changes between standing, walking and running", None),
}  # fmt: skip
"""What 100STYLE's letters mean, and the class of the vocabulary."""

_WORDINGS = {
    "bye": "waves goodbye", "byebye": "waves goodbye with both hands", "walk-back": "walks backwards",
    "walk-left": "walks to the left", "walk-right": "walks to the right", "walk-turn-left": "walks and turns left",
    "walk-turn-right": "walks and turns right", "dance-long": "dances", "dance-short": "dances",
}  # fmt: skip
"""Bandai-Namco's actions that no rule makes a sentence of."""

_CLASSES = {
    "walk": "walk", "run": "run", "dash": "sprint", "bye": "wave", "byebye": "wave", "wave": "wave", "punch": "punch",
    "kick": "kick", "dance": "dance",
}  # fmt: skip
"""Class of the vocabulary by the first word of Bandai-Namco's action."""


def file_labels(stem: str) -> dict[str, Any]:
    """Return what a file's name says, as fields of a Recording; {} for names of no known data set.

    Known are 100STYLE (``Angry_FW``), Bandai-Namco Research (``dataset-2_walk_active_001``) and AIST++
    (``gBR_sBM_cAll_d04_mBR0_ch01``). Files that repeat one performance are of one take.

    Args:
        stem: the name without its suffix.
    """
    for pattern, labels in _KNOWN:
        match = re.fullmatch(pattern, stem)
        if match:
            return labels(match)
    return {}


def third_person(words: str) -> str:
    """Return a phrase in the third person: "raise both hands" becomes "raises both hands"."""
    verb, _, rest = words.partition(" ")
    return f"{verb}{'es' if verb.endswith(('sh', 'ch', 's', 'x', 'z')) else 's'} {rest}".strip()


def _hundred_styles(match: re.Match[str]) -> dict[str, Any]:
    style = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", match["style"]).lower()
    sentence, action = _MOVES[match["move"]]
    return {
        "captions": (f"A person {sentence} in {style} style.",),
        "action": match["move"],
        "stickgen_action": action,
        "style": style,
        "source": "100style",
    }


def _bandai_namco(match: re.Match[str]) -> dict[str, Any]:
    action, style = match["action"], match["style"].replace("-", " ")
    sentence = _WORDINGS.get(action, third_person(action.replace("-", " ")))
    return {
        "captions": (f"A person {sentence} in {style} style.",),
        "action": action,
        "stickgen_action": _CLASSES.get(action.split("-")[0]),
        "style": style,
        "take": match["take"],
        "source": "bandai_namco",
    }


def _aist(match: re.Match[str]) -> dict[str, Any]:
    genre = _GENRES[match["genre"]]
    return {
        "captions": (f"A person dances {genre}.",),
        "action": genre,
        "stickgen_action": "dance",
        "take": f"g{match['genre']}_{match['situation']}_{match['dancer']}_{match['choreography']}",
        "subject": match["dancer"],
        "source": "aist",
    }


_KNOWN: tuple[tuple[str, Callable[[re.Match[str]], dict[str, Any]]], ...] = (
    (rf"(?P<style>[A-Za-z]+)_(?P<move>{'|'.join(_MOVES)})\d?", _hundred_styles),
    (r"(?P<take>dataset-[12]_(?P<action>[a-z-]+)_(?P<style>[a-z-]+))_\d+", _bandai_namco),
    (
        rf"g(?P<genre>{'|'.join(_GENRES)})_(?P<situation>s[A-Z]{{2}})_c\w+?_(?P<dancer>d\d+)_m\w+?_(?P<choreography>ch\d+)",
        _aist,
    ),
)
