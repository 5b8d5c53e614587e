import math
import re
from pathlib import Path

import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.mocap.importers.bvh import read_bvh, read_positions
from stickgen.mocap.importers.bvh_layout import canonical_bvh
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.npz import read_npz
from stickgen.mocap.projection import BODY_JOINTS, Recording, facing_direction, project
from stickgen.motion.resampling import resample
from tests.mocap.bodies import SCHEMES, write_bvh


def saved(folder: Path, text: str, name: str = "dance.bvh") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def _read(path: Path, options: ImportOptions | None = None) -> Recording:
    (recording,) = read_bvh(path, options)
    return recording


@pytest.fixture
def reference(tmp_path: Path) -> np.ndarray:
    return _read(saved(tmp_path, write_bvh(), "reference.bvh")).joints


def test_forward_kinematics_by_hand(tmp_path: Path) -> None:
    text = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT Upper
  {
    OFFSET 0 2 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    JOINT Lower
    {
      OFFSET 0 3 0
      CHANNELS 3 Zrotation Xrotation Yrotation
      End Site
      {
        OFFSET 0 1 0
      }
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.01
1 2 3 0 0 0 0 0 0 0 0 0
1 2 3 90 0 0 0 90 0 0 0 0
"""
    names, positions, frame_time = read_positions(saved(tmp_path, text))
    assert names == ["Hips", "Upper", "Lower"]
    assert frame_time == pytest.approx(0.01)
    np.testing.assert_allclose(positions[0], [[1, 2, 3], [1, 4, 3], [1, 7, 3]], atol=1e-9)
    # A quarter turn about z lays the first bone along -x; one about x then tips the second out of it, along +z.
    np.testing.assert_allclose(positions[1], [[1, 2, 3], [-1, 2, 3], [-1, 2, 6]], atol=1e-9)


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_naming_schemes_agree(tmp_path: Path, reference: np.ndarray, scheme: str) -> None:
    recording = _read(saved(tmp_path, write_bvh(scheme)))
    np.testing.assert_allclose(recording.joints, reference, atol=1e-3)
    assert recording.take == "dance"


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
@pytest.mark.parametrize("rotations_first", [False, True])
def test_channel_orders_agree(tmp_path: Path, reference: np.ndarray, order: str, rotations_first: bool) -> None:
    for positions in ("XYZ", "YZX"):
        text = write_bvh(order=order, positions=positions, rotations_first=rotations_first)
        np.testing.assert_allclose(_read(saved(tmp_path, text)).joints, reference, atol=1e-3)


def test_position_channels_on_every_joint_whole_or_as_deviation(tmp_path: Path, reference: np.ndarray) -> None:
    whole, deviation = (
        _read(saved(tmp_path, write_bvh(joint_positions=kind, positions="ZXY"))).joints
        for kind in ("whole", "deviation")
    )
    np.testing.assert_allclose(whole, deviation, atol=1e-3)
    # The bones really stretch, by up to 2 cm at each joint.
    assert 1 < np.abs(whole - reference).max() < 20


def test_unmoved_position_channels_change_nothing(tmp_path: Path, reference: np.ndarray) -> None:
    text = write_bvh(joint_positions="deviation").replace("\r", "")
    head, motion = text.split("Frame Time: 0.04\n")
    rows = np.array([[float(v) for v in line.split()] for line in motion.splitlines()])
    for first in range(6, rows.shape[1], 6):
        rows[:, first : first + 3] = 0
    still = head + "Frame Time: 0.04\n" + "\n".join(" ".join(map(str, row)) for row in rows.tolist())
    np.testing.assert_allclose(_read(saved(tmp_path, still)).joints, reference, atol=1e-3)


def test_up_axis_is_detected_or_given(tmp_path: Path, reference: np.ndarray) -> None:
    path = saved(tmp_path, write_bvh(up="z"))
    np.testing.assert_allclose(_read(path).joints, reference, atol=1e-3)
    np.testing.assert_allclose(_read(path, ImportOptions(up="z")).joints, reference, atol=1e-3)
    assert facing_direction(_read(path).joints)[2] > 0.9
    with pytest.raises(DataError, match="up axis"):
        _read(path, ImportOptions(up="sideways"))


def test_units_do_not_matter(tmp_path: Path) -> None:
    metres, inches = (_read(saved(tmp_path, write_bvh(scale=scale))) for scale in (1.0, 39.37))
    a, b = (project(r.joints, dim=48, height=r.height, floor=r.floor) for r in (metres, inches))
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_windows_line_ends_tabs_capitals_and_byte_order_mark(tmp_path: Path, reference: np.ndarray) -> None:
    text = write_bvh("biped").replace("\n", "\r\n").replace("  ", "\t")
    path = tmp_path / "DANCE.BVH"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    np.testing.assert_allclose(_read(path).joints, reference, atol=1e-3)


def test_missing_rotation_channels_are_zero() -> None:
    text = "HIERARCHY\nROOT A\n{\nOFFSET 0 0 0\nCHANNELS 3 Yrotation Xrotation Zrotation\nJOINT B\n{\nOFFSET 0 1 0\n"
    text += "CHANNELS 1 Xrotation\nEnd Site\n{\nOFFSET 0 1 0\n}\n}\n}\nMOTION\nFrames: 1\nFrame Time: 0.1\n1 2 3 4\n"
    canonical = canonical_bvh(text, "arm.bvh")
    assert canonical is not None
    assert "CHANNELS 6 Xposition Yposition Zposition Yrotation Xrotation Zrotation" in canonical[0]
    assert "CHANNELS 3 Xrotation Yrotation Zrotation" in canonical[0]
    assert canonical[0].splitlines()[-1] == "0.0 0.0 0.0 1.0 2.0 3.0 4.0 0.0 0.0"


def test_the_t_pose_at_the_start_is_dropped(tmp_path: Path) -> None:
    path = saved(tmp_path, write_bvh(frames=40, frame_time=1 / 120))
    assert len(_read(path).joints) == 28
    assert len(_read(path, ImportOptions(skip_seconds=0)).joints) == 40
    with pytest.raises(DataError, match="40 frames"):
        _read(path, ImportOptions(skip_seconds=1))


def test_a_missing_joint_is_named_with_those_there_are(tmp_path: Path) -> None:
    path = saved(tmp_path, write_bvh(without="LeftForeArm"))
    with pytest.raises(DataError, match=r"dance.bvh: no joint found for left_elbow; the file has Hips.*--joint-map"):
        _read(path)


def test_a_joint_map_names_what_is_not_recognised(tmp_path: Path, reference: np.ndarray) -> None:
    path = saved(tmp_path, write_bvh().replace("LeftUpLeg", "Femur_A"))
    with pytest.raises(DataError, match="left_hip"):
        _read(path)
    np.testing.assert_allclose(
        _read(path, ImportOptions(joint_map={"left_hip": "Femur_A"})).joints, reference, atol=1e-3
    )
    with pytest.raises(DataError, match="'Femur_B'"):
        _read(path, ImportOptions(joint_map={"left_hip": "Femur_B"}))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("HIERARCHY", "PK\x03\x04", ""),
        ("Frames: 40", "Frames: 41", "41"),
        ("Frames: 40", "Frames: 0", ""),
        ("Frame Time: 0.04", "Frame Time: 0", ""),
        ("MOTION", "", "not a BVH"),
        ("CHANNELS 3", "CHANNELS 4", "CHANNELS"),
        ("Zrotation", "Wrotation", "Wrotation"),
        ("OFFSET 0.000000", "OFFSET zero", "zero"),
        ("CHANNELS 3 Zrotation Xrotation Yrotation", "CHANNELS", "a number of channels expected"),
        ("JOINT LeftForeArm", "JOINT", "line .*a name expected"),
    ],
)
def test_damaged_files_are_told_by_name(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = saved(tmp_path, write_bvh().replace(old, new))
    if old == "HIERARCHY":
        path.write_bytes(b"PK\x03\x04\x00\xff" * 50)
    with pytest.raises(DataError, match=f"dance.bvh.*{message}") as caught:
        _read(path)
    assert "\n" not in str(caught.value)


def test_bones_without_length(tmp_path: Path) -> None:
    text = re.sub(r"OFFSET .*", "OFFSET 0 0 0", write_bvh())
    with pytest.raises(DataError, match=r"dance\.bvh: body height 0"):
        _read(saved(tmp_path, text))


def test_nan_and_no_file(tmp_path: Path) -> None:
    lines = write_bvh().splitlines()
    lines[-3] = " ".join(["nan", *lines[-3].split()[1:]])
    with pytest.raises(DataError, match="frame 37: NaN"):
        _read(saved(tmp_path, "\n".join(lines)))
    with pytest.raises(DataError, match="no such file"):
        _read(tmp_path / "none.bvh")


def test_import_equals_an_independent_conversion_of_the_same_takes(shared_mocap: Path) -> None:
    clips = {clip.take: clip for clip in read_npz(shared_mocap / "cmu_sample.npz")}
    files = sorted((shared_mocap / "bvh").glob("*.bvh"))
    assert len(files) == 7
    head = BODY_JOINTS.index("head")
    for path in files:
        recording, clip = _read(path), clips[path.stem]
        joints = resample(recording.joints, recording.fps)[: len(clip.joints)] / 100
        assert len(joints) == len(clip.joints)

        def distances(body: np.ndarray) -> np.ndarray:
            """Between every two joints: free of place and heading, which the conversion normalised."""
            bones = np.delete(body, head, axis=1)
            return np.linalg.norm(bones[:, :, None] - bones[:, None], axis=-1)

        np.testing.assert_allclose(distances(joints), distances(clip.joints), atol=2e-3)
        ours = project(joints, dim=48, height=clip.height)
        theirs = project(clip.joints, dim=48, height=clip.height)
        np.testing.assert_allclose(ours, theirs, atol=5e-3)
        assert math.isclose(recording.height / 100, clip.height, rel_tol=5e-3)
