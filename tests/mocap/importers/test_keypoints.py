"""Keypoint files of every dialect, written as their programs document them, of one walk that was filmed."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.keypoints import errors, sample_clips
from benchmarks.virtual_camera import COCO_NAMES, NO_FAULTS, film
from stickgen.errors import ConfigError, DataError
from stickgen.mocap.importers import keypoint_files
from stickgen.mocap.importers.importer import ImportOptions, parse_size
from stickgen.mocap.importers.keypoint_files import MAX_FRAMES, MAX_PEOPLE
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.keypoints.layouts import BODY_25, MEDIAPIPE_33, MEDIAPIPE_NAMES, Layout
from stickgen.mocap.projection import Recording
from tests.mocap.importers.test_damage import damaged

GIVEN = ImportOptions(fps=25.0)
SIZE = (1280, 720)


@pytest.fixture(scope="module")
def walk() -> tuple[list[np.ndarray], np.ndarray]:
    """The keypoints ``[1, 17, 3]`` of every frame, and the joints ``[T, 14, 2]`` that were filmed, in body heights."""
    clip = sample_clips()[0]
    axis = np.array([1.0, 0.0, 0.0])
    truth = np.stack([clip.joints[..., 0], clip.joints[..., 1] - clip.floor], axis=-1) / clip.height
    return film([clip.joints], axis, NO_FAULTS, 25, np.random.default_rng(0)), truth


def read(path: Path, options: ImportOptions = GIVEN) -> list[Recording]:
    ((source, importer),) = find_sources([path])
    assert importer is not None
    return importer.read(source, options)


def other_layout(person: np.ndarray, layout: Layout) -> np.ndarray:
    """A COCO person ``[17, 3]`` in another layout; what COCO lacks is not found."""
    points = np.zeros((layout.size, 3))
    for name, at in layout.index.items():
        points[at] = person[COCO_NAMES.index(name)]
    return points


def write_coco(path: Path, frames: list[np.ndarray]) -> Path:
    path = path / "walk_results.json"
    entries = [
        {"image_id": number + 7, "category_id": 1, "keypoints": person.ravel().tolist(), "score": 0.9}
        for number, people in enumerate(frames)
        for person in people
    ]
    path.write_text(json.dumps(entries))
    return path


def write_alphapose(path: Path, frames: list[np.ndarray]) -> Path:
    path = path / "alphapose-results.json"
    entries = [
        {"image_id": f"{number}.jpg", "category_id": 1, "keypoints": person.ravel().tolist(), "score": 2.9, "idx": 1}
        for number, people in enumerate(frames)
        for person in people
    ]
    path.write_text(json.dumps(entries))
    return path


def instances(people: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "keypoints": person[:, :2].tolist(),
            "keypoint_scores": person[:, 2].tolist(),
            "bbox": [[0.0, 0.0, 1.0, 1.0]],
            "bbox_score": 0.9,
        }
        for person in people
    ]


def write_mmpose_demo(path: Path, frames: list[np.ndarray]) -> Path:
    path = path / "results_walk.json"
    info = {"dataset_name": "coco", "num_keypoints": 17, "keypoint_id2name": dict(enumerate(COCO_NAMES))}
    shown = [{"frame_id": number + 1, "instances": instances(people)} for number, people in enumerate(frames)]
    path.write_text(json.dumps({"meta_info": info, "instance_info": shown}, indent="\t"))
    return path


def write_mmpose_inferencer(path: Path, frames: list[np.ndarray]) -> Path:
    path = path / "walk.json"
    path.write_text(json.dumps([{"frame_id": n, "instances": instances(p)} for n, p in enumerate(frames)]))
    return path


def write_mmpose_pictures(path: Path, frames: list[np.ndarray]) -> Path:
    for number, people in enumerate(frames):
        (path / f"walk_{number:06d}.json").write_text(json.dumps(instances(people)))
    return path


def results(people: np.ndarray) -> list[dict[str, Any]]:
    return [
        {
            "name": "person",
            "class": 0,
            "confidence": 0.91234,
            "box": {"x1": 1.0, "y1": 2.0, "x2": 3.0, "y2": 4.0},
            "track_id": 1,
            "keypoints": {
                "x": person[:, 0].tolist(),
                "y": person[:, 1].tolist(),
                "visible": person[:, 2].tolist(),
            },
        }
        for person in people
    ]


def write_ultralytics(path: Path, frames: list[np.ndarray]) -> Path:
    path = path / "walk.json"
    path.write_text(json.dumps([results(people) for people in frames]))
    return path


def write_ultralytics_pictures(path: Path, frames: list[np.ndarray]) -> Path:
    (path / "walk_0.json").write_text("[]")
    for number, people in enumerate(frames, start=1):
        (path / f"walk_{number}.json").write_text(json.dumps(results(people), indent=2))
    return path


def write_openpose(path: Path, frames: list[np.ndarray]) -> Path:
    for number, people in enumerate(frames):
        shown = [
            {"person_id": [-1], "pose_keypoints_2d": other_layout(person, BODY_25).ravel().tolist()}
            for person in people
        ]
        name = f"walk_{number:012d}_keypoints.json"
        (path / name).write_text(json.dumps({"version": 1.3, "people": shown}))
    return path


def landmarks(person: np.ndarray) -> list[dict[str, float]]:
    points = other_layout(person, MEDIAPIPE_33) / [*SIZE, 1]
    return [{"x": x, "y": y, "z": 0.1, "visibility": c} for x, y, c in points.tolist()]


def write_mediapipe_json(path: Path, frames: list[np.ndarray]) -> Path:
    path = path / "walk.json"
    shown = [
        {"frame": n, "timestamp_ms": 40 * n, "landmarks": landmarks(people[0]) if len(people) else None}
        for n, people in enumerate(frames)
    ]
    path.write_text(json.dumps({"width": SIZE[0], "height": SIZE[1], "frames": shown}))
    return path


def write_mediapipe_lists(path: Path, frames: list[np.ndarray]) -> Path:
    path = path / "walk.json"
    path.write_text(json.dumps([[landmarks(person) for person in people] for people in frames]))
    return path


def write_mediapipe_names(path: Path, frames: list[np.ndarray]) -> Path:
    path = path / "walk.json"
    shown = [
        {"frame": n, "pose_landmarks": dict(zip(map(str.upper, MEDIAPIPE_NAMES), landmarks(people[0]), strict=True))}
        for n, people in enumerate(frames)
        if len(people)
    ]
    path.write_text(json.dumps({"fps": 25, "frames": shown}))
    return path


def write_table(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_mediapipe_csv(pattern: str, first: int) -> Callable[[Path, list[np.ndarray]], Path]:
    def write(path: Path, frames: list[np.ndarray]) -> Path:
        parts = ["x", "y", "z", "visibility" if "_" in pattern else "v"]
        names = [pattern.format(n=n + first, name=name, p=p) for n, name in enumerate(MEDIAPIPE_NAMES) for p in parts]
        rows = [
            [n, n / 25, *([v for one in landmarks(people[0]) for v in one.values()] if len(people) else [""] * 132)]
            for n, people in enumerate(frames)
        ]
        return write_table(path / "walk.csv", ["frame", "timestamp", *names], rows)

    return write


def write_mediapipe_long(path: Path, frames: list[np.ndarray]) -> Path:
    rows = [
        [n, index, MEDIAPIPE_NAMES[index].upper(), *one.values()]
        for n, people in enumerate(frames)
        if len(people)
        for index, one in enumerate(landmarks(people[0]))
    ]
    return write_table(
        path / "walk.csv", ["frame_id", "landmark_id", "landmark_name", "x", "y", "z", "visibility"], rows
    )


WRITERS = {
    "COCO": write_coco,
    "AlphaPose": write_alphapose,
    "MMPose demo": write_mmpose_demo,
    "MMPose inferencer": write_mmpose_inferencer,
    "MMPose pictures": write_mmpose_pictures,
    "Ultralytics": write_ultralytics,
    "Ultralytics pictures": write_ultralytics_pictures,
    "OpenPose": write_openpose,
    "MediaPipe": write_mediapipe_json,
    "MediaPipe lists": write_mediapipe_lists,
    "MediaPipe names": write_mediapipe_names,
    "MediaPipe table": write_mediapipe_csv("{p}{n}", 1),
    "MediaPipe table, numbers": write_mediapipe_csv("landmark_{n}_{p}", 0),
    "MediaPipe table, names": write_mediapipe_csv("{name}_{p}", 0),
    "MediaPipe table, a row a landmark": write_mediapipe_long,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_dialect_gives_the_walk_that_was_filmed(
    name: str, walk: tuple[list[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    frames, truth = walk
    folder = tmp_path / "walk"
    folder.mkdir()
    path = WRITERS[name](folder, frames)
    options = ImportOptions(fps=25.0, image_size=SIZE) if "MediaPipe" in name else GIVEN
    (recording,) = read(path, options)
    assert recording.fps == pytest.approx(25)
    assert recording.flat
    assert len(recording.joints) == len(truth)
    pose, place, jerk, _ = errors(recording.joints, truth)
    assert pose < 0.03
    assert place < 0.05
    assert 0.7 < jerk < 1.3
    assert recording.take == ("walk" if folder == path else path.stem)


def test_missing_frames_are_filled_and_two_people_are_two_recordings_of_one_take(
    walk: tuple[list[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    frames, truth = walk
    aside = np.array([900, 0, 0])
    both = [np.concatenate([people, people + aside]) for people in frames]
    both[20] = both[21] = np.zeros((0, 17, 3))
    path = write_coco(tmp_path, both)
    first, second = read(path)
    assert first.take == second.take == "walk_results"
    assert [first.clip_id, second.clip_id] == ["walk_results_person1_00000", "walk_results_person2_00000"]
    for recording in (first, second):
        assert errors(recording.joints, truth)[0] < 0.03


def changed(path: Path, change: Callable[[Any], Any]) -> Path:
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    return path


def first_person(key: str, value: Any) -> Callable[[Any], Any]:
    def change(content: Any) -> Any:
        content[0][key] = value
        return content

    return change


@pytest.mark.parametrize(
    ("writer", "change", "message"),
    [
        (write_coco, lambda c: [{**e, "keypoints": e["keypoints"][:45]} for e in c], "unknown layout: 15 keypoints"),
        (write_coco, first_person("keypoints", [1.0] * 48), "people of 16 and 17 keypoints; one layout a file"),
        (write_coco, first_person("keypoints", [1.0] * 34), "entry 0: missing confidence"),
        (write_coco, first_person("keypoints", ["a"] * 51), "entry 0: keypoints: numbers expected"),
        (write_coco, first_person("image_id", "walk.jpg"), "entry 0: frame: a whole number"),
        (write_coco, first_person("image_id", 10**12), f"at most {MAX_FRAMES} frames expected"),
        (write_coco, first_person("keypoints", [1e300] * 51), "coordinates up to 1e[+]300; pixels"),
        (write_coco, lambda c: c + [c[0]] * MAX_PEOPLE, f"frame 7: 101 people; at most {MAX_PEOPLE}"),
        (write_coco, lambda c: c[:1], "one frame; name the folder or the file"),
        (write_coco, lambda c: c[:8], "nobody is seen whole for 0.5 s: 8 of 8 frames have people"),
        (
            write_mmpose_inferencer,
            lambda c: [{**f, "instances": [{"keypoints": i["keypoints"]} for i in f["instances"]]} for f in c],
            "frame 0: missing confidence: an instance has no keypoint_scores",
        ),
        (
            write_mmpose_inferencer,
            lambda c: [{**f, "instances": [{**i, "keypoint_scores": [0.5]} for i in f["instances"]]} for f in c],
            "frame 0: keypoints: one confidence a keypoint expected",
        ),
        (write_mmpose_inferencer, lambda c: [{**f, "instances": []} for f in c], "no people: .* frames, all empty"),
        (
            write_ultralytics,
            lambda c: [[{**p, "keypoints": {k: p["keypoints"][k] for k in "xy"}} for p in f] for f in c],
            "frame 0: missing confidence: keypoints without visible",
        ),
        (
            write_mediapipe_json,
            lambda c: {**c, "frames": [{**f, "timestamp_ms": f["frame"] ** 2} for f in c["frames"]]},
            "mixed frame rates: frames 0.001 to",
        ),
        (
            write_mediapipe_json,
            lambda c: {**c, "frames": [{**f, "fps": 25 + f["frame"] % 2} for f in c["frames"]]},
            "mixed frame rates: 25, 26; divide the file",
        ),
        (write_mediapipe_json, lambda c: {**c, "fps": [25]}, "fps: a number expected"),
        (write_mediapipe_json, lambda c: {**c, "fps": 1e9}, "fps: 1e[+]09 frames a second: 1 to 1000 expected"),
        (
            write_mediapipe_json,
            lambda c: {**c, "frames": [{**f, "landmarks": f["landmarks"][:30]} for f in c["frames"]]},
            "unknown layout: 30 keypoints",
        ),
        (write_mediapipe_json, lambda c: {"frames": c["frames"]}, "coordinates are shares of the picture"),
    ],
)
def test_what_cannot_be_used_is_one_line(
    writer: Callable[[Path, list[np.ndarray]], Path],
    change: Callable[[Any], Any],
    message: str,
    walk: tuple[list[np.ndarray], np.ndarray],
    tmp_path: Path,
) -> None:
    path = changed(writer(tmp_path, walk[0]), change)
    with pytest.raises(DataError, match=message) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("writer", [write_coco, write_mmpose_demo, write_ultralytics, write_mediapipe_json])
def test_a_file_that_is_cut_off_is_one_line(
    writer: Callable[[Path, list[np.ndarray]], Path], walk: tuple[list[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    path = writer(tmp_path, walk[0])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="not JSON, or cut off"):
        read(path)


def test_a_table_that_is_cut_off_or_lacks_columns_is_one_line(
    walk: tuple[list[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    path = write_mediapipe_csv("{name}_{p}", 0)(tmp_path, walk[0])
    text = path.read_text()
    path.write_text(text[: len(text) - 300])
    with pytest.raises(DataError, match="fewer cells than columns; the table is cut off"):
        read(path, ImportOptions(image_size=SIZE))
    path.write_text(text.replace("_visibility", "_colour"))
    with pytest.raises(DataError, match="missing confidence: no column of visibility"):
        read(path)
    path.write_text(text.replace("left_foot_index", "left_toe"))
    with pytest.raises(DataError, match="unknown layout: 32 landmarks; 33 expected"):
        read(path)
    path.write_text(text.replace("\n5,", "\nfive,"))
    with pytest.raises(DataError, match="row 6: frame: a whole number of 0 or more expected"):
        read(path)


def test_the_rate_comes_from_the_file_or_the_option_or_is_asked_for(
    walk: tuple[list[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    path = write_coco(tmp_path, walk[0])
    assert read(path, ImportOptions(fps=50.0))[0].fps == 50
    with pytest.raises(DataError, match=r"no frame rate in the file; give it with --fps, for instance --fps 30$"):
        read(path, ImportOptions())
    demo = changed(write_mmpose_demo(tmp_path, walk[0]), lambda c: {**c, "meta_info": {"fps": 29.97}})
    assert read(demo, ImportOptions(fps=50.0))[0].fps == 29.97


def test_a_huge_file_is_not_read(
    walk: tuple[list[np.ndarray], np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_coco(tmp_path, walk[0])
    monkeypatch.setattr(keypoint_files, "MAX_BYTES", 2**10)
    with pytest.raises(DataError, match="MiB; at most 0 expected; divide the video"):
        read(path)


def test_two_videos_in_a_folder_of_frames_are_refused(
    walk: tuple[list[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    write_openpose(tmp_path, walk[0])
    (tmp_path / "run_000000000003_keypoints.json").write_text('{"version": 1.3, "people": []}')
    with pytest.raises(DataError, match="are both frame 3; keep one video a folder"):
        read(tmp_path)
    (tmp_path / "run_000000000003_keypoints.json").rename(tmp_path / "run_keypoints.json")
    with pytest.raises(DataError, match=r"run_keypoints.json: frame: a whole number"):
        read(tmp_path)


def test_confidence_decides_what_counts(walk: tuple[list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    unsure = [people * [1, 1, 0.2] for people in walk[0]]
    path = write_coco(tmp_path, unsure)
    with pytest.raises(DataError, match=r"0% of their keypoints a confidence of 0.3 or more; lower --min-confidence"):
        read(path)
    assert len(read(path, ImportOptions(fps=25.0, min_confidence=0.05))) == 1
    with pytest.raises(ConfigError, match="--min-confidence 2: 0 to 1 expected"):
        ImportOptions(min_confidence=2)


@pytest.mark.parametrize("text", ["1920", "0x3", "1920x1080x3", "999999x2", "wide"])
def test_sizes_that_are_none(text: str) -> None:
    assert parse_size("1920x1080") == (1920, 1080)
    with pytest.raises(ConfigError, match="width and height expected, as 1920x1080"):
        parse_size(text)


@pytest.mark.parametrize("name", [name for name in WRITERS if "pictures" not in name and name != "OpenPose"])
def test_damaged_files_are_read_or_refused(
    name: str, walk: tuple[list[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    path = WRITERS[name](tmp_path, walk[0][:16])
    ((_, importer),) = find_sources([path])
    assert importer is not None
    whole, rng = path.read_bytes(), random.Random(0)
    refused = []
    for number in range(12):
        path.write_bytes(damaged(whole, rng, number % 4))
        try:
            importer.read(path, ImportOptions(fps=25.0, image_size=SIZE))
        except DataError as error:
            refused.append(str(error))
    assert len(refused) >= 3
    assert not any("\n" in message for message in refused)
