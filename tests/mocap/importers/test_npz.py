import contextlib
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.mocap.importers.joints import find_joints, read_joint_map
from stickgen.mocap.importers.npz import read_npz
from stickgen.mocap.projection import BODY_JOINTS
from tests.mocap.bodies import walking_body


def archive(path: Path, **changes: Any) -> Path:
    """Two clips of one take and one of another."""
    content: dict[str, Any] = {
        "joints": np.concatenate([walking_body(30), walking_body(30) * 0.9, walking_body(40)]).astype(np.float32),
        "joint_names": np.array(BODY_JOINTS),
        "start": np.array([0, 30, 60]),
        "length": np.array([30, 30, 40]),
        "fps": np.array(25),
        "clip_id": np.array(["01_01_0", "02_01_0", "01_01_1"]),
        "cmu_id": np.array(["01_01", "02_01", "01_01"]),
        "action": np.array(["stroll", "jog", "stroll"]),
        "stickgen_action": np.array(["walk", "run", "walk"]),
        "captions_json": np.array([json.dumps(["A stroll.", "Someone strolls."])] * 3),
    }
    content.update(changes)
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def test_clips_are_cut_and_described(tmp_path: Path) -> None:
    clips = read_npz(archive(tmp_path / "mocap.npz"))
    assert [len(clip.joints) for clip in clips] == [30, 30, 40]
    assert [clip.take for clip in clips] == ["01_01", "02_01", "01_01"]
    assert clips[1].action == "jog"
    assert clips[1].stickgen_action == "run"
    assert clips[0].captions == ("A stroll.", "Someone strolls.")
    assert clips[0].source == "cmu"
    assert clips[0].height == clips[2].height
    assert clips[1].height == pytest.approx(0.9 * clips[0].height, rel=1e-2)


def test_plain_positions_are_one_clip(tmp_path: Path) -> None:
    path = tmp_path / "walk.npz"
    np.savez(path, joints=walking_body(40, fps=60), joint_names=np.array(BODY_JOINTS), fps=60, caption="A walk.")
    (clip,) = read_npz(path)
    assert (clip.take, clip.fps, clip.captions, clip.source) == ("walk_0000", 60, ("A walk.",), "")
    assert clip.style == ""


def test_styles_and_single_descriptions_are_read(tmp_path: Path) -> None:
    described = np.array(["A tired walk.", "A jog.", "A walk."])
    styles = np.array(["tired", "normal", ""])
    clips = read_npz(archive(tmp_path / "a.npz", captions_json=None, description=described, style=styles))
    assert [clip.captions for clip in clips] == [("A tired walk.",), ("A jog.",), ("A walk.",)]
    assert [clip.style for clip in clips] == ["tired", "normal", ""]
    (first, *_) = read_npz(archive(tmp_path / "b.npz", captions_json=None, description=described, caption=["x"] * 3))
    assert first.captions == ("x",)


def test_who_moves_and_the_licence_are_read(tmp_path: Path) -> None:
    clips = read_npz(archive(tmp_path / "a.npz", subject=np.array(["anna", "", "bob"]), license="CC BY 4.0"))
    assert [(clip.subject, clip.license) for clip in clips] == [
        ("anna", "CC BY 4.0"),
        ("", "CC BY 4.0"),
        ("bob", "CC BY 4.0"),
    ]
    with pytest.raises(DataError, match="license: one text expected; 2 found"):
        read_npz(archive(tmp_path / "b.npz", license=np.array(["a", "b"])))


def test_a_head_beside_a_head_base_is_the_middle_already(tmp_path: Path) -> None:
    body = walking_body(30)
    head = BODY_JOINTS.index("head")
    (base,) = read_npz(archive(tmp_path / "a.npz", joints=body, start=None, length=None, **_one()))
    both = np.concatenate([body, body[:, [head]] - [0, 0.1, 0]], axis=1)
    names = np.array([*BODY_JOINTS, "head_base"])
    (middle,) = read_npz(archive(tmp_path / "b.npz", joints=both, joint_names=names, start=None, length=None, **_one()))
    np.testing.assert_allclose(middle.joints[:, head], body[:, head])
    np.testing.assert_allclose(base.joints[:, head, 1] - body[:, head, 1], 0.104, atol=0.02)


def _one() -> dict[str, Any]:
    return dict.fromkeys(("clip_id", "cmu_id", "action", "stickgen_action", "captions_json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": None}, "no array 'joints'; the file has joint_names"),
        ({"joint_names": np.array(["a", "b"])}, r"\[N, 2, 3\]"),
        ({"joint_names": np.array([*BODY_JOINTS[:-1], "tail"])}, "right_ankle.*tail"),
        ({"length": np.array([30, 30, 41])}, "clip 2: frames 60 to 101"),
        ({"length": np.array([30, 0, 40])}, "clip 1"),
        ({"length": None}, "start and length"),
        ({"clip_id": np.array(["a"])}, "clip_id: 3 entries"),
        ({"captions_json": np.array(["[1]", "[]", "[]"])}, "captions_json: clip 0"),
        ({"joints": np.full((100, 14, 3), np.nan)}, "NaN"),
        ({"fps": np.array([{}], dtype=object)}, "Python objects"),
        ({"fps": np.array([25, 25])}, r"fps: one number expected, int64 \[2\] found"),
        ({"fps": np.array([])}, r"fps: one number expected, float64 \[0\] found"),
        ({"fps": "fast"}, r"fps: one number expected, <U4 \[\] found"),
        ({"joints": np.zeros((0, 14, 3))}, "joints: no frames"),
        ({"joints": np.zeros((100, 14, 3))}, "take .*: body height 0"),
    ],
)
def test_refuses_what_is_not_as_described(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"mocap.npz.*{message}"):
        read_npz(archive(tmp_path / "mocap.npz", **changes))


def test_refuses_no_file_and_no_archive(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_npz(tmp_path / "none.npz")
    for name, content in (("text.npz", b"hello"), ("pickle.npz", pickle.dumps([1])), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="not an archive of plain arrays: no zip file"):
            read_npz(tmp_path / name)
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    with pytest.raises(DataError, match="not an archive"):
        read_npz(tmp_path / "single.npz")


def test_a_rate_may_be_an_array_of_one(tmp_path: Path) -> None:
    assert read_npz(archive(tmp_path / "mocap.npz", fps=np.array([30])))[0].fps == 30


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b", }", b", {"),  # a header that cannot be parsed
        (b"\x93NUMPY", b"\x93NUMPX"),  # a member that is no array
    ],
)
def test_damaged_members_are_told(tmp_path: Path, old: bytes, new: bytes) -> None:
    whole, path = archive(tmp_path / "whole.npz"), tmp_path / "mocap.npz"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(old, new))
    with pytest.raises(DataError, match=r"mocap\.npz: not an archive of plain arrays") as caught:
        read_npz(path)
    assert "\n" not in str(caught.value)


def test_damaged_compression_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mocap.npz"
    with np.load(archive(path)) as content:
        np.savez_compressed(path, **content)
    whole = path.read_bytes()
    for at in range(100, len(whole), len(whole) // 50):
        path.write_bytes(whole[:at] + bytes(8) + whole[at + 8 :])
        with contextlib.suppress(DataError):  # some bytes carry nothing
            read_npz(path)


def test_shoulders_are_not_collar_bones() -> None:
    unreal = "pelvis neck_01 head clavicle_lr upperarm_lr lowerarm_lr hand_lr thigh_lr calf_lr foot_lr"
    names = [n for word in unreal.split() for n in ([word.replace("lr", s) for s in "lr"] if "lr" in word else [word])]
    found = find_joints(names, "skeleton")
    assert names[found["left_shoulder"]] == "upperarm_l"
    assert names[found["right_knee"]] == "calf_r"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "JSON object"),
        ("{", "not JSON"),
        ('{"left_hip": 3}', "JSON object"),
        ('{"left_toe": "L"}', "left_toe: no joint of the figure"),
    ],
)
def test_joint_maps_are_checked(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_joint_map(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_joint_map(tmp_path / "none.json")


def test_joint_map_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"left_hip": "Femur_A"}')
    assert read_joint_map(path) == {"left_hip": "Femur_A"}
