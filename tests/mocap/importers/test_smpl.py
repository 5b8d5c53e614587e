"""AMASS, AIST++ and InterHuman: joint rotations by forward kinematics."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.mocap.importers.aist import AIST, read_aist
from stickgen.mocap.importers.amass import AMASS, read_amass
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.interhuman import INTERHUMAN, read_interhuman
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.importers.smpl import HEIGHT, smpl_joints
from stickgen.mocap.projection import body_height, facing_direction, project
from tests.mocap.foreign import Z_UP, body_of, dance, smpl_body, smpl_reference, without_head, write_pickle


def test_kinematics_agree_with_scipys_rotations() -> None:
    poses, place = dance()
    np.testing.assert_allclose(smpl_joints(poses, place), smpl_reference(poses, place, HEIGHT), atol=1e-9)


def test_the_rest_pose_is_an_adult_who_stands_and_faces_ahead() -> None:
    body = smpl_joints(np.zeros((1, 66)), np.zeros((1, 3)), scale=1.0)
    joints = body_of(body)
    # Bone by bone the body is as high as it is said to be.
    head = np.insert(joints, 1, body[:, 15] + [0, 0.06, 0], axis=1)
    assert body_height(head) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(facing_direction(head), [0, 0, 1], atol=1e-9)
    np.testing.assert_allclose(body[0, 1] * [-1, 1, 1], body[0, 2])


def archive(path: Path, frames: int = 240, **changes: Any) -> Path:
    poses, place = dance(frames, joints=52)
    content: dict[str, Any] = {
        "poses": poses, "trans": place, "betas": np.zeros(16), "gender": "female", "mocap_framerate": 120.0,
        "dmpls": np.zeros((frames, 8)),
    }  # fmt: skip
    content.update(changes)
    path.parent.mkdir(exist_ok=True)
    np.savez(path, **{key: value for key, value in content.items() if value is not None})
    return path


def test_amass(tmp_path: Path) -> None:
    path = archive(tmp_path / "Subject_07" / "walk_poses.npz")
    assert find_sources([tmp_path]) == [(path, AMASS)]
    (recording,) = read_amass(path, ImportOptions())
    assert (recording.fps, recording.take, recording.subject) == (120, "Subject_07/walk", "Subject_07")
    poses, place = dance(240, joints=52)
    expected = body_of(smpl_reference(poses, place, HEIGHT)) @ Z_UP  # back to y up
    np.testing.assert_allclose(without_head(recording.joints), expected, atol=1e-6)
    assert project(recording.joints, dim=48)[..., 1::2].max() < 1.4


def test_amass_of_smpl_x_has_its_arrays_apart(tmp_path: Path) -> None:
    whole = read_amass(archive(tmp_path / "s" / "a_poses.npz"), ImportOptions())[0]
    poses, _ = dance(240, joints=52)
    parts = {"poses": None, "root_orient": poses[:, :3], "pose_body": poses[:, 3:66]}
    rate = {"mocap_framerate": None, "mocap_frame_rate": np.array(120)}
    objects = np.array({"C7": 3829}, dtype=object)  # never unpickled
    path = archive(tmp_path / "s" / "a_stageii.npz", **parts, **rate, markers_latent_vids=objects)
    (recording,) = read_amass(path, ImportOptions())
    assert (recording.take, recording.fps) == ("s/a", 120)
    np.testing.assert_array_equal(recording.joints, whole.joints)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"poses": np.zeros((240, 63))},
            r"poses: floats of shape \[T, 66 or more\] expected, float64 \[240, 63\] found",
        ),
        ({"trans": np.zeros((239, 3))}, r"trans: shape \[240, 3\] expected, \[239, 3\] found"),
        ({"trans": np.full((240, 3), np.nan)}, "frame 0: NaN or infinity"),
        ({"mocap_framerate": None}, "no mocap_framerate or mocap_frame_rate; give the frames a second"),
        ({"mocap_framerate": 0.0}, "0 frames a second: 1 to 1000 expected"),
        ({"mocap_framerate": np.array(["x"])}, "mocap_framerate: one number expected"),
        ({"poses": np.array([{}] * 240)}, "Python objects"),
        ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, "no frames"),
    ],
)
def test_bad_archives_of_amass(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_amass(archive(tmp_path / "s" / "x.npz", **changes), ImportOptions())


def aist(path: Path, protocol: int = 4, **changes: Any) -> Path:
    poses, place = dance(120, z_up=False, joints=24)
    content = {"smpl_loss": 1.5, "smpl_poses": poses, "smpl_trans": place * 94, "smpl_scaling": np.array([94.0])}
    return write_pickle(path, content | changes, protocol)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_aist(tmp_path: Path, protocol: int) -> None:
    path = aist(tmp_path / "gBR_sBM_cAll_d04_mBR3_ch01.pkl", protocol)
    assert find_sources([path]) == [(path, AIST)]
    (recording,) = read_aist(path, ImportOptions())
    poses, place = dance(120, z_up=False, joints=24)
    np.testing.assert_allclose(without_head(recording.joints), body_of(smpl_reference(poses, place, HEIGHT)), atol=1e-6)
    # Another tempo of the same choreography by the same dancer is the same take.
    assert (recording.take, recording.subject, recording.fps) == ("gBR_sBM_d04_ch01", "d04", 60)
    assert recording.captions == ("A person dances break dance.",)
    assert (recording.action, recording.stickgen_action) == ("break dance", "dance")


class _Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("smpl_poses",))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"smpl_poses": np.zeros((120, 66))}, r"smpl_poses: shape \[any, 72\] expected, \[120, 66\] found"),
        ({"smpl_trans": np.zeros((7, 3))}, "smpl_trans: 120 frames expected, 7 found"),
        ({"smpl_scaling": np.array([0.0])}, "smpl_scaling: a positive number expected, 0 found"),
        ({"smpl_trans": [1, 2]}, "smpl_trans: an array of numbers expected, list found"),
        ({"smpl_poses": _Malice()}, r"Python objects, .* refused \(it names (__builtin__|builtins)\.print\)"),
        ({"smpl_poses": np.array([_Malice()])}, "Python objects"),
    ],
)
def test_bad_pickles(changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=message):
        read_aist(aist(tmp_path / "x.pkl", **changes), ImportOptions())
    assert capsys.readouterr().out == ""


def test_truncated_pickles(tmp_path: Path) -> None:
    whole = aist(tmp_path / "x.pkl").read_bytes()
    for size in (0, 1, 20, 200, len(whole) // 2, len(whole) - 1):
        (tmp_path / "y.pkl").write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"y\.pkl: not a pickle, or damaged"):
            read_aist(tmp_path / "y.pkl", ImportOptions())


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}r\xff\xff\xff\x7f.",  # a place in the memo that takes 32 GiB
        b"\x80\x02}" + b"0}" * 200_000 + b".",
    ],
)
def test_pickles_that_would_take_all_memory(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pkl").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.pkl: not a pickle, or damaged"):
        read_aist(tmp_path / "x.pkl", ImportOptions())


def person(seed: int, away: float, frames: int = 60) -> dict[str, Any]:
    poses, place = dance(frames, seed=seed)
    return {
        "trans": place + np.array([away, 0, 0]), "root_orient": poses[:, :3], "pose_body": poses[:, 3:66],
        "betas": np.zeros(10), "gender": "male",
    }  # fmt: skip


def test_interhuman_is_two_actors(tmp_path: Path) -> None:
    content = {"mocap_framerate": 59.94, "frames": 60, "person1": person(0, 0), "person2": person(1, 1.2)}
    path = write_pickle(tmp_path / "motions" / "17.pkl", content)
    (tmp_path / "annots").mkdir()
    (tmp_path / "annots" / "17.txt").write_text("Two people dance.\n\nThey wave their arms.\n")
    assert find_sources([tmp_path]) == [(path, INTERHUMAN)]
    (recording,) = read_interhuman(path, ImportOptions())
    assert recording.joints.shape == (60, 2, 14, 3)
    assert recording.fps == pytest.approx(59.94)
    assert recording.captions == ("Two people dance.", "They wave their arms.")
    assert (recording.take, recording.clip_id) == ("interhuman/17", "17")
    for actor in (0, 1):
        poses, place = dance(60, seed=actor)
        expected = body_of(smpl_reference(poses, place + np.array([1.2 * actor, 0, 0]), HEIGHT)) @ Z_UP
        np.testing.assert_allclose(without_head(recording.joints[:, actor]), expected, atol=1e-6)


def test_interhuman_processed(tmp_path: Path) -> None:
    body = smpl_body()
    for number in (1, 2):
        folder = tmp_path / "motions_processed" / f"person{number}"
        folder.mkdir(parents=True)
        frames = np.zeros((len(body), 492), np.float32)
        frames[:, :66] = ((body + np.array([0, 0, number])) @ Z_UP.T).reshape(len(body), 66)
        np.save(folder / "3.npy", frames)
    read = [r for path, _ in find_sources([tmp_path]) for r in read_interhuman(path, ImportOptions())]
    (recording,) = read
    assert recording.fps == 30
    for actor in (0, 1):
        np.testing.assert_allclose(
            without_head(recording.joints[:, actor]), body_of(body + np.array([0, 0, actor + 1])), atol=1e-6
        )
    (tmp_path / "motions_processed" / "person2" / "3.npy").unlink()
    with pytest.raises(DataError, match=r"no .*person2/3\.npy beside it"):
        read_interhuman(tmp_path / "motions_processed" / "person1" / "3.npy", ImportOptions())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"person2": None}, "person2: a dict of arrays expected, NoneType found"),
        ({"person2": person(1, 1, 59)}, "60 frames of the first person, 59 of the second"),
        (
            {"person1": person(0, 0) | {"pose_body": np.zeros((60, 60))}},
            r"person1: pose_body: shape \[any, 63\] expected",
        ),
        ({"mocap_framerate": "fast"}, "mocap_framerate: a number expected, str found"),
        ({"mocap_framerate": 1e6}, "1e[+]06 frames a second"),
    ],
)
def test_bad_pairs(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    content = {"mocap_framerate": 30.0, "person1": person(0, 0), "person2": person(1, 1)}
    path = write_pickle(tmp_path / "motions" / "1.pkl", content | changes)
    with pytest.raises(DataError, match=message):
        read_interhuman(path, ImportOptions())
