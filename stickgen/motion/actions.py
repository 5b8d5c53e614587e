"""The action vocabulary: the index of a name is the class the model predicts."""

from stickgen.errors import DataError

ACTIONS: tuple[str, ...] = (
    "idle", "walk", "run", "sprint", "jump", "wave", "talk", "shout", "whisper", "sing", "point", "clap",
    "batting", "pitching", "catching", "running_bases", "fielding", "throwing", "kicking", "dribbling",
    "shooting", "fight", "punch", "kick", "dodge", "sit", "stand", "kneel", "lie_down", "eating", "drinking",
    "reading", "typing", "looking_around", "climbing", "crawling", "swimming", "flying", "celebrate", "dance",
    "cry", "laugh", "handshake", "hug", "high_five", "fight_stance",
)  # fmt: skip
"""The 46 names; position is index."""

NUM_ACTIONS = 64
"""Rows of the embedding table and classes of the action head; those beyond the names are spare."""

_INDEX = {name: index for index, name in enumerate(ACTIONS)}


def action_index(name: str) -> int:
    """Return the class index of an action name.

    Raises:
        DataError: the name is not in the vocabulary.
    """
    try:
        return _INDEX[name]
    except KeyError:
        raise DataError(f"action {name!r} is not in the vocabulary (see stickgen/motion/actions.py)") from None


def action_name(index: int) -> str:
    """Return the name of a class index; spare rows are called ``spare_N``."""
    return ACTIONS[index] if 0 <= index < len(ACTIONS) else f"spare_{index}"
