from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stickgen.artifacts.record import RECORD_KEY
from stickgen.errors import ConfigError
from stickgen.studio.folders import Folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    for name in ("outputs/sneaky", "outputs/style/one", "secret", "more/outputs"):
        (tmp_path / name).mkdir(parents=True)
    for run in ("outputs/sneaky", "outputs/style/one", "secret"):
        (tmp_path / run / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "clips.pt").write_bytes(b"")
    for name, key in (("more", {"format": "stickgen clips 2"}), ("base", {RECORD_KEY: "{}"}), ("other", {"a": "b"})):
        save_file({"x": torch.zeros(1)}, tmp_path / "outputs" / f"{name}.safetensors", key)
    (tmp_path / "outputs" / "damaged.safetensors").write_bytes(b"x")
    (tmp_path / "outputs" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "outputs" / "loop").symlink_to(tmp_path / "outputs" / "loop")
    (tmp_path / "outputs" / "link.pt").symlink_to(tmp_path / "clips.pt")
    return Folders([tmp_path / "outputs", tmp_path / "clips.pt", tmp_path / "more" / "outputs"])


def test_names_lead_to_what_was_chosen(folders: Folders, tmp_path: Path) -> None:
    assert folders.resolve("outputs") == tmp_path / "outputs"
    assert folders.resolve("outputs/style/one") == tmp_path / "outputs" / "style" / "one"
    assert folders.resolve("outputs 2/new") == tmp_path / "more" / "outputs" / "new"
    assert folders.resolve("clips.pt") == tmp_path / "clips.pt"
    for name in ("outputs", "outputs/style/one", "outputs 2/new", "clips.pt"):
        assert folders.name(folders.resolve(name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "outputs/../secret",
        "outputs/style/../../secret",
        "..",
        "../secret",
        "outputs/.",
        "outputs//secret",
        "/etc/passwd",
        "outputs//etc/passwd",
        "{tmp}/outputs/sneaky",
        "outputs/link",
        "outputs/link/config.yaml",
        "outputs/link.pt",
        "outputs/loop/x",
        "outputs/a\0b",
        "outputs/..\\secret",
        "secret",
        "clips.pt/x",
        "",
    ],
)
def test_no_name_leads_outside(folders: Folders, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="not in the folders of the studio"):
        folders.resolve(name.replace("{tmp}", str(tmp_path)))


def test_links_that_lead_out_are_not_listed(folders: Folders) -> None:
    assert sorted(folders.runs()) == ["outputs/sneaky", "outputs/style/one"]
    assert folders.data_files() == ["outputs/more.safetensors", "clips.pt"]
    assert folders.bases() == ["outputs/base.safetensors"]


def test_a_new_run_lies_in_the_first_folder_and_takes_no_others_place(folders: Folders, tmp_path: Path) -> None:
    assert folders.new_run("tired-2") == tmp_path / "outputs" / "tired-2"
    for name in ("", "..", "a/b", "/a", ".hidden", "a b", "x" * 101, "a\nb"):
        with pytest.raises(ConfigError, match="letters, digits"):
            folders.new_run(name)
    with pytest.raises(ConfigError, match=r"is there already; give the run another name$"):
        folders.new_run("sneaky")
    (tmp_path / "outputs" / "sneaky" / "checkpoints").mkdir(exist_ok=True)
    (tmp_path / "outputs" / "sneaky" / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(ConfigError, match=r"another name, or resume it$"):
        folders.new_run("sneaky")
    with pytest.raises(ConfigError, match="no folder for new runs"):
        Folders([tmp_path / "clips.pt"]).new_run("a")


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone: no such file or folder"):
        Folders([tmp_path / "gone"])
