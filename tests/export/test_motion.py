import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from stickgen.data.file import open_clips, pack, write_sequences
from stickgen.errors import ConfigError, DataError, OutputExistsError
from stickgen.export.motion import convert_motion, read_panels
from stickgen.render import FORMS, Panel, save
from stickgen.render.motion_file import read_motion
from stickgen.sample import SAMPLE_INFO, sample_sequences
from tests.render.figures import walking
from tests.runs import run_command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    clips = sample_sequences(3, seed=1)
    second = clips[1]["motion"] + 0.5
    clips[1] |= {"motion": torch.stack((clips[1]["motion"], second), dim=1), "physics": None, "actions": None}
    write_sequences(tmp_path / "data.pt", clips, SAMPLE_INFO)
    return tmp_path / "data.pt"


@pytest.mark.parametrize("form", [form for form in FORMS if form.suffix != ".mp4"], ids=lambda form: form.suffix)
def test_motion_goes_to_every_form(tmp_path: Path, form: object) -> None:
    save(tmp_path / "walk.motion", Panel(walking(2), caption="a person walks"), fps=12.5)
    output = tmp_path / f"walk2{form.suffix}"  # type: ignore[attr-defined]
    assert convert_motion(tmp_path / "walk.motion", output) == "1 motion of 2 frames, 12.5 a second"
    assert output.stat().st_size > 100


def test_a_clip_of_a_data_file_with_both_figures(data: Path, tmp_path: Path) -> None:
    store, _ = open_clips(data)
    convert_motion(data, tmp_path / "clip.motion", 2)
    file = read_motion(tmp_path / "clip.motion")
    assert file.description == store.infos[-1].description
    np.testing.assert_allclose(file.motion, store.load(3).motion, atol=1e-4)
    convert_motion(data, tmp_path / "pair.csv", 1)
    with (tmp_path / "pair.csv").open(newline="") as rows:
        assert {row["actor"] for row in csv.DictReader(rows)} == {"0", "1"}
    with pytest.raises(ConfigError, match="holds one figure, and there are 2"):
        convert_motion(data, tmp_path / "pair.bvh", 1)
    pack(data, tmp_path / "packed.safetensors")
    (panel,), fps = read_panels(tmp_path / "packed.safetensors", 1)
    assert (panel.actors.shape[1], fps) == (2, 25)


def test_all_motions_of_arrays_or_one(tmp_path: Path) -> None:
    panels = [Panel(walking(5), "a", "walks"), Panel(walking(5, speed=0.1), "b", "runs")]
    save(tmp_path / "two.npz", panels, fps=30)
    assert convert_motion(tmp_path / "two.npz", tmp_path / "two.csv") == "2 motions of 5 frames, 30 a second"
    convert_motion(tmp_path / "two.npz", tmp_path / "one.motion", 1)
    file = read_motion(tmp_path / "one.motion")
    assert (file.description, file.fps) == ("runs", 30)
    np.testing.assert_allclose(file.motion, panels[1].motion, atol=1e-4)
    with pytest.raises(ConfigError, match="holds one motion, and there are 2"):
        convert_motion(tmp_path / "two.npz", tmp_path / "one.bvh")


def test_mistakes_are_one_line(data: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "joints.npz", joints=np.zeros((3, 4, 3)))
    np.savez(tmp_path / "objects.npz", motion=np.array([{}], dtype=object))
    np.savez(tmp_path / "flat.npz", motion=np.zeros((3, 20)))
    np.savez(tmp_path / "labels.npz", motion=np.zeros((2, 3, 20)), label=np.array(["a"]))
    np.savez(tmp_path / "nan.npz", motion=np.full((1, 3, 20), np.nan))
    np.savez(tmp_path / "wide.npz", motion=np.zeros((1, 3, 21)))
    np.savez(tmp_path / "fast.npz", motion=np.zeros((1, 3, 20)), fps=np.array(0.0))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "flat.npz").read_bytes()[:90])
    (tmp_path / "walk.avi").write_bytes(b"x")
    save(tmp_path / "one.motion", Panel(walking(5)))
    for source, clip, mistake, message in (
        ("joints.npz", None, DataError, "no array 'motion'.*stickgen prepare reads joint arrays"),
        ("objects.npz", None, DataError, "not an .npz of stickgen generate"),
        ("flat.npz", None, DataError, "one of each for every motion"),
        ("labels.npz", None, DataError, "one of each for every motion"),
        ("cut.npz", None, DataError, "not an .npz of stickgen generate"),
        ("nan.npz", None, DataError, "nan.npz: .*frame 0 is not finite"),
        ("wide.npz", None, DataError, "21 numbers a frame"),
        ("fast.npz", None, DataError, "0 frames a second"),
        ("gone.npz", None, DataError, "no such file"),
        ("walk.avi", None, DataError, "a .motion file, an .npz of stickgen generate or a data file expected"),
        ("one.motion", 1, ConfigError, "clip=1: .*one.motion holds one motion"),
        ("data.pt", None, ConfigError, "holds 3 clips; --clip 0 to 2 chooses one"),
        ("data.pt", 3, ConfigError, "clip=3: 0 to 2 expected"),
    ):
        with pytest.raises(mistake, match=message) as caught:
            convert_motion(tmp_path / source, tmp_path / "out.csv", clip)
        assert "\n" not in str(caught.value)
    with pytest.raises(OutputExistsError, match="would replace what it is made from"):
        convert_motion(tmp_path / "one.motion", tmp_path / "one.motion", overwrite=True)
    with pytest.raises(ConfigError, match=r"one.pth: a name that ends in \.gif"):
        convert_motion(tmp_path / "one.motion", tmp_path / "one.pth")
    assert not (tmp_path / "out.csv").exists()


def test_the_command_tells_motion_from_adapters(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(monkeypatch, "convert", data, tmp_path / "c.bvh", "--clip", 0) == 0
    assert "c.bvh: 1 motion of " in capsys.readouterr().out
    assert run_command(monkeypatch, "convert", data, tmp_path / "c.bvh", "--clip", 0) == 1
    assert "already exists" in capsys.readouterr().err
    for arguments, message in (
        ((data, tmp_path / "d.bvh", "--clip", 0, "--alpha", 4), "alpha=4.0: is for adapters and models"),
        ((data, tmp_path / "adapter", "--clip", 0), "clip=0: is for motion"),
        ((tmp_path / "c.bvh", tmp_path / "d.glb"), "a .motion file, an .npz of stickgen generate or a data file"),
    ):
        assert run_command(monkeypatch, "convert", *arguments) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
