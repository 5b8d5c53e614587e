from pathlib import Path

import torch
from typer.testing import CliRunner

from stickgen.cli import app
from stickgen.data.file import read_sequences
from stickgen.sample import SAMPLE_INFO, sample_sequences


def test_sample_writes_a_data_file_and_keeps_an_older_one(tmp_path: Path) -> None:
    arguments = ["sample", str(tmp_path / "tired.pt"), "--clips", "6", "--styles", "tired", "--seed", "4"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "6 clips of 2 takes" in result.output
    sequences, info = read_sequences(tmp_path / "tired.pt")
    assert info == SAMPLE_INFO
    expected = sample_sequences(6, styles=["tired"], seed=4)
    assert [s["description"] for s in sequences] == [s["description"] for s in expected]
    assert all(torch.equal(s["motion"], e["motion"]) for s, e in zip(sequences, expected, strict=True))

    one = CliRunner().invoke(app, ["sample", str(tmp_path / "one.pt"), "--clips", "1"])
    assert "one.pt: 1 clip of 1 take, " in one.output

    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "tired.pt: already exists and was kept" in again.stderr
    assert CliRunner().invoke(app, [*arguments, "--overwrite"]).exit_code == 0


def test_names_of_other_files_and_too_many_clips_are_refused(tmp_path: Path) -> None:
    for name, clips, words in (
        ("out.npz", "6", "a name that ends in .pt, or in .safetensors"),
        ("out.pt", "1000000000", "1 to 100000 expected"),
    ):
        done = CliRunner().invoke(app, ["sample", str(tmp_path / name), "--clips", clips])
        assert done.exit_code == 1
        assert words in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []
