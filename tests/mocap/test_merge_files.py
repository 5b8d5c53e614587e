from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.data.file import write_sequences
from stickgen.data.sequences import clips_from_sequences
from stickgen.data.split import split_by_take
from stickgen.errors import DataError
from stickgen.mocap.merge_files import LabelFilter, fix_splits, gather_sequences
from stickgen.motion.actions import action_index
from stickgen.motion.skeleton import to_stick_5
from tests.random_clips import random_sequence, random_sequences


def data_file(path: Path, sequences: list[dict[str, Any]]) -> Path:
    write_sequences(path, sequences, {})
    return path


def test_sequences_come_as_they_are(tmp_path: Path) -> None:
    sequences = random_sequences(3)
    gathered = gather_sequences(data_file(tmp_path / "a.pt", sequences), 20)
    assert [s["description"] for s in gathered] == [s["description"] for s in sequences]
    for ours, theirs in zip(gathered, sequences, strict=True):
        assert torch.equal(ours["motion"], theirs["motion"])
        assert ours["meta"] == theirs["meta"]


def test_the_larger_figure_is_reduced_and_the_smaller_refused(tmp_path: Path) -> None:
    large = data_file(tmp_path / "large.pt", random_sequences(2, dim=48))
    small = data_file(tmp_path / "small.pt", random_sequences(2))
    expected = [to_stick_5(s["motion"]) for s in random_sequences(2, dim=48)]
    assert all(torch.equal(s["motion"], e) for s, e in zip(gather_sequences(large, 20), expected, strict=True))
    assert gather_sequences(large, 48)[0]["motion"].shape[1] == 48
    with pytest.raises(DataError, match=r"small\.pt: clip 0: 20 numbers a frame cannot become 48; leave --dim at 20"):
        gather_sequences(small, 48)


def test_only_chosen_labels_come(tmp_path: Path) -> None:
    walk = torch.full((8,), action_index("walk"))
    path = data_file(
        tmp_path / "a.pt",
        [
            random_sequence(8, seed=0, actions=walk),
            random_sequence(8, seed=1, actions=None, meta={"take": "b", "action": "salsa"}),
            random_sequence(8, seed=2, actions=None, meta={"take": "c", "action": ""}),
        ],
    )
    for label, found in (("walk", "sequence 0"), ("salsa", "sequence 1")):
        assert [s["description"] for s in gather_sequences(path, 20, LabelFilter((label,)))] == [found]
    nowhere = LabelFilter(("swim",))
    assert gather_sequences(path, 20, nowhere) == []
    with pytest.raises(DataError, match="--only swim: no clip has that label; there are salsa, walk"):
        nowhere.check()


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"broken\.pt"):
        gather_sequences(data_file(tmp_path / "broken.pt", [{"description": "no motion"}]), 20)


def test_every_source_is_divided_as_it_would_be_alone() -> None:
    ours = random_sequences(30, source="ours")
    theirs = [random_sequence(6, seed=100 + i, source="theirs") for i in range(20)]
    together = [dict(s) for s in (*ours, *theirs)]
    fix_splits(together, "file")
    fixed = {s["description"]: s["meta"]["split"] for s in together}
    for source in (ours, theirs):
        alone = split_by_take(clips_from_sequences(source, "alone"), 0.1, 0.1, 0)
        for name in ("train", "val", "test"):
            members = getattr(alone, name)
            assert members
            assert {fixed[clip.description] for clip in members} == {name}
    assert {clip.split for clip in clips_from_sequences(together, "file")} == {"train", "val", "test"}
    assert "split" not in ours[0]["meta"], "the sequences handed in first are left alone"


def test_more_views_of_every_clip_change_no_split() -> None:
    def takes_of_test(copies: int) -> set[str]:
        sequences = [dict(s) for s in random_sequences(30) for _ in range(copies)]
        fix_splits(sequences, "file")
        return {s["meta"]["take"] for s in sequences if s["meta"]["split"] == "test"}

    assert takes_of_test(1) == takes_of_test(4)


def test_what_is_fixed_already_stays() -> None:
    sequences = random_sequences(12)
    sequences[5]["meta"] = {"take": "x", "split": "test"}
    fix_splits(sequences, "file")
    assert sequences[5]["meta"] == {"take": "x", "split": "test"}


def test_a_source_with_too_few_takes_is_named() -> None:
    with pytest.raises(DataError, match="file: source 'small': no clips left"):
        fix_splits([*random_sequences(9), *(random_sequence(seed=50 + i, source="small") for i in range(2))], "file")


def test_a_take_of_two_sources_goes_where_the_first_put_it() -> None:
    # The same names over and over: divided each for itself, some would end in two splits.
    sources = [
        [random_sequence(6, seed=count * i, take=f"take {i}", source=str(count)) for i in range(count)]
        for count in (30, 17, 12)
    ]
    together = [sequence for source in sources for sequence in source]
    fix_splits(together, "file")
    splits: dict[str, set[str]] = {}
    for sequence in together:
        splits.setdefault(sequence["meta"]["take"], set()).add(sequence["meta"]["split"])
    assert all(len(of_take) == 1 for of_take in splits.values())
    split_by_take(clips_from_sequences(together, "file"), 0.1, 0.1, 0)  # training takes the file
    alone = split_by_take(clips_from_sequences(sources[0], "alone"), 0.1, 0.1, 0)
    assert {clip.take for clip in alone.test} == {s["meta"]["take"] for s in sources[0] if s["meta"]["split"] == "test"}


def test_a_take_that_a_later_source_has_fixed_goes_there_too() -> None:
    ours = random_sequences(9, source="ours")
    theirs = [random_sequence(6, seed=50 + i, source="theirs") for i in range(9)]
    theirs[0]["meta"] = {"take": "take 0", "split": "val"}
    theirs[1]["meta"] = {"take": "take 1", "split": "test"}
    fix_splits([*ours, *theirs], "file")
    assert [s["meta"]["split"] for s in ours[:2]] == ["val", "test"]


def test_a_take_fixed_in_two_splits_by_two_sources_is_refused() -> None:
    ours, theirs = random_sequences(9, source="ours"), random_sequences(9, source="theirs")
    ours[4]["meta"] = {"take": "x", "split": "val"}
    theirs[2]["meta"] = {"take": "x", "split": "test"}
    with pytest.raises(DataError, match="file: take 'x' is fixed in test and val; one split a take"):
        fix_splits([*ours, *theirs], "file")
