import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stickgen.data import split
from stickgen.data.clips import Clip
from stickgen.data.split import SPLITS, Split, _Takes, divide_takes, split_by_take
from stickgen.data.table import ClipInfos
from stickgen.errors import DataError
from tests.random_clips import random_clip


def takes_of(sizes: Sequence[int], action: int | None = 0) -> list[Clip]:
    """Clips of takes of the given sizes, interleaved as in a file that was shuffled."""
    actions = None if action is None else torch.full((2,), action)
    names = [f"take {action}-{i}" for i, size in enumerate(sizes) for _ in range(size)]
    clips = [random_clip(2, seed=i, take=take, index=i) for i, take in enumerate(names)]
    return [Clip(**{**vars(clip), "actions": actions}) for clip in clips[::2] + clips[1::2]]


def parts(split: Split) -> dict[str, list[Clip]]:
    return {name: getattr(split, name) for name in SPLITS}


def takes(clips: Sequence[Clip]) -> set[str]:
    return {clip.take for clip in clips}


fractions = st.sampled_from([(0.1, 0.1), (0.2, 0.1), (0.05, 0.3), (0.3, 0.3)])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, 6), min_size=3, max_size=40), shares=fractions, seed=st.integers(0, 5))
def test_takes_are_never_divided_and_no_clip_is_lost(sizes: list[int], shares: tuple[float, float], seed: int) -> None:
    clips = takes_of(sizes)
    split = split_by_take(clips, *shares, seed)
    found = [clip.index for part in parts(split).values() for clip in part]
    assert sorted(found) == list(range(len(clips)))
    assert takes(split.train).isdisjoint(takes(split.val) | takes(split.test))
    assert takes(split.val).isdisjoint(takes(split.test))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(sizes=st.lists(st.integers(1, 6), min_size=3, max_size=60), shares=fractions, seed=st.integers(0, 5))
def test_no_share_is_off_by_more_than_a_few_takes(sizes: list[int], shares: tuple[float, float], seed: int) -> None:
    split = split_by_take(takes_of(sizes), *shares, seed)
    wanted = dict(zip(SPLITS, (1 - sum(shares), *shares), strict=True))
    for name, part in parts(split).items():
        # Takes are handed out one by one: a split is never owed more than 4/3 of the largest, and one more may
        # go to a split that would be empty.
        assert abs(len(part) - wanted[name] * sum(sizes)) <= 7 / 3 * max(sizes)


@pytest.mark.parametrize("seed", range(5))
def test_many_equal_takes_give_the_shares_to_within_a_take(seed: int) -> None:
    split = split_by_take(takes_of([3] * 100), 0.1, 0.2, seed)
    assert {name: len(part) for name, part in parts(split).items()} == {
        "train": pytest.approx(210, abs=3),
        "val": pytest.approx(30, abs=3),
        "test": pytest.approx(60, abs=3),
    }


def test_a_seed_always_gives_the_same_split_and_another_a_different_one() -> None:
    clips = takes_of([2, 3, 1] * 10)
    first, again, other = (split_by_take(clips, 0.2, 0.2, seed) for seed in (1, 1, 2))
    assert [takes(part) for part in parts(first).values()] == [takes(part) for part in parts(again).values()]
    assert takes(first.val) != takes(other.val)


@pytest.mark.parametrize("seed", range(3))
def test_takes_are_divided_alike_however_many_are_looked_at_together(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    labels = [torch.tensor(draw.choices(range(4), k=5)) for _ in range(90)]
    clips = [random_clip(5, seed=i, take=f"take {draw.randrange(40)}") for i in range(90)]
    clips = [
        replace(clip, actions=own if i % 7 else None) for i, (clip, own) in enumerate(zip(clips, labels, strict=True))
    ]
    whole = parts(split_by_take(clips, 0.2, 0.2, seed))
    # By hand: the action of most frames of a take, of several the first to appear.
    counts: dict[str, Counter[int]] = {}
    for clip in clips:
        counts.setdefault(clip.take, Counter()).update(() if clip.actions is None else clip.actions.tolist())
    infos = _Takes(ClipInfos.of(clips), "data")
    mains = infos._main_actions(torch.bincount(torch.from_numpy(infos.of_clip)).numpy()).tolist()
    assert mains == [next(iter(count.most_common(1)), (-1,))[0] for count in counts.values()]
    monkeypatch.setattr(split, "_TAKES_AT_ONCE", 3)
    assert parts(split_by_take(clips, 0.2, 0.2, seed)) == whole


def test_clips_keep_the_order_of_the_file() -> None:
    clips = takes_of([2] * 20)
    order = {clip.index: place for place, clip in enumerate(clips)}
    for part in parts(split_by_take(clips, 0.2, 0.2, 0)).values():
        places = [order[clip.index] for clip in part]
        assert places == sorted(places)


@pytest.mark.parametrize("seed", range(5))
def test_every_action_is_in_every_split_where_takes_allow(seed: int) -> None:
    clips = [clip for action in (3, 7, 11, 30) for clip in takes_of([2] * 10, action)]
    for part in parts(split_by_take(clips, 0.1, 0.1, seed)).values():
        assert {int(clip.actions[0]) for clip in part if clip.actions is not None} == {3, 7, 11, 30}


def test_an_action_is_spread_in_proportion() -> None:
    clips = [clip for action in (3, 7) for clip in takes_of([2] * 50, action)]
    split = split_by_take(clips, 0.1, 0.1, 0)
    for name, expected in (("train", 80), ("val", 10), ("test", 10)):
        counts = Counter(int(clip.actions[0]) for clip in parts(split)[name] if clip.actions is not None)
        assert counts == {3: pytest.approx(expected, abs=2), 7: pytest.approx(expected, abs=2)}


def test_clips_without_actions_are_split_too() -> None:
    split = split_by_take(takes_of([1] * 10, action=None), 0.2, 0.2, 0)
    assert [len(part) for part in parts(split).values()] == [6, 2, 2]


def test_a_split_that_the_file_fixes_is_kept_for_the_whole_take() -> None:
    clips = [random_clip(2, seed=i, take=f"take {i // 2}") for i in range(40)]
    fixed = {0: "test", 6: "val", 9: "train"}
    clips = [Clip(**{**vars(clip), "split": fixed.get(clip.index)}) for clip in clips]
    for seed in range(5):
        split = split_by_take(clips, 0.1, 0.1, seed)
        assert "take 0" in takes(split.test)
        assert "take 3" in takes(split.val)
        assert "take 4" in takes(split.train)
        assert takes(split.train).isdisjoint({"take 0", "take 3"})


def test_a_file_that_fixes_all_splits_needs_no_more_than_three_clips() -> None:
    clips = [random_clip(2, seed=i, split=name) for i, name in enumerate(SPLITS)]
    for name, part in parts(split_by_take(clips, 0.1, 0.1, 0)).items():
        assert [clip.split for clip in part] == [name]


def test_a_take_fixed_in_two_splits_is_refused() -> None:
    clips = [random_clip(2, seed=i, take="01_01", split=split) for i, split in enumerate((None, "val", "test"))]
    with pytest.raises(DataError, match=r"clips\.pt: take '01_01' is fixed in test and val; one split a take"):
        split_by_take(clips, 0.1, 0.1, 0, "clips.pt")


@pytest.mark.parametrize(
    ("sizes", "said"), [([1], "1 clip of 1 take"), ([5], "5 clips of 1 take"), ([2, 7], "9 clips of 2 takes")]
)
def test_fewer_than_three_takes_are_refused(sizes: list[int], said: str) -> None:
    with pytest.raises(DataError, match=rf"clips\.pt: no clips left for \w+: {said};"):
        split_by_take(takes_of(sizes), 0.1, 0.1, 0, "clips.pt")


def test_three_takes_are_enough_however_small_a_share() -> None:
    split = split_by_take(takes_of([9, 1, 4]), 0.01, 0.01, 0)
    assert takes(split.train) == {"take 0-0"}
    assert len(takes(split.val)) == len(takes(split.test)) == 1


def people(subjects: Sequence[str], takes: Sequence[int] | None = None, **facts: str) -> list[Clip]:
    """Two clips of every take, each take of a subject."""
    names = takes or range(len(subjects))
    return [
        Clip(**{**vars(random_clip(2, seed=i, take=f"take {take}", index=2 * i + j)), "subject": who, **facts})
        for i, (who, take) in enumerate(zip(subjects, names, strict=True))
        for j in range(2)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_by_subject_nobody_is_in_two_splits(seed: int) -> None:
    clips = people([f"subject {i % 7}" for i in range(40)] + [""] * 5)
    by_take, by_subject = (split_by_take(clips, 0.2, 0.2, seed, "clips", by) for by in ("take", "subject"))
    found = [{clip.subject for clip in part if clip.subject} for part in parts(by_subject).values()]
    assert all(found)
    assert sum(map(len, found)) == len(set.union(*found)) == 7
    assert sorted(clip.index for part in parts(by_subject).values() for clip in part) == list(range(90))
    assert sum(len({clip.subject for clip in part}) for part in parts(by_take).values()) > 8
    assert divide_takes(clips, 0.2, 0.2, seed, by="subject") == {
        clip.take: name for name, part in parts(by_subject).items() for clip in part
    }


def test_a_take_of_two_people_keeps_both_together() -> None:
    clips = people(["a", "b", "b", "c", "d", "e"], [0, 0, 1, 2, 3, 4])  # take 0 has a and b
    for seed in range(4):
        split = split_by_take(clips, 0.2, 0.2, seed, by="subject")
        (home,) = {name for name, part in parts(split).items() for clip in part if clip.subject in "ab"}
        assert home in SPLITS


def test_by_subject_a_split_that_is_fixed_holds_for_all_of_a_subject() -> None:
    clips = people(["a", "a", "b", "c", "d"]) + people(["a"], [9], split="test")
    assert {clip.subject for clip in split_by_take(clips, 0.2, 0.2, 0, by="subject").test} == {"a"}
    clips += people(["a"], [10], split="val")
    split_by_take(clips, 0.2, 0.2, 0)
    with pytest.raises(DataError, match=r"clips\.pt: subject 'a' is fixed in test and val; use data\.split_by=take"):
        split_by_take(clips, 0.2, 0.2, 0, "clips.pt", "subject")
    with pytest.raises(DataError, match=r"no clips left for .*: 8 clips of 2 subjects; three subjects are needed"):
        split_by_take(people(["a", "b", "a", "b"]), 0.2, 0.2, 0, by="subject")
