"""Packing that was stopped and continues."""

import os
from pathlib import Path

import pytest

from stickgen.data import packed_writer
from stickgen.data.file import open_clips, pack, pack_each, write_sequences
from stickgen.errors import DataError, OutputExistsError
from tests.data.test_packed import INFO, mixed_sequences
from tests.random_clips import random_sequence, random_sequences

ANEW = "of another source, or damaged; everything is done anew"
CONTINUES = "continues what a stopped command had done"


@pytest.fixture(autouse=True)
def saved_after_every_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_writer, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(packed_writer, "_TOLD", 1)


def stop_at(clip: int, begun: list[int], total: int = 10) -> packed_writer.Progress:
    def progress(what: str, done: int, clips: int) -> None:
        begun.append(done)
        assert (what, clips) == ("packing", total)
        if done == clip:
            raise KeyboardInterrupt

    return progress


def test_stopped_packing_goes_on_where_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, whole, output = (tmp_path / name for name in ("clips.pt", "whole.safetensors", "out.safetensors"))
    write_sequences(source, mixed_sequences(), INFO)
    pack(source, whole)
    begun: list[int] = []
    # A clip is on the disk, and recorded, when the next one begins.
    for stop, first in ((4, 0), (6, 3), (-1, 5)):
        begun.clear()
        if stop > 0:
            with pytest.raises(KeyboardInterrupt):
                pack(source, output, progress=stop_at(stop, begun))
        else:
            pack(source, output, progress=stop_at(stop, begun))
        assert begun[0] == first
    assert caplog.messages == [f"{output}.unfinished: {CONTINUES}"] * 2
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips.pt", "out.safetensors", "whole.safetensors"]


@pytest.mark.parametrize("change", ["touched", "other clips", "journal", "short"])
def test_another_source_is_packed_anew(tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture) -> None:
    source, output = tmp_path / "clips.pt", tmp_path / "out.safetensors"
    write_sequences(source, mixed_sequences(), INFO)
    with pytest.raises(KeyboardInterrupt):
        pack(source, output, progress=stop_at(4, []))
    folder = tmp_path / "out.safetensors.unfinished"
    if change == "touched":
        os.utime(source, ns=(0, 0))
    elif change == "other clips":
        write_sequences(source, mixed_sequences()[::-1], INFO, overwrite=True)
    elif change == "journal":
        (folder / "clips.json").write_text('{"clips": -3')
    else:
        os.truncate(folder / "clips.part", 1000)
    pack(source, output)
    assert caplog.messages == [f"{folder}: {ANEW}"]
    pack(source, tmp_path / "whole.safetensors")
    assert output.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()


def test_a_clip_that_cannot_be_packed_leaves_nothing(tmp_path: Path) -> None:
    sequences = random_sequences(3)
    sequences[2]["motion"][0, 0] = float("nan")
    write_sequences(tmp_path / "clips.pt", sequences, INFO)
    with pytest.raises(DataError, match="finite"):
        pack(tmp_path / "clips.pt", tmp_path / "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["clips.pt"]


def test_files_of_a_folder_that_are_packed_are_kept(tmp_path: Path) -> None:
    sources = [tmp_path / f"{name}.pt" for name in "abc"]
    for seed, source in enumerate(sources):
        write_sequences(source, [random_sequence(seed=10 * seed + i) for i in range(3)], INFO)
    out, calls = tmp_path / "out", []

    def progress(what: str, done: int, total: int) -> None:
        calls.append(done)
        if len(calls) == 5:  # in the second file
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack_each(sources, out, progress=progress)
    before = (out / "a.safetensors").stat().st_mtime_ns
    packed = pack_each(sources, out)
    assert [path.name for path in packed] == ["a.safetensors", "b.safetensors", "c.safetensors"]
    assert [len(store.infos) for store in packed.values()] == [3, 3, 3]
    assert (out / "a.safetensors").stat().st_mtime_ns == before, "not packed again"
    assert len(open_clips(out)[0].infos) == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "b.pt", "c.pt", "out"]
    with pytest.raises(OutputExistsError, match=r"a\.safetensors: already exists"):
        pack_each(sources, out)
