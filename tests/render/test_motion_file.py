import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stickgen
from stickgen.errors import DataError
from stickgen.motion.skeleton import SKELETONS
from stickgen.render import Panel, save
from stickgen.render.motion_file import read_motion
from tests.render.figures import walking


@pytest.mark.parametrize("dim", [20, 48])
def test_there_and_back(tmp_path: Path, dim: int) -> None:
    motion = np.random.default_rng(0).normal(size=(7, dim)).astype(np.float32)
    actions = ["walk", *["run"] * 6]
    save(tmp_path / "a.motion", Panel(motion, caption="a größe walk", actions=actions))
    read = read_motion(tmp_path / "a.motion")
    np.testing.assert_allclose(read.motion, motion, atol=0.5e-4 + 1e-6)
    assert read.motion.dtype == np.float32
    assert (read.description, read.fps, read.actions) == ("a größe walk", 25, tuple(actions))


def test_as_the_reference_writes_it(tmp_path: Path) -> None:
    save(tmp_path / "a.motion", Panel(walking(50, 48) / 3, caption="a walk"))
    content = json.loads((tmp_path / "a.motion").read_text(encoding="utf-8"))
    assert list(content) == ["meta", "skeleton", "motion", "actions"]
    created = content["meta"].pop("created_at")
    assert created[4] == "-"
    assert content["meta"] == {
        "version": "1.0",
        "generator": f"stickgen {stickgen.__version__}",
        "fps": 25,
        "duration": 2.0,
        "total_frames": 50,
        "description": "a walk",
    }
    assert content["skeleton"] == {
        "type": "stick_figure_12_segment_v3",
        "joint_format": "xy_lines_flat",
        "input_dim": 48,
        "segments": [segment.name for segment in SKELETONS[48].segments],
    }
    assert len(content["motion"]) == 50 * 48
    assert all(len(repr(number).partition(".")[2]) <= 4 for number in content["motion"])
    assert content["actions"] == []


def good() -> dict[str, Any]:
    return {
        "meta": {"fps": 25, "description": "x"},
        "skeleton": {"type": "stick_figure_5_segment", "input_dim": 20},
        "motion": [0.0] * 40,
        "actions": [],
    }


def test_the_least_that_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.motion"
    path.write_text(json.dumps({"meta": {}, "skeleton": {"input_dim": 20}, "motion": [1] * 40}))
    assert read_motion(path).motion.shape == (2, 20)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta": None}, "meta is missing"),
        ({"skeleton": []}, "skeleton is missing"),
        ({"skeleton": {"input_dim": "20"}}, "input_dim is missing"),
        ({"skeleton": {"input_dim": 21}}, "of 21 numbers is not known"),
        ({"skeleton": {"type": "stick_figure_5_segment", "input_dim": 48}}, "is not known"),
        ({"motion": []}, "finite numbers expected, 20 a frame"),
        ({"motion": [0.0] * 39}, "20 a frame"),
        ({"motion": [[0.0] * 20]}, "20 a frame"),
        ({"motion": [float("nan")] * 20}, "finite numbers"),
        ({"motion": ["0"] * 20}, "finite numbers"),
        ({"motion": [True] * 20}, "finite numbers"),
        ({"meta": {"fps": 0}}, "fps"),
        ({"meta": {"fps": "25"}}, "fps"),
        ({"actions": [3]}, "list of names"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.motion"
    path.write_text(json.dumps({**good(), **changes}))
    with pytest.raises(DataError, match=message) as caught:
        read_motion(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe\x00", b"[" * 100_000])
def test_no_json_of_ours(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.motion"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"not a \.motion file"):
        read_motion(path)
    with pytest.raises(DataError, match="no such file"):
        read_motion(tmp_path / "none.motion")
