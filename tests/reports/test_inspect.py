from collections import Counter
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from stickgen.data.clips import ClipInfo
from stickgen.data.curation import read_curation
from stickgen.data.file import open_clips, pack, write_sequences
from stickgen.data.table import ClipInfos
from stickgen.errors import ConfigError, DataError, OutputExistsError, StickgenError
from stickgen.motion.actions import action_name
from stickgen.reports.clip_tables import name_of_action
from stickgen.reports.inspect import Shown, inspect, one_of_each_pair, ordered, panels_of
from stickgen.sample import SAMPLE_INFO, sample_sequences
from tests.runs import help_without, run_command


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve clips: one noisy and of low quality, one without score, one without labels, a source in brackets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    clips = sample_sequences(12, seed=1, actions=["walk", "wave", "run"])
    clips[4]["motion"] = clips[4]["motion"] + 0.3 * torch.randn(clips[4]["motion"].shape)
    clips[4]["quality_score"] = 0.25
    clips[4]["source"] = "[red]studio[/red]"
    clips[7]["quality_score"] = None
    clips[9]["actions"] = None
    write_sequences(tmp_path / "clips.pt", clips, SAMPLE_INFO)
    return tmp_path / "clips.pt"


def action_of(info: ClipInfo) -> str:
    return "no label" if info.main_action is None else action_name(info.main_action)


def text_of(path: Path, **options: object) -> str:
    """What is printed."""
    console = Console(file=StringIO(), width=160, force_terminal=False)
    inspect(path, console, Shown(**options))  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def printed(path: Path, **options: object) -> dict[str, list[str]]:
    """The rows of every table that is printed, by their first cell."""
    text = text_of(path, **options)
    cells = [[cell.strip() for cell in line.strip("│┃").split("│")] for line in text.splitlines() if "│" in line]
    return {"head": [text.splitlines()[0]], **{first: rest for first, *rest in cells}}


def test_help_is_instant() -> None:
    assert "--order" in help_without("inspect", {"torch", "numpy", "PIL", "lightning"})


def test_the_tables_count_what_is_there(file: Path) -> None:
    store, _ = open_clips(file)
    rows = printed(file)
    encoder = SAMPLE_INFO["text_encoder"]["id"]
    assert rows["head"] == [
        f"{file}: 12 sequences → 12 clips of {len({i.take for i in store.infos})} takes, stick_figure_5_segment; "
        f"captions in 1024 numbers by {encoder}"
    ]
    assert rows["left out: below quality 0.8"][0] == "1"
    assert sum(int(rows[split][0]) for split in ("train", "val", "test")) == 11
    counts = Counter(name_of_action(info.main_action) for info in store.infos)
    assert set(counts) == {"walk", "wave", "run", "no label"}
    assert {name: int(rows[name][0]) for name in counts} == counts
    assert rows["no label"][0] == "1"
    assert rows["[red]studio[/red]"] == ["1", "1", "–", f"{store.infos[4].length:,}", rows["0 to 0.5"][4], "0.25"]
    assert (rows["0 to 0.5"][0], rows["no score"][0]) == ("1", "1")
    assert (rows["actions"], rows["physics"], rows["camera"]) == (["11"], ["12"], ["0"])
    lengths = sorted(info.length for info in store.infos)
    assert (rows["frames"][0], rows["frames"][-1]) == (str(lengths[0]), str(lengths[-1]))
    assert rows["seconds"][0] == f"{lengths[0] / 25:.1f}"


def test_the_worst_clip_is_the_first_on_the_sheet(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, _ = open_clips(file)
    infos = ordered(store.infos, "quality")
    assert infos[0].index == 4
    assert infos[-1].index == 7
    first = panels_of(store, infos[:1])[0]
    assert first.label.startswith(
        f"clip 4 · quality 0.25 · {name_of_action(infos[0].main_action)} · {infos[0].length} frames"
    )
    assert first.caption == infos[0].description
    np.testing.assert_array_equal(first.motion, store.load(4).motion.numpy())

    sheet = ["inspect", file, "--out", "new/sheet.png", "--clips", 3, "--size", 96]
    assert run_command(monkeypatch, *sheet) == 0
    assert "sheet: new/sheet.png" in capsys.readouterr().out
    with Image.open("new/sheet.png") as three:
        height = three.height
    assert run_command(monkeypatch, *sheet) == 1
    assert "already exists and was kept" in capsys.readouterr().err
    assert run_command(monkeypatch, *sheet[:-4], "--clips", 6, "--size", 96, "--theme", "dark", "--overwrite") == 0
    with Image.open("new/sheet.png") as six:
        assert six.height == pytest.approx(2 * height, rel=0.05)
        assert six.convert("RGB").getpixel((1, 1)) == (21, 23, 28)


def test_every_action_has_its_turn() -> None:
    infos = [
        ClipInfo(i, 50, 20, 8, "", f"take {i}", action_counts=None if action is None else {action: 50}, quality=quality)
        for i, (action, quality) in enumerate([(1, 0.9), (1, 0.2), (1, 0.5), (2, 0.8), (None, 0.4), (2, None)])
    ]
    assert [info.position for info in ordered(ClipInfos.of(infos), "action")] == [1, 3, 4, 2, 5, 0]
    assert [info.position for info in ordered(ClipInfos.of(infos), "quality")] == [1, 4, 2, 3, 0, 5]
    alike = [ClipInfo(i, 50, 20, 8, "", f"take {i}", quality=1.0) for i in range(3)]
    assert [info.position for info in ordered(ClipInfos.of(alike), "quality", {0: 0.2, 2: 0.7})] == [2, 0, 1]


def test_a_clip_that_cannot_be_drawn_is_named_and_the_others_drawn(tmp_path: Path) -> None:
    clips = sample_sequences(3, seed=1)
    clips[1]["motion"][3, 2] = float("nan")
    torch.save(clips, tmp_path / "clips.pt")
    out = StringIO()
    inspect(tmp_path / "clips.pt", Console(file=out, width=200), Shown([tmp_path / "sheet.png"], clips=3))
    assert "clip 1: motion: finite numbers expected, NaN" in next(
        line for line in out.getvalue().splitlines() if line.startswith("not drawn: ")
    )
    assert (tmp_path / "sheet.png").is_file()
    torch.save([{**one, "motion": one["motion"] * float("nan")} for one in clips], tmp_path / "clips.pt")
    with pytest.raises(DataError, match="finite numbers expected"):
        inspect(tmp_path / "clips.pt", Console(file=out), Shown([tmp_path / "none.png"]))


def test_a_pair_of_figures_is_one_picture(tmp_path: Path) -> None:
    pairs = [
        {**one, "motion": torch.stack((one["motion"], one["motion"] + 0.5), dim=1), "physics": None, "actions": None}
        for one in sample_sequences(4, seed=1)
    ]
    write_sequences(tmp_path / "pairs.pt", pairs, SAMPLE_INFO)
    store, _ = open_clips(tmp_path / "pairs.pt")
    assert len(store.infos) == 8
    chosen = list(one_of_each_pair(ordered(store.infos, "quality")))
    assert sorted(info.index for info in chosen) == [0, 1, 2, 3]
    for panel, info in zip(panels_of(store, chosen), chosen, strict=True):
        np.testing.assert_array_equal(panel.motion[:, 0], store.load(info.position).motion.numpy())
        np.testing.assert_allclose(np.abs(panel.motion[:, 1] - panel.motion[:, 0]), 0.5, atol=1e-6)


def test_measures_and_leakage_are_printed(file: Path) -> None:
    clips = sample_sequences(12, seed=1, actions=["walk", "wave", "run"])
    clips[8] |= {"motion": clips[2]["motion"].clone(), "actions": None, "physics": None}
    for place, clip in enumerate(clips):
        clip["meta"] = {"take": str(place), "split": "test" if place == 8 else "val" if place == 9 else "train"}
    write_sequences(file, clips, SAMPLE_INFO, overwrite=True)
    text = text_of(file)
    assert "leakage: 1 of 1 test clip have a near-duplicate in train" in text
    assert "clip 8 (take 8) and clip 2 (take 2): distance 0.00" in text
    clips[2]["meta"]["subject"] = clips[8]["meta"]["subject"] = "anna"
    clips[8]["meta"]["split"] = clips[2]["meta"]["split"] = None
    write_sequences(file, clips, SAMPLE_INFO, overwrite=True)
    assert "near-duplicate in train" in text_of(file, split_by="subject")
    assert "distance 0.00" not in text_of(file, split_by="subject")
    rows = printed(file)
    assert rows["duplicate"][3:] == ["0", "clip 8"]
    assert {"jerk", "skating", "bones", "stillness", "outlier"} <= set(rows)


def test_flags_by_rule_are_written_and_continued(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flag = ["inspect", file, "--flag", "quality<0.9", "--out", "curation.yaml"]
    assert run_command(monkeypatch, *flag) == 0
    out = capsys.readouterr().out
    assert "quality<0.9: 1 clip of 12" in out
    assert "flagged clips: curation.yaml" in out
    assert list(read_curation(Path("curation.yaml")).leave_out) == ["clip 4"]
    assert "# quality 0.25 · " in Path("curation.yaml").read_text()
    assert run_command(monkeypatch, *flag) == 1
    assert "already exists and was kept" in capsys.readouterr().err
    more = ["--curation", "curation.yaml", "--flag", "jerk>1e9", "--out", "more.yaml"]
    assert run_command(monkeypatch, "inspect", file, *more[:3], "frames>1000", *more[4:]) == 0
    assert list(read_curation(Path("more.yaml")).leave_out) == ["clip 4"]
    assert "left out: flagged in data.curation" in capsys.readouterr().out


def test_too_many_clips_are_not_measured(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stickgen.reports.inspect.MOST_CLIPS", 11)
    assert "measures and leakage: not looked for in more than 11 clips" in text_of(file)
    with pytest.raises(ConfigError, match="12 clips: at most 11 can be measured"):
        text_of(file, flags=["jerk>1"])


def test_a_packed_file_says_the_same(file: Path, tmp_path: Path) -> None:
    pack(file, tmp_path / "packed.safetensors")
    plain, packed = printed(file), printed(tmp_path / "packed.safetensors")
    assert {key: row for key, row in packed.items() if key != "head"} == {
        key: row for key, row in plain.items() if key != "head"
    }


@pytest.mark.parametrize(
    ("options", "mistake", "message"),
    [
        ({"outputs": [Path("sheet.gif")]}, ConfigError, "sheet.gif: a name that ends in .png, .html or .yaml"),
        ({"outputs": [Path("clips.pt/sheet.png")]}, StickgenError, "is a file"),
        ({"order": "beauty"}, ConfigError, "order=beauty: quality or action"),
        ({"split_by": "actor"}, ConfigError, "split-by=actor: take or subject"),
        ({"clips": 0}, ConfigError, "clips=0: 1 to 20000"),
        ({"outputs": [Path("s.png")], "clips": 201}, ConfigError, "clips=201: 1 to 200 expected for a sheet"),
        ({"outputs": [Path("folder.png")]}, OutputExistsError, "folder.png: is a folder"),
        (
            {"outputs": [Path("a.html"), Path("b.html")]},
            ConfigError,
            "b.html: one .html expected, and a.html is another",
        ),
        ({"flags": ["jerk>"]}, ConfigError, "flag=jerk>: a measure"),
        ({"curation": Path("gone.yaml")}, DataError, "gone.yaml: no such file"),
        ({"path": Path("gone.pt")}, DataError, "gone.pt: no such file"),
    ],
)
def test_mistakes_are_one_line(file: Path, options: dict[str, object], mistake: type[Exception], message: str) -> None:
    Path("folder.png").mkdir()
    arguments = {"path": file, **options}
    with pytest.raises(mistake, match=message) as caught:
        printed(**arguments)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
