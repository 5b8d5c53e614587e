import os
from pathlib import Path

import numpy as np
import pytest
import torch

from stickgen.errors import DataError
from stickgen.mocap.importers.bvh import BVH
from stickgen.mocap.importers.npz import JOINT_ARCHIVE
from stickgen.mocap.importers.registry import IMPORTERS, find_sources
from stickgen.mocap.projection import BODY_JOINTS
from tests.mocap.bodies import walking_body, write_bvh


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of three formats under names that say nothing, in a tree, beside others."""
    root = tmp_path / "takes"
    (root / "deeper").mkdir(parents=True)
    (root / "b.motion").write_text("\ufeff" + write_bvh(), encoding="utf-8")
    with (root / "a.dat").open("wb") as file:
        np.savez(file, joints=walking_body(), joint_names=np.array(BODY_JOINTS))
    torch.save([], root / "deeper" / "clips")
    torch.save([], root / "deeper" / "old", _use_new_zipfile_serialization=False)
    (root / "notes.txt").write_text("BVH files of Monday")
    (root / ".hidden").write_text(write_bvh())
    return root


def test_a_folder_stands_for_what_is_recognised_in_it(folder: Path) -> None:
    deeper = folder / "deeper"
    expected = [(folder / "a.dat", JOINT_ARCHIVE), (folder / "b.motion", BVH), (deeper / "clips", None)]
    assert find_sources([folder]) == [*expected, (deeper / "old", None)]


def test_circles_and_pipes_in_a_folder_are_passed_over(folder: Path) -> None:
    found = find_sources([folder])
    (folder / "deeper" / "again").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    assert find_sources([folder]) == found
    (folder.parent / "link").symlink_to(folder)
    assert len(find_sources([folder.parent / "link"])) == len(found)


def test_what_is_not_recognised_is_one_line(folder: Path) -> None:
    with pytest.raises(DataError) as raised:
        find_sources([folder / "notes.txt"])
    names = [importer.name for importer in IMPORTERS]
    assert str(raised.value) == (
        f"{folder / 'notes.txt'}: not a format that is recognised; {', '.join(names)} or a data file expected "
        "(see docs/preparing.md)"
    )
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="nothing in this folder is recognised"):
        find_sources([folder / "empty"])
    with pytest.raises(DataError, match="no such file"):
        find_sources([folder / "none.bvh"])


def test_importers_have_different_names_and_one_line() -> None:
    assert len({importer.name for importer in IMPORTERS}) == len(IMPORTERS)
    assert all("\n" not in importer.description and len(importer.description) < 120 for importer in IMPORTERS)


def test_recognisers_raise_nothing(tmp_path: Path) -> None:
    garbage = [b"", b"\x00" * 64, b"PK\x03\x04" + b"\xff" * 60, b"\x80\x04" + b"\xff" * 60, b"{" * 64, b"[" * 64]
    for number, head in enumerate(garbage):
        path = tmp_path / f"{number}"
        path.write_bytes(head)
        for importer in IMPORTERS:
            assert importer.recognises(path, head) in (True, False)
    for importer in IMPORTERS:
        assert not importer.recognises(tmp_path, b"")
