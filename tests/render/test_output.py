from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stickgen.errors import ConfigError, OutputExistsError, StickgenError
from stickgen.render import Panel, Style, check_output, save
from tests.render.figures import walking

STYLE = Style(size=64)


def test_arrays(tmp_path: Path) -> None:
    panels = [Panel(walking(5), "a", "walk", given=2), Panel(walking(5, speed=0.1), "b", "walk")]
    save(tmp_path / "walk.npz", panels)
    with np.load(tmp_path / "walk.npz", allow_pickle=False) as made:
        assert made["motion"].shape == (2, 5, 20)
        assert made["motion"].dtype == np.float32
        np.testing.assert_array_equal(made["motion"][1], panels[1].motion)
        assert made["label"].tolist() == ["a", "b"]
        assert made["caption"].tolist() == ["walk", "walk"]
        assert made["given"].tolist() == [2, 0]
        assert made["fps"] == 25


def test_a_contact_sheet(tmp_path: Path) -> None:
    save(tmp_path / "walk.png", Panel(walking(9)), STYLE)
    with Image.open(tmp_path / "walk.png") as image:
        assert image.width > image.height


def test_existing_outputs_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "walk.npz"
    path.write_text("kept")
    with pytest.raises(OutputExistsError, match="already exists and was kept"):
        save(path, Panel(walking()))
    assert path.read_text() == "kept"
    save(path, Panel(walking()), overwrite=True)
    assert path.read_bytes()[:2] == b"PK"


@pytest.mark.parametrize("kind", [".GIF", ".Png", ".NPZ", ".MOTION"])
def test_names_in_capitals_are_names_too(tmp_path: Path, kind: str) -> None:
    save(tmp_path / f"walk{kind}", Panel(walking(3)), STYLE)
    assert [path.name for path in tmp_path.iterdir()] == [f"walk{kind}"]
    save(tmp_path / f"walk{kind.lower()}", Panel(walking(3)), STYLE)
    assert len({path.stat().st_size for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize("name", ["walk", "walk.avi", "walk.GIFF"])
def test_other_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.gif, \.mp4, .*\.npz expected"):
        save(tmp_path / name, Panel(walking()))


def test_what_a_form_cannot_hold(tmp_path: Path) -> None:
    two = [Panel(walking(5)), Panel(walking(6))]
    with pytest.raises(ConfigError, match="holds one motion, and there are 2"):
        save(tmp_path / "walk.motion", two)
    with pytest.raises(ConfigError, match="holds one figure, and there are 2"):
        save(tmp_path / "walk.motion", Panel(np.stack([walking()] * 2, axis=1)))
    with pytest.raises(ConfigError, match="motions of one shape expected"):
        save(tmp_path / "walk.npz", two)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.gif").mkdir()
    with pytest.raises(StickgenError, match="file is a file"):
        check_output(tmp_path / "file" / "walk.gif")
    with pytest.raises(OutputExistsError, match="is a folder"):
        check_output(tmp_path / "folder.gif", overwrite=True)
    check_output(tmp_path / "new" / "folders" / "walk.gif")
    assert not (tmp_path / "new").exists()


def test_a_picture_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stickgen.render.layout.Picture.contact_sheet", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(tmp_path / "walk.png", Panel(walking()))
    assert list(tmp_path.iterdir()) == []
