"""Train, validation and test clips: by take or by subject, so that windows of one recording never lie in two splits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import numpy as np

from stickgen.data.clips import Clip, ClipInfo, counted
from stickgen.data.table import SPLITS, ClipInfos, numbered
from stickgen.errors import DataError

_TAKES_AT_ONCE = 1 << 16

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


@overload
def split_by_take(
    clips: ClipInfos, val_fraction: float, test_fraction: float, seed: int, where: str = ..., by: str = ...
) -> Split[ClipInfos]: ...
@overload
def split_by_take(
    clips: Sequence[AnyClip], val_fraction: float, test_fraction: float, seed: int, where: str = ..., by: str = ...
) -> Split[Sequence[AnyClip]]: ...
def split_by_take(
    clips: Sequence[Any], val_fraction: float, test_fraction: float, seed: int, where: str = "data", by: str = "take"
) -> Split[Any]:
    """Divide clips by take, seeded, with every action spread over the splits as evenly as whole takes allow.

    A clip whose file fixes its split stays there, and its take with it. By subject, all takes of a person stay together
    in the same way; a take whose clips name nobody is a person of its own.

    Args:
        clips: the clips.
        val_fraction: share of clips for validation.
        test_fraction: share of clips for the test.
        seed: of the shuffling of takes.
        where: the clips' file, for messages.
        by: "take" or "subject".

    Raises:
        DataError: a take or a subject is fixed in two splits, or a split would be empty.
    """
    takes = _Takes(ClipInfos.of(clips), where, by)
    split_of = takes.divided(val_fraction, test_fraction, seed)
    _refuse_empty(set(np.unique(split_of)), takes.count, len(clips), where, by)
    of_clip = split_of[takes.of_clip]

    def part(split: int) -> Any:
        places = np.flatnonzero(of_clip == split)
        return clips.chosen(places) if isinstance(clips, ClipInfos) else [clips[place] for place in places.tolist()]

    return Split(train=part(1), val=part(2), test=part(3))


def divide_takes(
    clips: Sequence[Clip | ClipInfo],
    val_fraction: float,
    test_fraction: float,
    seed: int,
    where: str = "data",
    by: str = "take",
) -> dict[str, str]:
    """Return take → split as :func:`split_by_take` divides them; with few takes a split may have none.

    Raises:
        DataError: a take or a subject is fixed in two splits.
    """
    takes = _Takes(ClipInfos.of(clips), where, by)
    return takes.named(takes.divided(val_fraction, test_fraction, seed))


def refuse_empty(split_of: Mapping[str, str], clips: int, where: str) -> None:
    """Stop where a split has no take.

    Args:
        split_of: take → split.
        clips: how many clips the takes have, for the message.
        where: their file, for the message.

    Raises:
        DataError: so it is.
    """
    _refuse_empty({SPLITS.index(split) + 1 for split in split_of.values()}, len(split_of), clips, where)


def fixed_splits(clips: Sequence[Clip | ClipInfo], where: str) -> dict[str, str]:
    """Return take → split of the takes of which a clip's file fixes it.

    Raises:
        DataError: a take is fixed in two splits.
    """
    takes = _Takes(ClipInfos.of(clips), where)
    return takes.named(takes.fixed)


class _Takes:
    """The takes of clips, or the groups of takes that share a subject, numbered by their first clips.

    Attributes:
        count: how many there are.
        of_clip: the number of each clip's ``[n]``.
        fixed: the split that a clip's file fixes, as the column of a table; 0 where none does, ``[count]``.

    Raises:
        DataError: one is fixed in two splits.
    """

    def __init__(self, infos: ClipInfos, where: str, by: str = "take") -> None:
        self._infos, self._by = infos, by
        self._codes, self.of_clip = numbered(infos.column("take"), len(infos.table.take.ends))
        self.count = len(self._codes)
        self._of_take: np.ndarray | None = None  # of a million takes, numbers of their own would take memory
        if by == "subject":
            self._of_take = _grouped(self.of_clip, infos)
            self.of_clip = self._of_take[self.of_clip]
            self.count = int(self._of_take.max(initial=-1)) + 1
        self.fixed = self._fixed(infos.column("split"), where)

    def named(self, split_of: np.ndarray) -> dict[str, str]:
        """Return take → split, without the takes that have none."""
        names = self._infos.table.take
        of_take = split_of if self._of_take is None else split_of[self._of_take]
        pairs = zip(self._codes.tolist(), of_take.tolist(), strict=True)
        return {names.text(code): SPLITS[split - 1] for code, split in pairs if split}

    def divided(self, val_fraction: float, test_fraction: float, seed: int) -> np.ndarray:
        """Return the split of each, from 1; see :func:`split_by_take`."""
        sizes = np.bincount(self.of_clip, minlength=self.count)
        split_of, free = self.fixed.copy(), np.flatnonzero(self.fixed == 0)
        # Takes of one action follow each other, so handing each take to the split that is owed most clips spreads the
        # action over the splits; shuffling within the action makes the choice a matter of the seed.
        shuffled = free[np.random.default_rng(seed).permutation(len(free))]
        order = shuffled[np.argsort(self._main_actions(sizes)[shuffled], kind="stable")]
        split_of[order] = _handed_out(sizes[order], val_fraction, test_fraction)
        self._fill_empty(split_of, sizes, free)
        return split_of

    def _fixed(self, splits: np.ndarray, where: str) -> np.ndarray:
        fixed = np.zeros(self.count, dtype=np.uint8)
        clips = np.flatnonzero(splits)
        fixed[self.of_clip[clips[::-1]]] = splits[clips[::-1]]
        others = clips[fixed[self.of_clip[clips]] != splits[clips]]
        if len(others):
            splits_of_it = (fixed[self.of_clip[others[0]]], splits[others[0]])
            both = " and ".join(sorted(SPLITS[split - 1] for split in splits_of_it))
            info = self._infos[int(others[0])]
            if self._by == "subject" and info.subject:
                way_out = "use data.split_by=take, or fix other splits"
                raise DataError(f"{where}: subject {info.subject!r} is fixed in {both}; {way_out}")
            raise DataError(f"{where}: take {info.take!r} is fixed in {both}; one split a take")
        return fixed

    def _main_actions(self, sizes: np.ndarray) -> np.ndarray:
        """Return the action of most frames of each take, of several the first to appear; -1 without labels."""
        main = np.full(self.count, -1)
        clips, ends = np.argsort(self.of_clip, kind="stable"), np.cumsum(sizes)
        # Sorting the labels of a million clips at once would need more memory than their table.
        for begin in range(0, len(ends), _TAKES_AT_ONCE):
            first = ends[begin] - sizes[begin]
            some = clips[first : ends[min(begin + _TAKES_AT_ONCE, len(ends)) - 1]]
            some.sort()  # in their own order, or others would be the first to appear
            of, labels, frames = self._infos.chosen(some).labels()
            takes, best = _most_frames(self.of_clip[some][of], labels, frames)
            main[takes] = best
        return main

    @staticmethod
    def _fill_empty(split_of: np.ndarray, sizes: np.ndarray, free: np.ndarray) -> None:
        """With few takes a share may round to none: give an empty split the smallest take that can be spared."""
        for split in range(1, len(SPLITS) + 1):
            counts = np.bincount(split_of, minlength=len(SPLITS) + 1)
            spare = free[counts[split_of[free]] > 1]
            if not counts[split] and len(spare):
                split_of[spare[np.argmin(sizes[spare])]] = split


def _grouped(take_of_clip: np.ndarray, infos: ClipInfos) -> np.ndarray:
    """Return the group of each take ``[takes]``: takes of one subject, and of two whom a take has both, are one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components  # here, since SciPy takes a second to import

    subjects = infos.column("subject")
    named = np.flatnonzero([bool(infos.table.subject.encoded(code)) for code in range(len(infos.table.subject.ends))])
    clips = np.flatnonzero(np.isin(subjects, named))
    takes = int(take_of_clip.max(initial=-1)) + 1
    size = takes + len(infos.table.subject.ends)
    links = (np.ones(len(clips), dtype=np.uint8), (take_of_clip[clips], takes + subjects[clips]))
    _, group = connected_components(coo_array(links, shape=(size, size)), directed=False)
    return np.asarray(np.unique(group[:takes], return_inverse=True)[1])


def _most_frames(takes: np.ndarray, labels: np.ndarray, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return takes, and the label of most frames of each, of several the first to appear; all are of L labels."""
    if not len(takes):
        return takes, labels
    actions = int(labels.max()) + 1
    pairs, firsts, of_pair = np.unique(takes * actions + labels, return_index=True, return_inverse=True)
    total = np.bincount(of_pair, weights=frames)
    takes, labels = pairs // actions, pairs % actions
    begins = np.flatnonzero(np.diff(takes, prepend=-1))
    most = np.repeat(np.maximum.reduceat(total, begins), np.diff(begins, append=len(takes)))
    best = np.flatnonzero(total == most)
    best = best[np.argsort(-firsts[best])]  # of a take's several, the last assignment holds: the first to appear
    return takes[best], labels[best]


def _handed_out(sizes: np.ndarray, val_fraction: float, test_fraction: float) -> list[int]:
    """Give each of some takes, in their order, to the split that is owed most clips."""
    # A million takes pass through here: plain numbers instead of a dict save a second.
    train = val = test = 0.0
    share = 1 - val_fraction - test_fraction
    chosen = []
    for size in sizes.tolist():
        train += share * size
        val += val_fraction * size
        test += test_fraction * size
        if train >= val and train >= test:
            train -= size
            chosen.append(1)
        elif val >= test:
            val -= size
            chosen.append(2)
        else:
            test -= size
            chosen.append(3)
    return chosen


def _refuse_empty(present: set[int], takes: int, clips: int, where: str, by: str = "take") -> None:
    for split, name in enumerate(SPLITS, start=1):
        if split not in present:
            raise DataError(
                f"{where}: no clips left for {name}: {counted(clips, 'clip')} of {counted(takes, by)}; "
                f"three {by}s are needed, or meta.split in the clips (see docs/data.md)"
            )
