"""Train, validation and test clips: by take, so that windows of one recording never lie in two splits."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from stickgen.data.clips import Clip, ClipInfo, counted
from stickgen.errors import DataError

SPLITS = ("train", "val", "test")


Part = TypeVar("Part")
Other = TypeVar("Other")
AnyClip = TypeVar("AnyClip", Clip, ClipInfo)


@dataclass(frozen=True)
class Split(Generic[Part]):
    """The clips of each split."""

    train: Part
    val: Part
    test: Part

    def map(self, change: Callable[[Part], Other]) -> "Split[Other]":
        """Return what becomes of each part."""
        return Split(train=change(self.train), val=change(self.val), test=change(self.test))


def split_by_take(
    clips: Sequence[AnyClip], val_fraction: float, test_fraction: float, seed: int, where: str = "data"
) -> Split[list[AnyClip]]:
    """Divide clips by take, seeded, with every action spread over the splits as evenly as whole takes allow.

    A clip whose file fixes its split stays there, and its take with it.

    Args:
        clips: the clips.
        val_fraction: share of clips for validation.
        test_fraction: share of clips for the test.
        seed: of the shuffling of takes.
        where: the clips' file, for messages.

    Raises:
        DataError: a take is fixed in two splits, or a split would be empty.
    """
    split_of = divide_takes(clips, val_fraction, test_fraction, seed, where)
    refuse_empty(split_of, len(clips), where)
    parts: dict[str, list[AnyClip]] = {split: [] for split in SPLITS}
    for clip in clips:
        parts[split_of[clip.take]].append(clip)
    return Split(**parts)


def divide_takes(
    clips: Sequence[AnyClip], val_fraction: float, test_fraction: float, seed: int, where: str = "data"
) -> dict[str, str]:
    """Return take → split as :func:`split_by_take` divides them; with few takes a split may have none.

    Raises:
        DataError: a take is fixed in two splits.
    """
    takes: dict[str, list[AnyClip]] = defaultdict(list)
    for clip in clips:
        takes[clip.take].append(clip)
    fixed = fixed_splits(clips, where)
    split_of = {take: fixed.get(take) for take in takes}
    free = [take for take, split in split_of.items() if split is None]
    shares = {"train": 1 - val_fraction - test_fraction, "val": val_fraction, "test": test_fraction}
    owed = dict.fromkeys(SPLITS, 0.0)
    # Takes of one action follow each other, so handing each take to the split that is owed most clips spreads the
    # action over the splits; shuffling within the action makes the choice a matter of the seed.
    for take in _by_action(free, takes, seed):
        size = len(takes[take])
        for split, share in shares.items():
            owed[split] += share * size
        chosen = max(SPLITS, key=lambda split: owed[split])
        owed[chosen] -= size
        split_of[take] = chosen
    _fill_empty(split_of, takes, free)
    return {take: split or "train" for take, split in split_of.items()}


def refuse_empty(split_of: Mapping[str, str], clips: int, where: str) -> None:
    """Stop where a split has no take.

    Args:
        split_of: take → split.
        clips: how many clips the takes have, for the message.
        where: their file, for the message.

    Raises:
        DataError: so it is.
    """
    for split in SPLITS:
        if split not in split_of.values():
            raise DataError(
                f"{where}: no clips left for {split}: {counted(clips, 'clip')} of {counted(len(split_of), 'take')}; "
                "three takes are needed, or meta.split in the clips (see docs/data.md)"
            )


def fixed_splits(clips: Sequence[Clip | ClipInfo], where: str) -> dict[str, str]:
    """Return take → split of the takes of which a clip's file fixes it.

    Raises:
        DataError: a take is fixed in two splits.
    """
    fixed: dict[str, str] = {}
    for clip in clips:
        if clip.split is not None and fixed.setdefault(clip.take, clip.split) != clip.split:
            both = " and ".join(sorted((fixed[clip.take], clip.split)))
            raise DataError(f"{where}: take {clip.take!r} is fixed in {both}; one split a take")
    return fixed


def _by_action(names: Sequence[str], takes: Mapping[str, Sequence[Clip | ClipInfo]], seed: int) -> list[str]:
    shuffled = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    return sorted(shuffled, key=lambda take: _main_action(takes[take]))


def _main_action(clips: Sequence[Clip | ClipInfo]) -> int:
    counts: Counter[int] = Counter()
    for clip in clips:
        counts.update(clip.action_counts or {})
    return counts.most_common(1)[0][0] if counts else -1


def _fill_empty(
    split_of: dict[str, str | None], takes: Mapping[str, Sequence[Clip | ClipInfo]], free: Sequence[str]
) -> None:
    """With few takes a small share may round to none: give an empty split the smallest take that can be spared."""
    for split in SPLITS:
        if split in split_of.values():
            continue
        counts = Counter(split_of.values())
        spare = [take for take in free if counts[split_of[take]] > 1]
        if spare:
            split_of[min(spare, key=lambda take: len(takes[take]))] = split
