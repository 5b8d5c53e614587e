from pathlib import Path

import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.mocap.importers.bvh import read_bvh
from stickgen.mocap.importers.file_labels import file_labels
from stickgen.mocap.importers.hundred_styles import frame_cuts
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.motion.actions import ACTIONS
from tests.mocap.bodies import write_bvh


@pytest.mark.parametrize(
    ("stem", "caption", "action", "style", "take"),
    [
        ("Angry_FW", "A person walks forwards in angry style.", "walk", "angry", None),
        ("StickLeft_BR", "A person runs backwards in stick left style.", "run", "stick left", None),
        ("Old_ID", "A person stands in old style.", "idle", "old", None),
        ("Zombie_TR2", "A person changes between standing, walking and running in zombie style.", None, "zombie", None),
        (
            "dataset-2_walk_active_003", "A person walks in active style.", "walk", "active", "dataset-2_walk_active",
        ),
        (
            "dataset-1_walk-turn-left_not-confident_001", "A person walks and turns left in not confident style.",
            "walk", "not confident", "dataset-1_walk-turn-left_not-confident",
        ),
        (
            "dataset-2_raise-up-both-hands_elderly_001", "A person raises up both hands in elderly style.", None,
            "elderly", "dataset-2_raise-up-both-hands_elderly",
        ),
        ("dataset-1_dash_old_001", "A person dashes in old style.", "sprint", "old", "dataset-1_dash_old"),
    ],
)  # fmt: skip
def test_names_of_known_data_sets(stem: str, caption: str, action: str | None, style: str, take: str | None) -> None:
    labels = file_labels(stem)
    assert labels["captions"] == (caption,)
    assert (labels["stickgen_action"], labels["style"], labels.get("take")) == (action, style, take)
    assert action is None or action in ACTIONS


@pytest.mark.parametrize("stem", ["walk", "07_01", "Angry_XX", "dataset-3_walk_active_001", "FW", ""])
def test_other_names_say_nothing(stem: str) -> None:
    assert file_labels(stem) == {}


def test_repeats_are_of_one_take_and_need_no_table(tmp_path: Path) -> None:
    names = [f"dataset-2_walk_active_{n:03d}" for n in (1, 2)]
    for name in names:
        (tmp_path / f"{name}.bvh").write_text(write_bvh("bandai"))
    read = [read_bvh(tmp_path / f"{name}.bvh")[0] for name in names]
    assert {recording.take for recording in read} == {"dataset-2_walk_active"}
    assert [recording.clip_id for recording in read] == names
    assert read[0].captions == ("A person walks in active style.",)


@pytest.mark.parametrize("place", [".", "Angry"])
def test_frames_of_100style_are_cut_by_its_table(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "Angry"
    folder.mkdir()
    for name in ("Angry_FW", "Angry_ID"):
        (folder / f"{name}.bvh").write_text(write_bvh("hundred_styles", frames=60, frame_time=1 / 60))
    (whole,) = read_bvh(folder / "Angry_FW.bvh", ImportOptions(skip_seconds=0))
    table = tmp_path / place / "Frame_Cuts.csv"
    table.write_text("STYLE_NAME,FW_START,FW_STOP,ID_START,ID_STOP\nAngry,10,39,N/A,N/A\n")
    (cut,) = read_bvh(folder / "Angry_FW.bvh")
    np.testing.assert_allclose(cut.joints, whole.joints[10:40], atol=1e-9)
    assert len(read_bvh(folder / "Angry_ID.bvh")[0].joints) == 54  # without an entry, 0.1 s is dropped
    table.write_bytes(b"\xff\xfe")
    frame_cuts.cache_clear()
    with pytest.raises(DataError, match=r"Frame_Cuts\.csv: table of frames cannot be read"):
        read_bvh(folder / "Angry_FW.bvh")
    table.write_text("STYLE_NAME,FW_START,FW_STOP\nAngry,100,200\n")
    with pytest.raises(DataError, match=r"Angry_FW\.bvh: no frames from 100 to 201, which its Frame_Cuts\.csv keeps"):
        read_bvh(folder / "Angry_FW.bvh")
