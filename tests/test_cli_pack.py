from pathlib import Path

from typer.testing import CliRunner

from stickgen.cli import app
from stickgen.data.file import open_clips, write_sequences
from tests.random_clips import random_sequences


def test_pack_writes_a_packed_file_and_keeps_an_older_one(tmp_path: Path) -> None:
    write_sequences(tmp_path / "clips.pt", random_sequences(4, lengths=(8, 5)), {"fps": 25})
    arguments = ["pack", str(tmp_path / "clips.pt"), str(tmp_path / "clips.safetensors")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "clips.safetensors: 4 clips of 4 takes, 26 frames" in result.output
    clips, info = open_clips(tmp_path / "clips.safetensors")
    assert [clip.description for clip in clips.infos] == [f"sequence {i}" for i in range(4)]
    assert info == {"fps": 25}
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 1
    assert "clips.safetensors: already exists and was kept" in again.stderr
    assert CliRunner().invoke(app, [*arguments, "--overwrite"]).exit_code == 0


def test_sample_packs_where_the_name_asks_for_it(tmp_path: Path) -> None:
    path = tmp_path / "sample.safetensors"
    result = CliRunner().invoke(app, ["sample", str(path), "--clips", "6"])
    assert result.exit_code == 0, result.output
    assert len(open_clips(path)[0].infos) == 6
