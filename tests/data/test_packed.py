import json
import pickle
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from stickgen.config import DataConfig
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.file import open_clips, pack, read_sequences, write_sequences
from stickgen.data.packed import PackedClips
from stickgen.data.packed_table import FORMAT
from stickgen.digests import DIGEST_KEY
from stickgen.errors import ConfigError, DataError, OutputExistsError
from tests.data.packed_v1 import digest_of, write_v1
from tests.random_clips import assert_same, random_sequence, random_sequences

INFO = {"text_encoder": {"id": "org/encoder", "dim": 32}, "fps": 25}


def mixed_sequences() -> list[dict[str, Any]]:
    """Both figures, one to three actors, every label present and absent."""
    padded = torch.randn(6, 3, 20)
    padded[:, 1] = 0
    return [
        random_sequence(9, seed=0, quality_score=0.9, camera=torch.randn(9, 3)),
        random_sequence(6, seed=1, motion=padded, physics=torch.randn(6, 3, 6), camera=torch.randn(6, 3)),
        random_sequence(7, seed=2, motion=torch.randn(7, 48), actions=None, source="cmu"),
        random_sequence(4, seed=3, motion=torch.randn(4, 3, 48), actions=torch.randint(0, 64, (4, 3)), physics=None),
        random_sequence(5, seed=4, meta={"take": "ünïcode", "split": "val"}, quality_score=0.85),
        random_sequence(1, seed=5, meta={"split": "test", "style": "tired"}),
        random_sequence(8, seed=6, meta=None, motion=torch.randn(8, 20, dtype=torch.float64)),
    ]


def packed_pair(folder: Path, sequences: list[dict[str, Any]]) -> tuple[Path, Path]:
    """The same clips in a file of torch's and a packed one."""
    write_sequences(folder / "clips.pt", sequences, INFO)
    pack(folder / "clips.pt", folder / "clips.safetensors")
    return folder / "clips.pt", folder / "clips.safetensors"


@pytest.mark.parametrize("max_frames", [None, 5])
def test_a_packed_file_holds_the_same_clips(tmp_path: Path, max_frames: int | None) -> None:
    (loose, info), (packed, packed_info) = (
        open_clips(path, max_frames) for path in packed_pair(tmp_path, mixed_sequences())
    )
    assert packed_info == info == INFO
    assert packed.sequences == loose.sequences == 7
    assert len(packed.infos) == len(loose.infos) == 10
    for ours, theirs in zip(packed.infos, loose.infos, strict=True):
        assert_same(ours, theirs)
        assert list((ours.action_counts or {}).items()) == list((theirs.action_counts or {}).items())
        assert_same(packed.load(ours.position), loose.load(theirs.position))


def test_runs_on_either_file_have_the_same_splits_and_batches(tmp_path: Path) -> None:
    sequences = [{**sequence, "quality_score": 0.7 + 0.01 * i} for i, sequence in enumerate(random_sequences(20))]
    settings = {
        "val_fraction": 0.2,
        "test_fraction": 0.2,
        "dim": 20,
        "max_frames": 7,
        "conditions": ["camera", "partner"],
    }
    loose, packed = (
        ClipDataModule(DataConfig(path=str(path), **settings), seed=3)
        for path in packed_pair(tmp_path, sequences + mixed_sequences())
    )
    for data in (loose, packed):
        data.fit_to(20, 48)
    assert packed.report.dropped == loose.report.dropped
    assert packed.report.dropped["of a single frame"] == 1
    for part in ("train", "val", "test"):
        ours, theirs = getattr(packed.split, part), getattr(loose.split, part)
        assert [info.label for info in ours.infos] == [info.label for info in theirs.infos]
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        for ours, theirs in zip(getattr(packed, loader)(), getattr(loose, loader)(), strict=True):
            assert_same(ours, theirs)


def test_the_layout_is_that_of_the_docs(tmp_path: Path) -> None:
    sequences = mixed_sequences()
    write_sequences(tmp_path / "clips.safetensors", sequences, INFO)
    arrays = load_file(tmp_path / "clips.safetensors")
    with safe_open(tmp_path / "clips.safetensors", framework="pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["sequences"], json.loads(metadata["info"])) == (FORMAT, "7", INFO)
    table = {name.removeprefix("clips."): array.tolist() for name, array in arrays.items() if name.startswith("clips.")}
    assert table["frames"] == [9, 6, 6, 7, 4, 4, 4, 5, 1, 8]
    assert table["dim"] == [20, 20, 20, 48, 48, 48, 48, 20, 20, 20]
    assert table["index"] == [0, 1, 1, 2, 3, 3, 3, 4, 5, 6]
    assert table["actor"] == [0, 0, 2, 0, 0, 1, 2, 0, 0, 0]
    assert table["partner"] == [-1, 2, 1, *[-1] * 7]
    assert table["split"] == [0] * 7 + [2, 3, 0]
    assert (table["quality"][0], table["quality"][7]) == (0.9, 0.85)
    assert table["physics"] == [1, 1, 1, 1, 0, 0, 0, 1, 1, 1]
    ends = [0, *table["take.ends"]]
    takes = [bytes(table["take.text"][a:b]).decode() for a, b in pairwise(ends)]
    assert [takes[code] for code in table["take"]][6:9] == ["take 3", "ünïcode", "#5"]
    assert table["label_ends"][3] == table["label_ends"][2], "clip 3 has no labels"
    labels = zip(table["labels"], table["label_frames"], strict=True)
    assert list(labels)[: table["label_ends"][0]] == list(Counter(sequences[0]["actions"].tolist()).items())
    tracks = [sequences[0][name] for name in ("motion", "embedding", "physics", "camera", "actions")]
    assert bytes(table["digest"][0]).hex() == digest_of(*tracks)
    assert arrays["motion"].shape == (20 * (9 + 6 + 6 + 5 + 1 + 8) + 48 * (7 + 4 + 4 + 4),)
    torch.testing.assert_close(arrays["motion"][180:300].view(6, 20), sequences[1]["motion"][:, 0])
    assert arrays["embedding"].shape == (10, 32)
    assert arrays["physics"].shape == (42, 6)
    assert arrays["camera"].shape == (21, 3)
    assert arrays["actions"].dtype == torch.uint8
    assert arrays["actions"][:9].tolist() == sequences[0]["actions"].tolist()


def test_labels_that_no_clip_has_take_no_room(tmp_path: Path) -> None:
    path = tmp_path / "clips.safetensors"
    write_sequences(path, random_sequences(3, actions=None, physics=None), {})
    assert {name for name in load_file(path) if not name.startswith("clips.")} == {"motion", "embedding"}
    clip = open_clips(path)[0].load(2)
    assert clip.actions is clip.physics is clip.camera is None


def test_who_moves_is_kept_and_takes_no_room_where_nobody_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nobody.safetensors"
    sequences = random_sequences(3)
    write_sequences(path, sequences, {})
    assert not [name for name in load_file(path) if "subject" in name]
    assert [info.subject for info in open_clips(path)[0].infos] == ["", "", ""]
    sequences[1]["meta"] = {"take": "a", "subject": " anna "}
    packed = packed_pair(tmp_path, sequences)[1]
    (tmp_path / "shards").mkdir()
    pack(packed, tmp_path / "shards" / "a.safetensors")
    write_sequences(tmp_path / "shards" / "b.safetensors", random_sequences(2), INFO)
    for name in ("clips.safetensors", "clips.pt", "shards"):
        store, _ = open_clips(tmp_path / name)
        assert [info.subject for info in store.infos][:3] == ["", "anna", ""]
        assert store.load(1).subject == "anna"


def test_numbers_are_checked_when_a_clip_is_packed_and_when_it_is_used(tmp_path: Path) -> None:
    sequences = random_sequences(4)
    path = tmp_path / "clips.safetensors"
    write_sequences(path, sequences, {})
    content = bytearray(path.read_bytes())
    begins = 8 + int.from_bytes(content[:8], "little")
    begins += json.loads(content[8:begins])["motion"]["data_offsets"][0]
    at = begins + 4 * 20 * (8 + 5 + 2)  # frame 2 of clip 2
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    clips, _ = open_clips(path)
    clips.load(1)
    message = r"clip 2: motion: finite numbers expected, NaN or infinity found at position 2"
    with pytest.raises(DataError, match=rf"clips\.safetensors: {message}"):
        clips.load(2)

    sequences[2]["motion"][2] = torch.nan
    write_sequences(tmp_path / "clips.pt", sequences, {})
    with pytest.raises(DataError, match=rf"clips\.pt: {message}"):
        pack(tmp_path / "clips.pt", path, overwrite=True)
    assert path.read_bytes() == content
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clips.pt", "clips.safetensors"]


def test_a_worker_maps_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "clips.safetensors"
    write_sequences(path, random_sequences(50), {})
    store = PackedClips(path, 6)
    sent = pickle.dumps(store)
    assert len(sent) < 1000
    assert_same(pickle.loads(sent).load(7), store.load(7))


def test_outputs_are_kept_and_names_checked(tmp_path: Path) -> None:
    loose, packed = packed_pair(tmp_path, random_sequences(3))
    with pytest.raises(OutputExistsError):
        pack(loose, packed)
    with pytest.raises(ConfigError, match=r"data\.bin: a name that ends in \.safetensors expected"):
        pack(loose, tmp_path / "data.bin")
    pack(packed, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == packed.read_bytes()


def test_records_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    torch.save({"sequences": random_sequences(3), "info": {"mean": torch.ones(2)}}, tmp_path / "clips.pt")
    assert read_sequences(tmp_path / "clips.pt")[1]
    with pytest.raises(DataError, match=r"out\.safetensors: info: plain lists, dicts, strings and numbers expected"):
        pack(tmp_path / "clips.pt", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_what_is_no_packed_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "clips.safetensors"
    with pytest.raises(DataError, match=r"clips\.safetensors: no such file"):
        open_clips(path)
    path.write_bytes(b"hello")
    with pytest.raises(DataError, match="not a safetensors file, or damaged"):
        open_clips(path)
    save_file({"weight": torch.ones(3)}, path)
    with pytest.raises(DataError, match="not a packed data file; `stickgen pack` makes one"):
        open_clips(path)
    write_sequences(path, random_sequences(3), {}, overwrite=True)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="not a safetensors file, or damaged"):
        open_clips(path)


@pytest.mark.parametrize("max_frames", [None, 5])
def test_files_of_the_first_version_hold_the_same_clips(tmp_path: Path, max_frames: int | None) -> None:
    sequences = mixed_sequences()
    write_v1(tmp_path / "first.safetensors", sequences, INFO)
    write_sequences(tmp_path / "second.safetensors", sequences, INFO)
    (first, record), (second, _) = (
        open_clips(tmp_path / f"{name}.safetensors", max_frames) for name in ("first", "second")
    )
    assert record == INFO
    assert first.sequences == second.sequences
    for old, new in zip(first.infos, second.infos, strict=True):
        assert_same(old, new)
        assert_same(first.load(old.position), second.load(new.position))
        assert first.digest(old.position) == second.digest(new.position)
        assert list((old.action_counts or {}).items()) == list((new.action_counts or {}).items())


def test_files_of_the_first_version_are_packed_anew(tmp_path: Path) -> None:
    write_sequences(tmp_path / "clips.pt", mixed_sequences(), INFO)
    sequences, _ = read_sequences(tmp_path / "clips.pt")
    write_v1(tmp_path / "first.safetensors", sequences, INFO)
    pack(tmp_path / "first.safetensors", tmp_path / "anew.safetensors")
    pack(tmp_path / "clips.pt", tmp_path / "second.safetensors")
    assert (tmp_path / "anew.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()


def test_a_file_of_an_earlier_version_has_no_styles(tmp_path: Path) -> None:
    path = tmp_path / "clips.safetensors"
    write_v1(path, mixed_sequences(), INFO)
    assert "tired" in {info.style for info in open_clips(path)[0].infos}
    write_v1(path, mixed_sequences(), INFO, style=None, digest=None)
    assert {info.style for info in open_clips(path)[0].infos} == {""}
    open_clips(path)[0].load(3)


def test_changed_numbers_of_a_first_version_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "clips.safetensors"
    write_v1(path, mixed_sequences(), INFO)
    motion = load_file(path)["motion"]
    motion[25] += 1
    write_v1(path, mixed_sequences(), INFO, arrays={"motion": motion})
    with pytest.raises(DataError, match="clip 0: damaged: its numbers are not those that were written"):
        open_clips(path)[0].load(0)


DAMAGES: dict[str, dict[str, Any]] = {
    "a column is missing": {"take": None},
    "a column is too short": {"take": ["a"]},
    "a column is of another kind": {"take": list(range(10))},
    "no clips": {"frames": []},
    "frames do not add up": {"frames": [9, 6, 6, 7, 4, 4, 4, 5, 1, 9]},
    "negative frames": {"frames": [9, 6, 6, 7, 4, 4, 4, 5, 10, -1]},
    "an unknown figure": {"dim": [21] * 10},
    "a partner of another length": {"partner": [3, *[None] * 9]},
    "a partner that is not there": {"partner": [10, *[None] * 9]},
    "an unknown split": {"split": ["dev", *[None] * 9]},
    "a quality beyond 1": {"quality": [1.5, *[None] * 9]},
    "a quality that is no number": {"quality": [float("nan"), *[None] * 9]},
    "an array is missing": {"arrays": {"physics": None}},
    "an array of another type": {"arrays": {"embedding": torch.ones(10, 32, dtype=torch.float16)}},
    "an array of another shape": {"arrays": {"embedding": torch.ones(9, 32)}},
    "an array without a shape": {"arrays": {"embedding": torch.tensor(1.0)}},
    "a table that is none": {"arrays": {"clips": torch.ones(3, dtype=torch.uint8)}},
    "a record that is none": {"metadata": {"info": "{"}},
    "a count that is none": {"metadata": {"sequences": "many"}},
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_tables_and_arrays_that_do_not_agree_are_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "clips.safetensors"
    write_v1(path, mixed_sequences(), INFO, **{"digest": None, **DAMAGES[damage]})
    with pytest.raises(DataError, match=r"clips\.safetensors: damaged, or not a packed data file: ") as caught:
        open_clips(path)
    assert "\n" not in str(caught.value)


def changed(path: Path, name: str, change: Any) -> None:
    """Write a packed file of which an array is changed; without the digest, which would only tell that it is."""
    write_sequences(path, mixed_sequences(), INFO, overwrite=True)
    with safe_open(path, framework="pt") as file:
        metadata = {key: value for key, value in file.metadata().items() if key != DIGEST_KEY}
    arrays = load_file(path)
    arrays[name] = change(arrays[name])
    save_file({name: array for name, array in arrays.items() if array is not None}, path, metadata=metadata)


def put(place: int, value: float) -> Any:
    def change(array: Tensor) -> Tensor:
        array[place] = value
        return array

    return change


TABLE_DAMAGES: dict[str, tuple[str, Any]] = {
    "a column is missing": ("take", lambda _: None),
    "a column is too short": ("index", lambda a: a[:-1].clone()),
    "a column is of another kind": ("partner", lambda a: a.double()),
    "no clips": ("frames", lambda a: a[:0].clone()),
    "frames do not add up": ("frames", put(9, 9)),
    "negative frames": ("frames", put(9, -1)),
    "an unknown figure": ("dim", put(0, 21)),
    "a partner of another length": ("partner", put(0, 3)),
    "a partner that is not there": ("partner", put(0, 10)),
    "an unknown split": ("split", put(0, 4)),
    "a quality beyond 1": ("quality", put(0, 1.5)),
    "an infinite quality": ("quality", put(0, float("inf"))),
    "a text that is not there": ("take", put(0, 99)),
    "a text before the first": ("take", put(0, -1)),
    "texts that end too late": ("take.ends", put(-1, 10**9)),
    "texts that end before they begin": ("take.ends", put(1, 0)),
    "a text that ends within a character": ("take.ends", put(3, 25)),
    "texts that are none": ("take.text", put(0, 0xFF)),
    "labels that end too late": ("label_ends", put(-1, 10**9)),
    "a label of no frames": ("label_frames", put(0, 0)),
    "a clip that lost its labels": ("actions", put(0, 0)),
    "a flag that is none": ("physics", put(0, 2)),
    "an action that is none": ("labels", put(0, 64)),
    "a negative place": ("index", put(0, -1)),
    "digests of another width": ("digest", lambda a: a[:, :4].clone()),
}


@pytest.mark.parametrize("damage", list(TABLE_DAMAGES))
def test_columns_that_do_not_agree_are_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "clips.safetensors"
    name, change = TABLE_DAMAGES[damage]
    changed(path, f"clips.{name}", change)
    with pytest.raises(DataError, match=r"clips\.safetensors: damaged, or not a packed data file: ") as caught:
        open_clips(path)
    assert "\n" not in str(caught.value)


def test_a_changed_column_is_noticed_by_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "clips.safetensors"
    write_sequences(path, mixed_sequences(), INFO)
    content = path.read_bytes()
    path.write_bytes(content.replace("ünïcode".encode(), "ünïcodf".encode()))
    with pytest.raises(DataError, match=r"clips\.safetensors: damaged: its content is not what was written"):
        open_clips(path)


def test_a_label_that_the_table_does_not_have_is_told_when_its_clip_is_read(tmp_path: Path) -> None:
    path = tmp_path / "clips.safetensors"
    changed(path, "actions", put(10, 64))
    store, _ = open_clips(path)
    store.load(0)
    with pytest.raises(DataError, match=r"clip 1: actions: class indices 0 to 63 expected, 64 found"):
        store.load(1)


def test_records_and_labels_are_checked_as_those_of_other_files(tmp_path: Path) -> None:
    path = tmp_path / "clips.safetensors"
    write_v1(path, mixed_sequences(), INFO, metadata={"info": "[1]"})
    with pytest.raises(DataError, match=r"clips\.safetensors: info: a dict expected, list found"):
        open_clips(path)
    write_v1(path, mixed_sequences(), INFO)
    actions = load_file(path)["actions"]
    actions[10] = 64
    write_v1(path, mixed_sequences(), INFO, arrays={"actions": actions})
    with pytest.raises(
        DataError, match=r"clips\.safetensors: clip 1: actions: class indices 0 to 63 expected, 64 found"
    ):
        open_clips(path)
    write_v1(path, mixed_sequences(), INFO)
    assert len(open_clips(path)[0].infos) == 10
