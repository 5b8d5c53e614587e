from pathlib import Path

import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.mocap.cutting import PrepareOptions, make_sequences
from stickgen.mocap.importers.figures import MOTION_FILE, MOTIONS, read_motion_file, read_motions
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.projection import project
from stickgen.motion.skeleton import to_stick_5
from stickgen.render.motion_file import write_motion
from tests.mocap.bodies import walking_body


def figure(dim: int) -> np.ndarray:
    return project(walking_body(50), dim=dim)


@pytest.mark.parametrize("dim", [20, 48])
def test_a_motion_file_comes_back(tmp_path: Path, dim: int) -> None:
    path = tmp_path / "walk.motion"
    write_motion(path, figure(dim), description="A person walks.", actions=["walk"] * 50)
    assert find_sources([path]) == [(path, MOTION_FILE)]
    (sequence,) = make_sequences(read_motion_file(path, ImportOptions()), PrepareOptions(dim=dim))
    np.testing.assert_allclose(sequence["motion"], figure(dim), atol=1e-4)
    assert (sequence["description"], sequence["meta"]["action"]) == ("A person walks.", "walk")
    assert set(sequence["actions"].tolist()) == {1}


def test_a_generated_archive_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    motion = np.stack([figure(48), figure(48) * 0.9])
    np.savez(path, motion=motion, label=np.array(["a", "b"]), caption=np.array(["A walk.", "B."]), given=0, fps=25)
    assert find_sources([path]) == [(path, MOTIONS)]
    recordings = read_motions(path, ImportOptions())
    sequences = make_sequences(recordings, PrepareOptions(dim=48))
    assert [s["description"] for s in sequences] == ["A walk.", "B."]
    for sequence, expected in zip(sequences, motion, strict=True):
        np.testing.assert_allclose(sequence["motion"], expected, atol=1e-6)
    (small, _) = make_sequences(recordings, PrepareOptions(dim=20))
    np.testing.assert_allclose(small["motion"], to_stick_5(motion[0]), atol=1e-6)


def test_actors_stay_together_and_empty_slots_go(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    pair = np.stack([figure(20), figure(20) + np.tile([0.5, 0.0], 10), np.zeros((50, 20))], axis=1)
    np.savez(path, motion=pair[None].astype(np.float32), caption=np.array(["Two."]))
    (sequence,) = make_sequences(read_motions(path, ImportOptions()), PrepareOptions())
    assert sequence["motion"].shape == (50, 2, 20)
    middle = pair[0, :2, 2].mean()
    np.testing.assert_allclose(sequence["motion"][..., 1::2], pair[:, :2, 1::2], atol=1e-6)
    np.testing.assert_allclose(sequence["motion"][..., ::2], pair[:, :2, ::2] - middle, atol=1e-6)
    np.savez(path, motion=pair[None, :, 1:].astype(np.float32), caption=np.array(["One."]))
    (sequence,) = make_sequences(read_motions(path, ImportOptions()), PrepareOptions())
    np.testing.assert_allclose(sequence["motion"], figure(20), atol=1e-6)


def test_a_small_figure_does_not_become_a_large_one(tmp_path: Path) -> None:
    path = tmp_path / "walk.motion"
    write_motion(path, figure(20), description="A walk.")
    with pytest.raises(DataError, match=r"walk\.motion: 20 numbers a frame cannot become 48; leave --dim at 20"):
        make_sequences(read_motion_file(path, ImportOptions()), PrepareOptions(dim=48))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"motion": np.zeros((2, 50, 21))}, r"floats of shape \[N, T, D\].*\[2, 50, 21\] found"),
        ({"motion": np.zeros((50, 20))}, r"\[50, 20\] found"),
        ({"motion": np.zeros((2, 50, 20), int)}, "int64"),
        ({"motion": np.zeros((2, 50, 2, 20))}, "no figure in it"),
        ({"motion": np.ones((2, 50, 20)), "fps": np.array([25, 25])}, "fps: one number expected"),
        ({"motion": np.ones((2, 50, 20)), "fps": np.array(-1)}, "-1 frames a second"),
        ({"motion": np.ones((2, 50, 20)), "caption": np.array(["x"])}, "caption: 2 entries expected"),
    ],
)
def test_bad_archives(tmp_path: Path, content: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "out.npz"
    np.savez(path, **content)
    with pytest.raises(DataError, match=message):
        read_motions(path, ImportOptions())
