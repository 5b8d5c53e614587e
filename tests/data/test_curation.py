import hashlib
from pathlib import Path

import pytest
import torch

from stickgen.config import DataConfig
from stickgen.data.curation import FORMAT, read_curation, write_curation
from stickgen.data.dataset import open_dataset
from stickgen.data.file import open_clips, pack, write_sequences
from stickgen.data.split import SPLITS
from stickgen.data.stores import ClipSet, ClipsInMemory, JoinedClips
from stickgen.errors import DataError, OutputExistsError
from stickgen.sample import SAMPLE_INFO, sample_sequences
from stickgen.untrusted import parse_yaml

HEAD = f"format: {FORMAT}\nleave_out:\n"
CAPTIONS, ONE_CAPTION = f"{HEAD}captions:\n", '  clip 1: ["0a1b2c3d4e5f6071", "x"]\n'


@pytest.fixture
def data(tmp_path: Path) -> Path:
    clips = sample_sequences(12, seed=1)
    clips[3]["description"] = 'a\nwalk: "x" ${HOME} # \x00 \u2028 [red]' + "y" * 200
    write_sequences(tmp_path / "data.pt", clips, SAMPLE_INFO)
    return tmp_path / "data.pt"


def flags(data: Path, positions: list[int], path: Path) -> Path:
    store, _ = open_clips(data)
    clips = [(store.infos[at].label, store.digest(at), f"why · {store.infos[at].description}") for at in positions]
    write_curation(path, clips, overwrite=True)
    return path


def test_flagged_clips_are_left_out_and_the_run_records_it(data: Path, tmp_path: Path) -> None:
    path = flags(data, [3, 7], tmp_path / "curation.yaml")
    before, _ = open_dataset(DataConfig(path=str(data)))
    after, report = open_dataset(DataConfig(path=str(data), curation=str(path)))
    indices = [{info.index for part in (s.train, s.val, s.test) for info in part.infos} for s in (before, after)]
    assert indices[0] - indices[1] == {3, 7}
    assert report.dropped == {"flagged in data.curation": 2}
    record = report.record(after)["curation"]
    assert record == {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert open_dataset(DataConfig(path=str(data)))[1].record(before)["curation"] is None


def test_the_split_of_the_clips_that_are_kept_stays_the_same(data: Path, tmp_path: Path) -> None:
    def split_of(config: DataConfig) -> dict[int, str]:
        parts, _ = open_dataset(config)
        return {info.index: split for split in SPLITS for info in getattr(parts, split).infos}

    before = split_of(DataConfig(path=str(data)))
    flagged = [index for split in SPLITS for index in [at for at, other in before.items() if other == split][1:]]
    path = flags(data, flagged, tmp_path / "curation.yaml")
    after = split_of(DataConfig(path=str(data), curation=str(path)))
    assert after == {index: split for index, split in before.items() if index not in flagged}
    assert len(after) == 3
    path = flags(data, [index for index, split in before.items() if split == "val"], path)
    with pytest.raises(DataError, match=r"curation.yaml: leaves no val clip of .*data.pt; flag fewer clips"):
        open_dataset(DataConfig(path=str(data), curation=str(path)))


def test_what_the_file_holds_is_yaml(data: Path, tmp_path: Path) -> None:
    path = flags(data, [3, 7], tmp_path / "curation.yaml")
    content = parse_yaml(path.read_text(encoding="utf-8"))
    assert content == {"format": FORMAT, "leave_out": dict(read_curation(path).leave_out)}


def test_edited_captions_are_yaml_too_and_are_read_as_they_were(tmp_path: Path) -> None:
    captions = {
        "clip 1": ("0a1b2c3d4e5f6071", 'a # "person"\\ [walks] ä'),
        "clip 20 actor 1": ("0a1b2c3d4e5f6072", "b"),
    }
    path = tmp_path / "curation.yaml"
    write_curation(path, [("clip 3", "0a1b2c3d4e5f6073", "why")], captions=captions)
    read = read_curation(path)
    assert (dict(read.leave_out), dict(read.captions)) == ({"clip 3": "0a1b2c3d4e5f6073"}, captions)
    content = parse_yaml(path.read_text(encoding="utf-8"))
    assert content["captions"] == {label: list(pair) for label, pair in captions.items()}
    path.write_text(f"{CAPTIONS}# why\n\n{ONE_CAPTION.rstrip()}  # a remark\n")
    assert read_curation(path).captions == {"clip 1": ("0a1b2c3d4e5f6071", "x")}


def test_a_file_says_what_was_flagged_in_lines_of_its_own(data: Path, tmp_path: Path) -> None:
    path = flags(data, [3], tmp_path / "curation.yaml")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == [f"format: {FORMAT}", "leave_out:"]
    assert len(lines) == 3
    assert lines[2].startswith('  clip 3: "')
    assert len(lines[2]) < 120
    with pytest.raises(OutputExistsError):
        write_curation(path, [])
    write_curation(path, [], overwrite=True)
    assert read_curation(path).leave_out == {}


def test_a_packed_file_and_cut_clips_have_the_same_digests(data: Path, tmp_path: Path) -> None:
    pack(data, tmp_path / "packed.safetensors")
    stores = [open_clips(data)[0], open_clips(tmp_path / "packed.safetensors")[0], open_clips(data, max_frames=5)[0]]
    stores.append(open_clips(tmp_path / "packed.safetensors", max_frames=5)[0])
    memory = ClipsInMemory([stores[0].load(at) for at in range(12)])
    stores += [memory, JoinedClips([ClipSet(memory, memory.infos)])]
    digests = [[store.digest(at) for at in range(12)] for store in stores]
    assert all(one == digests[0] for one in digests)
    assert len(set(digests[0])) == 12


def test_a_clip_of_two_figures_has_a_digest_of_its_own(tmp_path: Path) -> None:
    pairs = [
        {**one, "motion": torch.stack((one["motion"], one["motion"] + 0.5), dim=1), "physics": None, "actions": None}
        for one in sample_sequences(4, seed=1)
    ]
    write_sequences(tmp_path / "pairs.pt", pairs, SAMPLE_INFO)
    path = flags(tmp_path / "pairs.pt", [1], tmp_path / "curation.yaml")
    assert list(read_curation(path).leave_out) == ["clip 0 actor 1"]
    store, _ = open_clips(tmp_path / "pairs.pt")
    assert read_curation(path).positions(store, "pairs.pt") == {1}


def test_changed_data_are_noticed(data: Path, tmp_path: Path) -> None:
    path = flags(data, [3, 7], tmp_path / "curation.yaml")
    clips = sample_sequences(12, seed=1)
    clips[7]["motion"][-1, 0] += 1e-3
    clips[3]["description"] = "x"
    write_sequences(tmp_path / "other.pt", clips, SAMPLE_INFO)
    with pytest.raises(DataError, match=r"curation.yaml: clip 3 is another clip in .*other.pt; .*flag the clips again"):
        open_dataset(DataConfig(path=str(tmp_path / "other.pt"), curation=str(path)))
    write_sequences(tmp_path / "fewer.pt", sample_sequences(5, seed=1), SAMPLE_INFO)
    path = flags(data, [7], tmp_path / "curation.yaml")
    with pytest.raises(DataError, match=r"clip 7 is not in .*fewer.pt"):
        open_dataset(DataConfig(path=str(tmp_path / "fewer.pt"), curation=str(path)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("", "not a curation file: 'format: stickgen curation 1' expected"),
        ("[1, 2]", "not a curation file"),
        ("format: stickgen curation 2\nleave_out:", "not a curation file"),
        (f"format: {FORMAT}", "not a curation file"),
        (f"format: {FORMAT}\nleave_out: [clip 1]", "not a curation file"),
        (f'{HEAD}  1: "0a1b2c3d4e5f6071"', "line 3: a line such as 'clip 17: .* expected"),
        (f"{HEAD}  clip 1: 1234", "line 3: a line such as"),
        (f'{HEAD}\n# why\n  clip 1: "0a1b2c3d4e5f6071"\n' + '  clip 1: "0a1b2c3d4e5f6072"', "line 6: .*once a clip"),
        (f"{HEAD}  clip 1: &a x\n  clip 2: *a", "line 3: a line such as"),
        ("format: [" * 200, "not a curation file"),
        (f"{HEAD}captions:\n  clip 1: x", "line 4: a line such as"),
        (f'{CAPTIONS}  clip 1: ["0a1b2c3d4e5f6071"]', "line 4: a line such as"),
        (f'{CAPTIONS}  clip 1: ["0a1b2c3d4e5f6071", "x"] y', "line 4: a line such as"),
        (f'{CAPTIONS}  clip 1: ["0a1b2c3d4e5f6071", "\\q"]', "line 4: a caption in double quotes expected"),
        (f'{CAPTIONS}  clip 1: ["0a1b2c3d4e5f6071", " "]', "line 4: a caption of 1 to 2000 characters expected"),
        (f'{CAPTIONS}  clip 1: ["0a1b2c3d4e5f6071", "\\ud800"]', "line 4"),
        (f"{CAPTIONS}{2 * ONE_CAPTION}", "line 5: clip 1 has a caption already"),
        (b"\xff\xfe", "not a curation file: UTF-8 expected"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, text: str | bytes | None, message: str) -> None:
    path = tmp_path / "curation.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as caught:
        read_curation(path)
    assert "\n" not in str(caught.value)
