"""Clips that are in data files already, taken over into another, and splits fixed for good."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stickgen.actions import ACTIONS
from stickgen.config import DataConfig
from stickgen.data.clips import ClipInfo
from stickgen.data.file import read_sequences
from stickgen.data.sequences import SequenceClips
from stickgen.data.split import SPLITS, split_by_take
from stickgen.errors import DataError
from stickgen.skeleton import skeleton_of, to_stick_5


def gather_sequences(path: Path, dim: int, only: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read the clips of a data file, as sequences of another.

    Args:
        path: the data file (docs/data.md).
        dim: numbers a frame of the other; 48 are reduced to 20 where it asks for them.
        only: labels to keep, ``meta.action`` or names of the vocabulary; empty keeps all.

    Returns:
        the sequences, whose captions' embeddings the caller is to replace: files may be of different encoders.

    Raises:
        DataError: the file is not as described, has 20 numbers where 48 are wanted, or no clip has such a label.
    """
    sequences, _ = read_sequences(path)
    clips = SequenceClips(sequences, str(path)).infos
    chosen = {clip.index for clip in clips if not only or _labels(sequences[clip.index], clip) & set(only)}
    if not chosen:
        raise DataError(f"{path}: --only {', '.join(only)}: no clip has that label")
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
    as it would be if it were alone in a file; what its file has fixed already stays.

    Raises:
        DataError: a source has too few takes.
    """
    defaults = DataConfig()
    sources: dict[str, list[ClipInfo]] = defaultdict(list)
    for clip in SequenceClips(sequences, where).infos:
        sources[clip.source].append(clip)
    for source, clips in sources.items():
        split = split_by_take(
            clips, defaults.val_fraction, defaults.test_fraction, defaults.split_seed, f"{where}: source {source!r}"
        )
        for name in SPLITS:
            for clip in getattr(split, name):
                sequence = sequences[clip.index]
                sequence["meta"] = {**(sequence.get("meta") or {}), "split": name}


def _labels(sequence: dict[str, Any], clip: ClipInfo) -> set[str]:
    own = (sequence.get("meta") or {}).get("action")
    names = {ACTIONS[i] for i in clip.action_counts or {} if i < len(ACTIONS)}
    return names if own is None else {own, *names}
