from pathlib import Path

import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.mocap.importers.humanml3d import HUMANML3D, KIT_JOINT_NAMES, joints_of_features, read_humanml3d
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.importers.smpl import JOINT_NAMES
from stickgen.mocap.projection import facing_direction, project
from tests.mocap.foreign import body_of, features_of, smpl_body, without_head


def saved(root: Path, array: np.ndarray, name: str = "000012", folder: str = "new_joints") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    np.save(root / folder / f"{name}.npy", array)
    return root / folder / f"{name}.npy"


def turning(body: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """The body walked along a bow: every frame turned about its own place, and the places along the way."""
    at, place = np.zeros(3), []
    for t, angle in enumerate(angles):
        if t:
            step = body[t, 0] - body[t - 1, 0]
            at = at + step[2] * np.array([np.sin(angle), 0, np.cos(angle)])
        c, s = np.cos(angle), np.sin(angle)
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        place.append((body[t] - body[t, 0] * [1, 0, 1]) @ turn.T + at)
    return np.stack(place)


def test_positions(tmp_path: Path) -> None:
    path = saved(tmp_path, smpl_body().astype(np.float32))
    assert find_sources([tmp_path]) == [(path, HUMANML3D)]
    (recording,) = read_humanml3d(path, ImportOptions())
    assert (recording.fps, recording.take, recording.source, recording.captions) == (
        20,
        "humanml3d/000012",
        "humanml3d",
        (),
    )
    np.testing.assert_allclose(without_head(recording.joints), body_of(smpl_body()), atol=1e-6)


@pytest.mark.parametrize("joints", [22, 21])
def test_features_give_the_positions_back(tmp_path: Path, joints: int) -> None:
    body = smpl_body(60)[:, :joints]
    angles = 0.8 * np.sin(np.linspace(0, 3, 60))
    angles -= angles[0]
    truth = turning(body, angles)
    features = features_of(truth, angles)
    assert features.shape[1] == {22: 263, 21: 251}[joints]
    np.testing.assert_allclose(joints_of_features(features), truth, atol=1e-9)
    (recording,) = read_humanml3d(
        saved(tmp_path, features.astype(np.float32), folder="new_joint_vecs"), ImportOptions()
    )
    assert len(recording.joints) == 60
    if joints == 22:
        np.testing.assert_allclose(without_head(recording.joints), body_of(truth), atol=1e-4)


def kit_body(*, exchanged: bool) -> np.ndarray:
    """KIT-ML's 21 joints in millimetres, with the sides as the list of names has them, or exchanged."""
    body = smpl_body()
    place = {name: body[:, JOINT_NAMES.index(name)] for name in JOINT_NAMES}
    for side in ("left", "right"):
        place[f"{side}_toe"] = place[f"{side}_foot"]
        place[f"{side}_heel"] = place[f"{side}_ankle"]
    names = [
        name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right") if exchanged else name
        for name in KIT_JOINT_NAMES
    ]
    return 1000 * np.stack([place[name] for name in names], axis=1)


@pytest.mark.parametrize("exchanged", [False, True])
def test_kit_whose_sides_are_read_from_the_toes(tmp_path: Path, exchanged: bool) -> None:
    (recording,) = read_humanml3d(saved(tmp_path, kit_body(exchanged=exchanged), "00001"), ImportOptions())
    assert (recording.fps, recording.source) == (12.5, "kit_ml")
    np.testing.assert_allclose(facing_direction(recording.joints), [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(without_head(recording.joints), 1000 * body_of(smpl_body()), atol=1e-6)
    assert project(recording.joints, dim=20)[-1, 2] > 1


def test_captions_parts_mirrors_and_splits(tmp_path: Path) -> None:
    path = saved(tmp_path, smpl_body(100), "M000012")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "M000012.txt").write_text(
        "a person walks ahead.#a/DET person/NOUN walk/VERB#0.0#0.0\n"
        "someone strolls.#someone/PRON#0.0#0.0\n"
        "the last steps.#the/DET#3.0#5.0\n\n"
    )
    (tmp_path / "test.txt").write_text("000012\nM000012\n")
    whole, part = read_humanml3d(path, ImportOptions())
    assert whole.captions == ("a person walks ahead.", "someone strolls.")
    assert part.captions == ("the last steps.",)
    assert (len(whole.joints), len(part.joints)) == (100, 40)
    np.testing.assert_array_equal(part.joints, whole.joints[60:])
    assert {whole.take, part.take} == {"humanml3d/000012"}
    assert {whole.split, part.split} == {"test"}
    assert (whole.clip_id, part.clip_id) == ("M000012", "M000012_0060_0100")


@pytest.mark.parametrize("line", ["walks", "walks#a#0.0", "walks#a#x#y", "walks#a#5#1", "walks#a#0#1#2", "w#a#1e9#2e9"])
def test_bad_captions(tmp_path: Path, line: str) -> None:
    path = saved(tmp_path, smpl_body())
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "000012.txt").write_text(line)
    with pytest.raises(DataError, match=r"000012\.txt: line 1: caption#tokens#start#end expected"):
        read_humanml3d(path, ImportOptions())


def test_bad_files(tmp_path: Path) -> None:
    path = saved(tmp_path, smpl_body())
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    with pytest.raises(DataError, match=r"000012\.npy: not a \.npy file that can be read"):
        read_humanml3d(path, ImportOptions())
    with path.open("wb") as file:  # a header that promises terabytes
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**11, 22, 3)})
        file.write(whole[128:])
    with pytest.raises(DataError, match=r"not a \.npy file that can be read"):
        read_humanml3d(path, ImportOptions())
    np.save(path, np.full((30, 263), np.nan))
    with pytest.raises(DataError, match="frame 0: NaN or infinity"):
        read_humanml3d(path, ImportOptions())
    np.save(path, np.zeros((30, 22, 3), complex))
    with pytest.raises(DataError, match="real numbers expected, complex128"):
        read_humanml3d(path, ImportOptions())
    for shape in ((30, 23, 3), (30, 264), (30,)):
        np.save(path, np.zeros(shape))
        with pytest.raises(DataError, match="not a format that is recognised"):
            find_sources([path])
