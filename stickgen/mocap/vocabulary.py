"""Action labels of other people's data, and the action vocabulary."""

import difflib
import re

from stickgen.errors import DataError
from stickgen.motion.actions import ACTIONS


def match_action(label: str) -> str | None:
    """Return the name in the vocabulary that a label means, None where it means none.

    Case, spaces and hyphens do not count, nor do endings: "Walking" and "walks" are walk, "drink" is drinking.
    """
    plain = _plain(label)
    if plain in ACTIONS:
        return plain
    return _BY_STEM.get(_stem(plain))


def suggest_actions(label: str) -> list[str]:
    """Return up to three names that are a word of a label, or are spelt like it."""
    plain = _plain(label)
    found = [name for word in plain.split("_") for name in ACTIONS if _stem(name) == _stem(word)]
    found += difflib.get_close_matches(plain, ACTIONS, n=3, cutoff=0.75)
    return list(dict.fromkeys(found))[:3]


def checked_action(label: str) -> str:
    """Return the name in the vocabulary of a label that has to have one.

    Raises:
        DataError: it has none; the message names those that are spelt like it.
    """
    name = match_action(label)
    if name is None:
        near = suggest_actions(label)
        way_out = f"did you mean {' or '.join(near)}?" if near else f"choose from: {', '.join(ACTIONS)}"
        raise DataError(f"action {label!r} is not in the vocabulary; {way_out}")
    return name


def _plain(label: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")


def _stem(plain: str) -> str:
    return "_".join(_stem_of_word(word) for word in plain.split("_"))


def _stem_of_word(word: str) -> str:
    for ending in ("ing", "es", "s", "ed", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 2 and not word.endswith("ss"):
            word = word.removesuffix(ending)
            break
    # "running" has an n that "run" has not.
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls" else word


_BY_STEM: dict[str, str] = {}
for _name in ACTIONS:
    # Of "kick" and "kicking", which are both names, the first.
    _BY_STEM.setdefault(_stem(_name), _name)
