import sys
from pathlib import Path

import numpy as np
import pytest

from stickgen.errors import DataError, StickgenError
from stickgen.mocap.importers.c3d import C3D, read_c3d
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.projection import BODY_JOINTS
from tests.mocap.bodies import walking_body
from tests.mocap.foreign import CENTRES, Z_UP, centres, without_head, write_c3d

pytest.importorskip("ezc3d")

_BONES = {"hip": "FEP", "knee": "FEO", "ankle": "TIO", "shoulder": "HUP", "elbow": "HUO", "wrist": "RAO"}
"""Plug-in Gait's bones whose ends are at the joints."""


def markers(names: dict[str, str], frames: int = 60) -> dict[str, np.ndarray]:
    """Points of somebody who walks."""
    return centres(1000 * walking_body(frames) @ Z_UP.T, names)


@pytest.mark.parametrize("names", [CENTRES, _BONES])
def test_joint_centres(tmp_path: Path, names: dict[str, str]) -> None:
    path = write_c3d(tmp_path / "Walk 01.c3d", markers(names), prefix="liu:")
    assert find_sources([path]) == [(path, C3D)]
    (recording,) = read_c3d(path, ImportOptions())
    assert (recording.fps, recording.take, recording.clip_id) == (100, "Walk 01", "Walk 01")
    np.testing.assert_allclose(recording.joints, 1000 * walking_body(60), atol=1e-2)


def test_markers_on_the_skin_lie_near_the_joints(tmp_path: Path) -> None:
    points = markers(CENTRES)
    skin = {name: place for name, place in points.items() if name[1:] not in CENTRES.values()}
    for s, side in (("L", 1), ("R", -1)):
        out = np.array([50.0 * side, 0, 0])
        skin |= {f"{s}KNE": points[f"{s}KJC"] + out, f"{s}ANK": points[f"{s}AJC"] + out}
        skin |= {f"{s}SHO": points[f"{s}SJC"] + np.array([0, 0, 40.0]), f"{s}ELB": points[f"{s}EJC"] + out}
        skin |= {f"{s}WRA": points[f"{s}WJC"] + out, f"{s}WRB": points[f"{s}WJC"] - out}
        middle = (points["LHJC"] + points["RHJC"]) / 2 + np.array([0, 0, 80.0])
        skin |= {
            f"{s}ASI": middle + np.array([120 * side, -60.0, 0]),
            f"{s}PSI": middle + np.array([50 * side, 90.0, 0]),
        }
    (recording,) = read_c3d(write_c3d(tmp_path / "skin.c3d", skin), ImportOptions())
    errors = np.linalg.norm(recording.joints - 1000 * walking_body(60), axis=2).mean(axis=0)
    assert dict(zip(BODY_JOINTS, errors.round(), strict=True))["left_wrist"] == 0
    assert errors.max() <= 51  # millimetres, as far as the markers themselves lie off
    assert errors[BODY_JOINTS.index("left_hip")] < 40


def test_short_gaps_are_filled_and_long_ones_cut(tmp_path: Path) -> None:
    points = markers(CENTRES, 200)
    points["LKJC"][20:40] = np.nan
    points["RWJC"][100:150] = 0  # as some programs write a hidden marker
    first, second = read_c3d(write_c3d(tmp_path / "gaps.c3d", points), ImportOptions())
    assert (len(first.joints), len(second.joints)) == (100, 50)
    assert (first.clip_id, second.clip_id, second.take) == ("gaps_0000", "gaps_0150", "gaps")
    truth = 1000 * walking_body(200)
    np.testing.assert_allclose(without_head(first.joints), without_head(truth[:100]), atol=1e-2)
    points["LKJC"][:] = np.nan
    with pytest.raises(DataError, match="no frame in which all markers"):
        read_c3d(write_c3d(tmp_path / "none.c3d", points), ImportOptions())


def test_missing_markers_and_a_joint_map(tmp_path: Path) -> None:
    points = markers(CENTRES)
    points["knee_l"] = points.pop("LKJC")
    path = write_c3d(tmp_path / "x.c3d", points)
    with pytest.raises(DataError, match=r"no marker found for left_knee; the file has .*\(--joint-map\)"):
        read_c3d(path, ImportOptions())
    (recording,) = read_c3d(path, ImportOptions(joint_map={"left_knee": "knee_l"}))
    np.testing.assert_allclose(recording.joints, 1000 * walking_body(60), atol=1e-2)


def test_without_ezc3d(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_c3d(tmp_path / "x.c3d", markers(CENTRES))
    monkeypatch.setitem(sys.modules, "ezc3d", None)
    with pytest.raises(StickgenError, match=r"x\.c3d: ezc3d is not installed; pip install 'stickgen\[c3d\]'"):
        read_c3d(path, ImportOptions())


def test_damaged_files(tmp_path: Path) -> None:
    whole = write_c3d(tmp_path / "x.c3d", markers(CENTRES)).read_bytes()
    path = tmp_path / "y.c3d"
    for size in (len(whole) // 2, 600):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"y\.c3d: "):
            read_c3d(path, ImportOptions())
    changes = {
        2: (b"\xff\x0f", "4095 points in the header, 18 in the parameters"),
        8: (b"\xf0\xff", "do not fit into|different numbers of frames"),
        12: (b"\0\0\0\0", "a scale of 0.0"),
        16: (b"\x63", "different blocks of data"),
        515: (b"\x55", r"processor type 85; 84 \(Intel\) expected"),
        516: (b"\x70", "wrong length|of type|is no number"),
    }
    for at, (new, message) in changes.items():
        path.write_bytes(whole[:at] + new + whole[at + len(new) :])
        with pytest.raises(DataError, match=message):
            read_c3d(path, ImportOptions())
    path.write_bytes(b"\x02\x50" + b"\x00" * 30)
    with pytest.raises(DataError, match="not a format that is recognised"):
        find_sources([path])
