"""What goes into a data file: clips that are in others already, of the labels asked for, and splits fixed for good."""

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

from stickgen.config import DataConfig
from stickgen.data.clips import ClipInfo
from stickgen.data.file import read_sequences
from stickgen.data.sequences import SequenceClips
from stickgen.data.split import divide_takes, fixed_splits, refuse_empty
from stickgen.errors import DataError
from stickgen.motion.actions import ACTIONS
from stickgen.motion.skeleton import skeleton_of, to_stick_5


class LabelFilter:
    """Keeps what has one of the wanted labels, and knows which labels it has met, for a message over all sources.

    Args:
        only: the wanted labels; empty keeps all.
    """

    def __init__(self, only: Sequence[str] = ()) -> None:
        self._only = frozenset(only)
        self._met: set[str] = set()

    def __call__(self, labels: Set[str]) -> bool:
        """Return whether to keep what has these labels."""
        self._met |= labels
        return not self._only or not self._only.isdisjoint(labels)

    def check(self) -> None:
        """Stop where nothing that was met has a wanted label.

        Raises:
            DataError: so it is; the message lists the labels there are.
        """
        if self._only and self._only.isdisjoint(self._met):
            wanted, known = ", ".join(sorted(self._only)), ", ".join(sorted(self._met)) or "none"
            raise DataError(f"--only {wanted}: no clip has that label; there are {known}")


def gather_sequences(path: Path, dim: int, wanted: LabelFilter | None = None) -> list[dict[str, Any]]:
    """Read the clips of a data file, as sequences of another.

    Args:
        path: the data file (docs/data.md).
        dim: numbers a frame of the other; 48 are reduced to 20 where it asks for them.
        wanted: keeps clips by their labels, ``meta.action`` and names of the vocabulary; None keeps all.

    Returns:
        the sequences, perhaps none, whose captions' embeddings the caller is to replace: files may be of different
        encoders.

    Raises:
        DataError: the file is not as described, or has 20 numbers where 48 are wanted.
    """
    sequences, _ = read_sequences(path)
    clips = SequenceClips(sequences, str(path)).infos
    wanted = wanted or LabelFilter()
    chosen = {clip.index for clip in clips if wanted(_labels(sequences[clip.index], clip))}
    for clip in clips:
        if clip.dim not in (dim, skeleton_of(48).dim):
            raise DataError(f"{path}: {clip.label}: 20 numbers a frame cannot become {dim}; leave --dim at 20")
    return [
        {
            **sequences[index],
            "motion": to_stick_5(sequences[index]["motion"]) if dim == 20 else sequences[index]["motion"],
        }
        for index in sorted(chosen)
    ]


def fix_splits(sequences: Sequence[dict[str, Any]], where: str) -> None:
    """Write into ``meta.split`` where each clip goes by default, every source divided for itself.

    Whatever is then chosen of the file's clips, or added to them, a test clip stays a test clip. A source is divided
    as it would be if it were alone in a file, but for takes that are fixed already, by its file or as those of a
    source before it: training divides by the take's name, whatever the source. Such a source may lack a split.

    Raises:
        DataError: a source has too few takes, or a take is fixed in two splits.
    """
    defaults = DataConfig()
    infos = SequenceClips(sequences, where).infos
    fixed = fixed_splits(infos, where)
    sources: dict[str, list[ClipInfo]] = defaultdict(list)
    for clip in infos:
        sources[clip.source].append(clip)
    for source, clips in sources.items():
        here = f"{where}: source {source!r}"
        known = [replace(clip, split=fixed.get(clip.take)) for clip in clips]
        split_of = divide_takes(known, defaults.val_fraction, defaults.test_fraction, defaults.split_seed, here)
        if fixed.keys().isdisjoint(split_of):
            refuse_empty(split_of, len(clips), here)
        for clip in clips:
            sequence = sequences[clip.index]
            sequence["meta"] = {**(sequence.get("meta") or {}), "split": split_of[clip.take]}
        fixed |= split_of


def _labels(sequence: dict[str, Any], clip: ClipInfo) -> set[str]:
    own = (sequence.get("meta") or {}).get("action")
    names = {ACTIONS[i] for i in clip.action_counts or {} if i < len(ACTIONS)}
    return {own, *names} if own else names
