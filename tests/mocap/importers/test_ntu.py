from pathlib import Path

import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.ntu import NTU, read_ntu
from stickgen.mocap.importers.ntu_actions import NTU_ACTIONS
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.importers.smpl import JOINT_NAMES
from stickgen.motion.actions import ACTIONS
from tests.mocap.foreign import KINECT, body_of, skeleton_text, smpl_body, without_head


def kinect(away: float = 0.0, frames: int = 40) -> np.ndarray:
    """Kinect's 25 joints ``[T, 25, 3]``."""
    return smpl_body(frames)[:, [JOINT_NAMES.index(name) for name in KINECT]] + np.array([away, 0, 0])


def saved(folder: Path, frames: list[dict[str, np.ndarray]], name: str = "S001C002P003R002A023") -> Path:
    path = folder / f"{name}.skeleton"
    path.write_text(skeleton_text(frames))
    return path


def test_one_body(tmp_path: Path) -> None:
    path = saved(tmp_path, [{"72057594037927936": joints} for joints in kinect()])
    assert find_sources([path]) == [(path, NTU)]
    (recording,) = read_ntu(path, ImportOptions())
    np.testing.assert_allclose(without_head(recording.joints), body_of(smpl_body()), atol=1e-5)
    # Kinect's head is the middle of the skull already.
    np.testing.assert_allclose(recording.joints[:, 1], kinect()[:, 3], atol=1e-5)
    assert (recording.fps, recording.action, recording.stickgen_action) == (30, "wave a hand", "wave")
    # Cameras and repetitions are views of one performance.
    assert (recording.take, recording.subject) == ("S001P003A023", "P003")
    assert recording.captions == ("Wave a hand.",)


def test_two_bodies_are_actors_and_gaps_are_filled(tmp_path: Path) -> None:
    one, two = kinect(), kinect(1.0)
    frames = [{"1": a, "2": b} for a, b in zip(one, two, strict=True)]
    for frame in range(10, 20):
        del frames[frame]["2"]
    (recording,) = read_ntu(saved(tmp_path, frames), ImportOptions())
    assert recording.joints.shape == (40, 2, 14, 3)
    truth = body_of(smpl_body() + np.array([1.0, 0, 0]))
    np.testing.assert_allclose(without_head(recording.joints[:10, 1]), truth[:10], atol=1e-5)
    between = truth[9] + (truth[20] - truth[9]) * 5 / 11
    np.testing.assert_allclose(without_head(recording.joints[14, 1]), between, atol=1e-5)


def test_long_gaps_cut_and_furniture_is_left_out(tmp_path: Path) -> None:
    frames = [{"1": joints} for joints in kinect(frames=100)]
    for frame in range(40, 60):
        frames[frame] = {}
    for frame in range(5):
        frames[frame] |= {"chair": kinect()[0], "table": kinect()[0]}
    first, second = read_ntu(saved(tmp_path, frames), ImportOptions())
    assert (len(first.joints), len(second.joints)) == (40, 40)
    assert (first.clip_id, second.clip_id) == ("S001C002P003R002A023", "S001C002P003R002A023_0060")
    assert first.take == second.take
    # Two people who are hardly seen together are two recordings.
    apart = [{"1": joints} if t < 30 else {"2": joints} for t, joints in enumerate(kinect(frames=60))]
    assert [r.clip_id for r in read_ntu(saved(tmp_path, apart, "x"), ImportOptions())] == ["x_body1", "x_body2_0030"]


def test_the_classes_are_a_hundred_and_twenty() -> None:
    assert len({name for name, _ in NTU_ACTIONS}) == len(NTU_ACTIONS) == 120
    assert {action for _, action in NTU_ACTIONS if action} <= set(ACTIONS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n25\n", "\n24\n", "25 joints expected, 24 found"),
        ("\n25\n", "\nmany\n", "the number of joints, 0 to 25, expected, 'many' found"),
        ("\n1\n", "\n9\n", "line 2: the number of bodies, 0 to 6, expected, '9' found"),
        ("3\n", "30000\n", "line 1: the number of frames, 0 to 20000"),
        ("3\n", "99999999999999\n", "line 1: the number of frames"),
        ("3\n", "4\n", "where the number of bodies was expected; the file is truncated"),
        ("300.1", "x y", None),
        ("\n0.1 ", "\nzero ", "x, y and z of a joint expected"),
    ],
)
def test_damaged_files(tmp_path: Path, old: str, new: str, message: str | None) -> None:
    body = np.full((25, 3), 0.1) + np.arange(25)[:, None] / 10
    path = saved(tmp_path, [{"1": body + 0.0}] * 3)
    path.write_text(path.read_text().replace(old, new, 1))
    if message is None:
        assert len(read_ntu(path, ImportOptions())) == 1
        return
    with pytest.raises(DataError, match=message):
        read_ntu(path, ImportOptions())


def test_nobody_and_nan(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no body in 3 frames"):
        read_ntu(saved(tmp_path, [{}] * 3), ImportOptions())
    many = [{str(n): kinect()[0] for n in range(6 * t, 6 * t + 6)} for t in range(4)]
    with pytest.raises(DataError, match="ids of more than 16 bodies"):
        read_ntu(saved(tmp_path, many), ImportOptions())
