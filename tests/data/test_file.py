import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.data.file import open_clips, pack, read_sequences, write_sequences
from stickgen.data.packed import PackedClips
from stickgen.errors import DataError, OutputExistsError

CLIP = {"description": "a walk", "motion": torch.ones(5, 20), "embedding": torch.ones(8), "quality_score": 0.9}


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "clips.pt"
    write_sequences(path, [CLIP, CLIP], {"fps": 25})
    sequences, info = read_sequences(path)
    assert info == {"fps": 25}
    assert len(sequences) == 2
    torch.testing.assert_close(sequences[1]["motion"], CLIP["motion"])
    with pytest.raises(OutputExistsError):
        write_sequences(path, [], {})
    write_sequences(path, [CLIP], {}, overwrite=True)
    assert len(read_sequences(path)[0]) == 1


@pytest.mark.parametrize("new_format", [True, False])
def test_a_plain_list_as_other_programs_save_it(tmp_path: Path, new_format: bool) -> None:
    path = tmp_path / "clips.pt"
    torch.save([CLIP], path, _use_new_zipfile_serialization=new_format)
    sequences, info = read_sequences(path)
    assert info == {}
    torch.testing.assert_close(sequences[0]["motion"], CLIP["motion"])


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.victim), "w")


REFUSALS = {
    "zip": r"clips\.pt: holds Python objects.*refused",
    "legacy": r"clips\.pt: holds Python objects.*refused",
    "pickle": r"clips\.pt: not a torch file",
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", list(REFUSALS))
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path, kind: str) -> None:
    victim, path = tmp_path / "victim", tmp_path / "clips.pt"
    content = [{**CLIP, "meta": Malicious(victim)}] if kind != "pickle" else Malicious(victim)
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(DataError, match=REFUSALS[kind]) as caught:
        read_sequences(path)
    assert not victim.exists()
    assert "\n" not in str(caught.value)
    # The pickle is armed: a careless reader would have been caught.
    if kind == "pickle":
        pickle.loads(path.read_bytes()).close()
        assert victim.exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04broken", b"\x80\x02."])
def test_damaged_files_are_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clips.pt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"clips\.pt: not a torch file, or damaged"):
        read_sequences(path)


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "clips.pt"
    write_sequences(path, [CLIP] * 20, {})
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="not a torch file, or damaged"):
        read_sequences(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [({"a": torch.ones(1)}, "list of clips"), (torch.ones(3), "list of clips"), ([], "no clips")],
)
def test_files_without_clips(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "clips.pt"
    torch.save(content, path)
    with pytest.raises(DataError, match=message):
        read_sequences(path)


@pytest.mark.parametrize("info", [None, {}, {"text_encoder": None}, {"text_encoder": {"id": "org/encoder"}}])
def test_records_of_the_file(tmp_path: Path, info: Any) -> None:
    path = tmp_path / "clips.pt"
    torch.save({"sequences": [CLIP], "info": info}, path)
    assert read_sequences(path)[1] == (info or {})


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("made by hand", "info: a dict expected, str found"),
        (["a"], "info: a dict expected, list found"),
        ([], "info: a dict expected, list found"),
        ({"text_encoder": "org/encoder"}, r"info\.text_encoder: a dict expected, str found"),
    ],
)
def test_records_of_another_kind(tmp_path: Path, info: Any, message: str) -> None:
    path = tmp_path / "clips.pt"
    torch.save({"sequences": [CLIP], "info": info}, path)
    with pytest.raises(DataError, match=rf"clips\.pt: {message}"):
        read_sequences(path)


def test_a_folder_is_never_replaced_by_a_data_file(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("")
    with pytest.raises(OutputExistsError, match="is a folder"):
        write_sequences(tmp_path, [CLIP], {}, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.pt: no such file"):
        read_sequences(tmp_path / "none.pt")


def test_a_slow_opening_is_told_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "clips.pt"
    write_sequences(path, [CLIP], {})
    with caplog.at_level("INFO"):
        open_clips(path)
        assert not caplog.messages
        monkeypatch.setattr("stickgen.data.file.SLOW_SECONDS", 0.0)
        open_clips(path)
    (message,) = caplog.messages
    assert f"`stickgen pack {path} {tmp_path / 'clips.safetensors'}` makes a file that opens at once" in message


def test_a_packed_file_is_told_by_its_name_in_capitals_too(tmp_path: Path) -> None:
    path, packed = tmp_path / "CLIPS.SAFETENSORS", tmp_path / "PACKED.Safetensors"
    write_sequences(path, [CLIP], {"fps": 25})
    clips, info = open_clips(path)
    assert isinstance(clips, PackedClips)
    assert info == {"fps": 25}
    assert len(pack(path, packed).infos) == len(open_clips(packed)[0].infos) == 1


@pytest.mark.parametrize("name", ["walk.bvh", "joints.npz", "JOINTS.NPZ"])
def test_motion_capture_is_told_how_to_become_a_data_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"HIERARCHY")
    with pytest.raises(DataError) as caught:
        open_clips(path)
    assert str(caught.value).startswith(f"{path}: motion capture, not a data file; stickgen prepare {path} --output")


@pytest.mark.parametrize("name", ["folder", "folder.safetensors"])
def test_a_folder_without_packed_files_says_what_would_be_one(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=rf"{re.escape(name)}: no packed files \(.safetensors\) found; `stickgen pack`"):
        open_clips(tmp_path / name)
