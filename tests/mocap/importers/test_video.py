"""Videos, with a stand-in for MediaPipe that finds the person where the picture is marked."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.keypoints import errors, sample_clips
from benchmarks.virtual_camera import NO_FAULTS, film
from stickgen.errors import DataError, StickgenError
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.importers.video import VIDEO, read_video
from stickgen.mocap.keypoints.layouts import MEDIAPIPE_33
from tests.mocap.importers.test_keypoints import other_layout

av = pytest.importorskip("av")

SIZE = (320, 180)
RATE = 25


def write_video(path: Path, frames: int, sizes: tuple[int, int] = SIZE) -> Path:
    """A video whose pictures are as bright as four times the number of the frame, up to 240."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *sizes, "yuv420p"
        for number in range(frames):
            picture = np.full((sizes[1], sizes[0], 3), min(4 * number, 240), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


class Landmarker:
    """Finds the filmed person: frame after frame, in pictures that must get brighter and later."""

    def __init__(self, people: list[np.ndarray]) -> None:
        self.people, self.seen = people, [(-1.0, -1)]

    def __enter__(self) -> "Landmarker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def detect_for_video(self, picture: np.ndarray, milliseconds: int) -> Any:
        assert picture.shape == (SIZE[1], SIZE[0], 3)
        assert milliseconds == 40 * (len(self.seen) - 1)
        assert picture.mean() > self.seen[-1][0] - 3
        found = other_layout(self.people[len(self.seen) - 1][0], MEDIAPIPE_33) / [1280, 720, 1]
        self.seen.append((float(picture.mean()), milliseconds))
        one = [SimpleNamespace(x=x, y=y, visibility=c) for x, y, c in found.tolist()]
        return SimpleNamespace(pose_landmarks=[one])


@pytest.fixture
def truth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> np.ndarray:
    """Joints ``[60, 14, 2]`` of a walk that the stand-in for MediaPipe finds; ``pose.task`` is its model."""
    clip = sample_clips()[0]
    people = film([clip.joints], np.array([1.0, 0, 0]), NO_FAULTS, RATE, np.random.default_rng(0))

    def create(options: Any) -> Landmarker:
        if Path(options.base_options.model_asset_path).read_bytes() != b"model":
            raise ValueError("Unable to open zip archive.\nat line 5")
        return Landmarker(people)

    vision = ModuleType("mediapipe.tasks.python.vision")
    vision.PoseLandmarkerOptions = SimpleNamespace  # type: ignore[attr-defined]
    vision.RunningMode = SimpleNamespace(VIDEO="video")  # type: ignore[attr-defined]
    vision.PoseLandmarker = SimpleNamespace(create_from_options=create)  # type: ignore[attr-defined]
    python = ModuleType("mediapipe.tasks.python")
    python.vision, python.BaseOptions = vision, SimpleNamespace  # type: ignore[attr-defined]
    package = ModuleType("mediapipe")
    package.Image = lambda image_format, data: data  # type: ignore[attr-defined]
    package.ImageFormat = SimpleNamespace(SRGB="rgb")  # type: ignore[attr-defined]
    for module in (package, ModuleType("mediapipe.tasks"), python, vision):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    (tmp_path / "pose.task").write_bytes(b"model")
    return np.stack([clip.joints[..., 0], clip.joints[..., 1] - clip.floor], axis=-1)[:60] / clip.height


@pytest.mark.parametrize("name", ["walk.mp4", "walk.mkv", "walk.avi", "walk.mov"])
def test_a_video_is_recognised_and_read_frame_by_frame(name: str, truth: np.ndarray, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, 60)
    assert find_sources([path]) == [(path, VIDEO)]
    (recording,) = read_video(path, ImportOptions(pose_model=tmp_path / "pose.task"))
    assert recording.fps == pytest.approx(RATE, abs=0.01)
    assert recording.take == "walk"
    assert errors(recording.joints, truth)[0] < 0.03


def test_what_is_missing_is_one_line(truth: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "walk.mp4", 60)
    with pytest.raises(DataError, match=r"walk.mp4: a video needs a pose model: --pose-model"):
        read_video(path, ImportOptions())
    with pytest.raises(DataError, match=r"--pose-model .*none.task: no such file"):
        read_video(path, ImportOptions(pose_model=tmp_path / "none.task"))
    (tmp_path / "other.task").write_bytes(b"other")
    with pytest.raises(StickgenError, match=r"not a pose landmarker of MediaPipe: Unable to open zip archive\.$"):
        read_video(path, ImportOptions(pose_model=tmp_path / "other.task"))
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", None)
    with pytest.raises(StickgenError, match=r"pip install 'stickgen\[pose\]'"):
        read_video(path, ImportOptions(pose_model=tmp_path / "pose.task"))


def test_a_damaged_or_short_video_is_one_line(truth: np.ndarray, tmp_path: Path) -> None:
    options = ImportOptions(pose_model=tmp_path / "pose.task")
    path = write_video(tmp_path / "walk.mp4", 60)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(DataError, match="cannot be decoded"):
        read_video(path, options)
    with pytest.raises(DataError, match="2 frames; a video of half a second or more expected"):
        read_video(write_video(tmp_path / "short.mp4", 2), options)
