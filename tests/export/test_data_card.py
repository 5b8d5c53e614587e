"""stickgen card of a data file, read by the hub's own parser."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from stickgen.data.file import open_clips, write_sequences
from stickgen.errors import ConfigError, OutputExistsError
from stickgen.export import data_card, data_card_text
from stickgen.export.card import Published
from stickgen.export.data_card import is_data, write_data_card
from stickgen.sample import SAMPLE_INFO, sample_sequences
from stickgen.sample.generate import SOURCE
from tests.runs import run_command


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips: two of a studio with a licence, one of them a copy in another split; four name who moves."""
    path = tmp_path_factory.mktemp("data") / "walks.pt"
    clips = sample_sequences(12, seed=1, actions=["walk", "wave"])
    for at, clip in enumerate(clips):
        split = {8: "test", 9: "val"}.get(at, "train")
        clip["meta"] |= {"take": f"take {at}", "split": split} | ({"subject": "ab"[at % 2]} if at >= 8 else {})
    for at in (2, 8):
        clips[at] |= {"source": "studio|1", "motion": clips[2]["motion"].clone(), "actions": None, "physics": None}
        clips[at]["meta"]["license"] = "CC BY 4.0, <credit> the studio"
    clips[5]["description"] = "a zebra | trots"
    clips[7]["motion"] = clips[7]["motion"] + 0.2 * torch.randn(clips[7]["motion"].shape)
    write_sequences(path, clips, SAMPLE_INFO)
    return path


def row_of(text: str, name: str) -> list[str]:
    (line,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", text, re.MULTILINE)
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]


def test_a_card_counts_what_is_there_and_the_hub_reads_it(file: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    torch.manual_seed(0)
    output = write_data_card(file, Published(name="Walks", license="cc-by-4.0"))
    assert output == file.with_suffix(".md")
    card = hub.DatasetCard.load(output)
    assert (card.data.license, card.data.pretty_name, card.data.size_categories) == ("cc-by-4.0", "Walks", ["n<1K"])
    assert "text-to-motion" in card.data.tags
    text = card.text
    store, _ = open_clips(file)
    frames = sum(info.length for info in store.infos)
    assert row_of(text, "clips") == ["12, of 12 takes"]
    assert row_of(text, "people") == ["2; 8 clips without a name"]
    assert row_of(text, "length")[0].startswith(f"{frames:,} frames, {frames / 1500:.1f} minutes at 25")
    assert row_of(text, "studio\\|1")[:3] == ["2", "2", "1"]
    assert row_of(text, "studio\\|1")[-1] == r"CC BY 4.0, \<credit\> the studio"
    assert row_of(text, SOURCE)[-1] == "cc-by-4.0 (this card's)"
    splits = text.split("Near-duplicates")[0]
    assert [row_of(splits, split)[0] for split in ("train", "val", "test")] == ["10", "1", "1"]
    assert "the file fixes the split of 12 clips. Of 2 people, 2 are in several splits." in text
    assert "0 of 1 val clip, 1 of 1 test clip." in text
    assert "| test | clip 8 | take 8 | clip 2 | take 2 | 0.00 |" in text
    having = sum("person" in info.description for info in store.infos)
    assert f"have them: person ({having})" in text
    assert row_of(text, "walk")[0] == str(sum(info.main_action == 1 for info in store.infos))
    assert row_of(text, "jerk")[-1].startswith("clip 7 (")
    assert row_of(text, "duplicate")[-1].startswith("clip 8 (0)")
    lengths = np.histogram([info.length / 25 for info in store.infos], 10)[0]
    bars = text.split("length, seconds\n")[1].split("```")[0].splitlines()
    assert [int(line.rsplit(maxsplit=1)[1]) for line in bars] == lengths.tolist()


def test_what_the_file_does_not_record_is_to_be_filled_in(tmp_path: Path) -> None:
    clips = sample_sequences(3, seed=1)
    write_sequences(tmp_path / "bare.pt", [{**clip, "source": None, "meta": None} for clip in clips], {})
    text = write_data_card(tmp_path / "bare.pt").read_text()
    for name in ("people", "made by"):
        assert row_of(text, name) == ["**not recorded: fill in**"]
    assert row_of(text, "captions") == ["embedded by **not recorded: fill in**"]
    assert row_of(text, "**not recorded: fill in**")[-1] == "**not recorded: fill in**"
    assert "license" not in text.split("---")[1]


def test_packed_files_keep_licences_and_many_clips_are_not_measured(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in (data_card, data_card_text):
        monkeypatch.setattr(module, "MOST_CLIPS", 11)
    assert run_command(monkeypatch, "pack", file, tmp_path / "shards" / "b.safetensors") == 0
    write_sequences(tmp_path / "shards" / "a.safetensors", sample_sequences(3, seed=2), SAMPLE_INFO)
    assert is_data(tmp_path / "shards")
    assert run_command(monkeypatch, "card", tmp_path / "shards", "--split-by", "take") == 0
    assert f"card: {tmp_path / 'shards' / 'README.md'}" in capsys.readouterr().out
    text = (tmp_path / "shards" / "README.md").read_text()
    assert row_of(text, "studio\\|1")[-1] == r"CC BY 4.0, \<credit\> the studio"
    assert "Not measured: there are more than 11 clips." in text


def test_mistakes_are_one_line(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "card.md"
    write_data_card(file, output=output)
    with pytest.raises(OutputExistsError, match=r"card\.md: already exists and was kept"):
        write_data_card(file, output=output)
    with pytest.raises(ConfigError, match="split-by=actor: take or subject expected"):
        write_data_card(file, split_by="actor")


@pytest.mark.parametrize("kind", ["data", "run"])
def test_an_option_of_the_other_kind_of_card_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    (tmp_path / "config.yaml").write_text("name: x\n")
    options = (file, "--dataset", "a/b") if kind == "data" else (tmp_path, "--out", "x.md")
    assert run_command(monkeypatch, "card", *options) == 1
    expected = {"data": "--dataset: is for cards of models, and ", "run": "--out: is for cards of data files, and "}
    assert expected[kind] in capsys.readouterr().err
