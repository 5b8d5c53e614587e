from pathlib import Path

import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.mocap.importers.acclaim import AMC, read_amc
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.registry import find_sources
from tests.mocap.foreign import acclaim, without_head


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A subject's folder as CMU lays it out."""
    asf, amc, _ = acclaim()
    (tmp_path / "07.asf").write_text(asf)
    (tmp_path / "07_01.amc").write_text(amc)
    return tmp_path


def test_kinematics_agree_with_scipys_rotations(folder: Path) -> None:
    assert find_sources([folder]) == [(folder / "07_01.amc", AMC)]
    (recording,) = read_amc(folder / "07_01.amc", ImportOptions())
    assert (recording.fps, recording.take, recording.captions) == (120, "07_01", ())
    np.testing.assert_allclose(without_head(recording.joints), without_head(acclaim()[2]), atol=1e-5)
    assert read_amc(folder / "07_01.amc", ImportOptions(fps=60))[0].fps == 60


def test_the_skeleton_is_found(folder: Path) -> None:
    whole = read_amc(folder / "07_01.amc", ImportOptions())[0].joints
    (folder / "07.asf").rename(folder / "person.ASF")
    np.testing.assert_array_equal(read_amc(folder / "07_01.amc", ImportOptions())[0].joints, whole)
    (folder / "other.asf").write_text("")
    with pytest.raises(DataError, match=r"07_01\.amc: no skeleton 07_01\.asf beside it"):
        read_amc(folder / "07_01.amc", ImportOptions())


def test_angles_may_be_radians(folder: Path) -> None:
    path = folder / "07_01.amc"
    whole = read_amc(path, ImportOptions())[0].joints
    lines = []
    for line in path.read_text().replace(":DEGREES", ":RADIANS").splitlines():
        name, *numbers = line.split()
        if numbers and not line.startswith("#"):
            kept = numbers[:3] if name == "root" else []
            numbers = [*kept, *(f"{np.radians(float(v)):.12f}" for v in numbers[len(kept) :])]
        lines.append(" ".join([name, *numbers]))
    path.write_text("\n".join(lines))
    np.testing.assert_allclose(read_amc(path, ImportOptions())[0].joints, whole, atol=1e-6)


def test_a_joint_map_names_bones(folder: Path) -> None:
    for name in ("07.asf", "07_01.amc"):
        (folder / name).write_text((folder / name).read_text().replace("lfemur", "thighbone"))
    with pytest.raises(DataError, match=r"no bone 'lfemur', at whose end left_knee is; the file has root, .*joint map"):
        read_amc(folder / "07_01.amc", ImportOptions())
    (recording,) = read_amc(folder / "07_01.amc", ImportOptions(joint_map={"left_knee": "thighbone"}))
    np.testing.assert_allclose(without_head(recording.joints), without_head(acclaim()[2]), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("07_01.amc", "lfemur ", "lfemur 1 ", r"line \d+: 3 numbers expected"),
        ("07_01.amc", "lfemur ", "lfemur x", "numbers expected"),
        ("07_01.amc", "lfemur ", "tail ", "'tail' is no bone of the skeleton"),
        ("07_01.amc", "root ", "root nan ", r"line \d+: 6 numbers expected"),
        ("07.asf", ":hierarchy", ":other", "no section :hierarchy"),
        ("07.asf", "axis 5 0 0 XYZ", "axis 5 0 0 XYY", "an order like XYZ expected"),
        ("07.asf", "dof rx ry rz", "dof rx rx rz", "channel 'rx'"),
        ("07.asf", "dof rx ry rz", "dof rx ry l", "channel 'l'"),
        ("07.asf", "    lowerback thorax", "    thorax lowerback", "each bone once, after its parent"),
        ("07.asf", "    length ", "    length -x", "length: 1 numbers expected"),
    ],
)
def test_damaged_files(folder: Path, name: str, old: str, new: str, message: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_amc(folder / "07_01.amc", ImportOptions())


def test_truncated_motions(folder: Path) -> None:
    path = folder / "07_01.amc"
    lines = path.read_text().splitlines()
    for kept, message in (
        (2, "no numbers of root in 0 frames"),
        (10, "no numbers of lradius in 1 frames|no numbers of .* in 1 frames; the file is truncated"),
        (40, r"has 2 of 3 frames; the file is truncated"),
    ):
        path.write_text("\n".join(lines[:kept]))
        with pytest.raises(DataError, match=message):
            read_amc(path, ImportOptions())
