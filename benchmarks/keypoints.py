"""Joint error of keypoints from a video before and after each step of cleaning, against the motion that was filmed.

    python -m benchmarks.keypoints --motion cmu_sample.npz

Clips of a joint archive (or of the built-in sample, without --motion) are filmed by a virtual camera that pans, zooms
and shakes, and found by an estimator with noise, lost and exchanged joints, while another person passes by. The truth
is the clip's own projection. Parameters of the cleaning were chosen on the clips of --development; the table is of
others.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.virtual_camera import Faults, film, passer_by, view_axis
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.importers.npz import JOINT_ARCHIVE
from stickgen.mocap.keypoints.camera import body_scale, remove_camera
from stickgen.mocap.keypoints.clean import GAP_SECONDS
from stickgen.mocap.keypoints.gaps import fill_gaps, whole_pieces
from stickgen.mocap.keypoints.layouts import COCO_17, MIN_CONFIDENCE, body_points, gate
from stickgen.mocap.keypoints.smoothing import smooth
from stickgen.mocap.keypoints.swaps import repair_swaps
from stickgen.mocap.keypoints.tracking import track_people
from stickgen.mocap.projection import BODY_JOINTS, body_height, floor_height
from stickgen.motion.skeleton import FPS

STEPS = ("as found", "confidence", "tracking", "sides", "gaps", "smoothing", "scale", "camera")
"""What the keypoints have behind them, step after step."""

OTHER_ACTIONS = ("run", "dance", "jump", "kicking", "sit", "punch", "wave", "stand")

DEVELOPMENT = (
    (9, ("walk",), 1),
    (9, ("run", "dance", "jump", "kicking"), 6),
    (12, ("run", "dance", "jump", "kicking", "sit"), 6),
)
"""Clips on which parameters were chosen: how many, of which actions, and every which of them."""

CAPTION = "A person walks."

SMALL_BASE = Path(__file__).resolve().parent.parent / "assets" / "sample_base.safetensors"

LEAST_WAY = 0.8
"""Body heights; shorter ways are not compared with the true ones."""

_HIPS = [BODY_JOINTS.index("left_hip"), BODY_JOINTS.index("right_hip")]


@dataclass(frozen=True)
class Clip:
    """A clip to be filmed: ``joints [T, 14, 3]`` in metres, its body height and its floor."""

    name: str
    joints: np.ndarray
    height: float
    floor: float


def clips_of(path: Path | None, *, development: bool, most: int) -> dict[str, list[Clip]]:
    """Return clips to film, "walking" and "other actions", of at least two seconds.

    Args:
        path: a joint archive in metres; None: the built-in sample's walks and runs, which serve both purposes.
        development: the clips of :data:`DEVELOPMENT`; else the rest.
        most: clips of each kind.
    """
    if path is None:
        return {"walking": sample_clips()[:most]}
    recordings = JOINT_ARCHIVE.read(path, ImportOptions())
    used: set[str] = set()
    for count, actions, every in DEVELOPMENT:
        used |= {r.clip_id for r in [r for r in recordings if r.stickgen_action in actions][::every][:count]}
    found: dict[str, list[Clip]] = {"walking": [], "other actions": []}
    for r in recordings:
        kind = "walking" if r.stickgen_action == "walk" else "other actions"
        if len(r.joints) < 2 * FPS or (r.clip_id in used) != development:
            continue
        if kind == "walking" or r.stickgen_action in OTHER_ACTIONS:
            found[kind].append(Clip(r.clip_id, r.joints, r.height or 1.7, r.floor or 0.0))
    return {kind: clips[:: max(len(clips) // most, 1)][:most] for kind, clips in found.items()}


def sample_clips() -> list[Clip]:
    """Return the built-in sample's walks with a body's width, in metres: a figure has none of its own."""
    from stickgen.motion.skeleton import STICK_12
    from stickgen.sample import sample_sequences

    width = {"shoulder": 0.19, "elbow": 0.22, "wrist": 0.22, "hip": 0.09, "knee": 0.09, "ankle": 0.08}
    clips = []
    for sequence in sample_sequences(8, actions=["walk"], styles=["neutral"], seed=1, dim=48):
        figure = STICK_12.to_joints(sequence["motion"].numpy())[:, [STICK_12.joint(name) for name in BODY_JOINTS]]
        depth = [width.get(name.partition("_")[2], 0.0) * (1 if "right" in name else -1) for name in BODY_JOINTS]
        side = np.broadcast_to(np.array(depth)[:, None], (*figure.shape[:2], 1))
        joints = np.concatenate([1.7 * figure + [0, 0.08], side], axis=-1)
        clips.append(Clip(f"sample_{len(clips)}", joints, body_height(joints), floor_height(joints)))
    return clips


def scene(clip: Clip, other: Clip, yaw: float, faults: Faults, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Film a clip while someone passes by.

    Returns:
        of every frame the people ``[P, 17, 3]``, and the truth ``[T, 14, 2]`` in body heights.
    """
    axis = view_axis(clip.joints, yaw)
    bodies = [clip.joints, passer_by(other.joints, clip.joints, axis)]
    truth = np.stack([clip.joints @ axis, clip.joints[..., 1] - clip.floor], axis=-1) / clip.height
    return film(bodies, axis, faults, FPS, np.random.default_rng(seed)), truth


@dataclass(frozen=True)
class Found:
    """What is found of the first person of a scene.

    Attributes:
        tracked: ``[T, 14, 2]`` after tracking, NaN where unknown.
        filled: the same after sides and gaps.
        piece: first frame and the frame after the last of the longest run in which every joint is known.
    """

    tracked: np.ndarray
    filled: np.ndarray
    piece: tuple[int, int]


def find_person(people: Sequence[np.ndarray], truth: np.ndarray) -> Found | None:
    """Return what is found of the track nearest to the truth's posture; None where none is whole for a second."""
    gated = [body_points(gate(frame, MIN_CONFIDENCE), COCO_17) for frame in people]
    gap = round(GAP_SECONDS * FPS)
    whole: list[tuple[float, Found]] = []
    for track in track_people(gated, gap):
        padded = np.full((len(people), len(BODY_JOINTS), 2), np.nan)
        padded[track.start : track.start + len(track.points)] = track.points
        filled = fill_gaps(repair_swaps(padded), gap)
        pieces = whole_pieces(filled, FPS)
        if pieces:
            longest = max(pieces, key=lambda piece: piece[1] - piece[0])
            own = remove_camera(filled[slice(*longest)], body_scale(filled[slice(*longest)], FPS), FPS)
            whole.append((errors(own, truth[slice(*longest)])[0], Found(padded, filled, longest)))
    return min(whole, key=lambda found: found[0])[1] if whole else None


def steps_of(people: Sequence[np.ndarray], truth: np.ndarray) -> Iterator[tuple[str, np.ndarray, tuple[int, int]]]:
    """Yield the state of the first person after every step, cumulatively, and the frames of the longest whole piece.

    Before tracking, whoever is listed first in a frame is taken.
    """
    unknown = np.full((len(BODY_JOINTS), 2), np.nan)
    everything = [body_points(gate(frame, -1), COCO_17) for frame in people]
    gated = [body_points(gate(frame, MIN_CONFIDENCE), COCO_17) for frame in people]
    found = find_person(people, truth)
    if found is None:
        return
    cut = slice(*found.piece)
    smoothed = smooth(found.filled[cut], FPS)
    scale = body_scale(smoothed, FPS)
    middle = smoothed[:, _HIPS].mean(axis=1, keepdims=True)
    path = np.concatenate([np.zeros((1, 1, 2)), np.cumsum(np.diff(middle, axis=0) / scale[1:, None, None], axis=0)])
    stages: list[Callable[[], np.ndarray]] = [
        lambda: np.stack([frame[0] if len(frame) else unknown for frame in everything])[cut],
        lambda: np.stack([frame[0] if len(frame) else unknown for frame in gated])[cut],
        lambda: found.tracked[cut],
        lambda: repair_swaps(found.tracked)[cut],
        lambda: found.filled[cut],
        lambda: smoothed,
        lambda: (smoothed - middle) / scale[:, None, None] + path,
        lambda: remove_camera(smoothed, scale, FPS),
    ]
    for name, stage in zip(STEPS, stages, strict=True):
        yield name, on_the_floor(stage(), measured=STEPS.index(name) >= STEPS.index("scale")), found.piece


def on_the_floor(points: np.ndarray, *, measured: bool) -> np.ndarray:
    """Return figures in body heights as a file without further steps would have them: joints held where unknown."""
    held = points.copy()
    for frame in range(1, len(held)):
        held[frame] = np.where(np.isnan(held[frame]), held[frame - 1], held[frame])
    for frame in range(len(held) - 2, -1, -1):
        held[frame] = np.where(np.isnan(held[frame]), held[frame + 1], held[frame])
    if not measured:
        held = held / body_height(held, 75)
    return held - [0.0, floor_height(held)]


def errors(figure: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float]:
    """Return the errors of joints ``[T, 14, 2]``, both in body heights.

    Returns:
        the mean distance of a joint from its true place relative to the pelvis; the mean distance of the pelvis from
        its true place, both having started at the same x; the mean third difference divided by the truth's; and the way
        from the first frame to the last divided by the truth's, NaN where that is less than :data:`LEAST_WAY`.
    """
    middle, true_middle = (points[:, _HIPS].mean(axis=1, keepdims=True) for points in (figure, truth))
    pose = np.linalg.norm((figure - middle) - (truth - true_middle), axis=-1).mean()
    away = middle - true_middle
    away[..., 0] -= away[0, 0, 0]
    jerk, true_jerk = (np.linalg.norm(np.diff(points, 3, axis=0), axis=-1).mean() for points in (figure, truth))
    way, true_way = (float(points[-1, 0, 0] - points[0, 0, 0]) for points in (middle, true_middle))
    share = way / true_way if abs(true_way) >= LEAST_WAY else np.nan
    return float(pose), float(np.linalg.norm(away, axis=-1).mean()), float(jerk / true_jerk), share


def table(clips: Sequence[Clip], yaw: float, faults: Faults) -> tuple[dict[str, list[float]], int]:
    """Return the errors after every step, and the clips left out.

    Of the clips' errors that is the mean, the first two in percent of a body height; of the way it is the median.
    """
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in STEPS}
    left_out = 0
    for number, clip in enumerate(clips):
        people, truth = scene(clip, clips[(number + 1) % len(clips)], yaw, faults, seed=1000 + number)
        found = False
        for name, figure, piece in steps_of(people, truth):
            rows[name].append(errors(figure, truth[slice(*piece)]))
            found = True
        left_out += not found
    return {name: summary(values) for name, values in rows.items()}, left_out


def summary(values: Sequence[tuple[float, ...]]) -> list[float]:
    """Return the errors of several clips as one; see :func:`table`."""
    pose, place, jerk, way = np.array(values).reshape(-1, 4).T
    known = way[~np.isnan(way)]
    means = [float(one.mean()) if len(one) else np.nan for one in (100 * pose, 100 * place, jerk)]
    return [*means, float(np.median(known)) if len(known) else np.nan]


def chain(clips: Sequence[Clip], folder: Path) -> None:
    """Take keypoints of videos all the way: prepare, inspect, train for some steps, generate; print each command.

    Args:
        clips: what happens in the videos, one in each.
        folder: where videos' keypoints, data file, run and motion are written; it must not exist.
    """
    (folder / "keypoints").mkdir(parents=True)
    for number, clip in enumerate(clips):
        people, _ = scene(clip, clips[number - 1], 0, Faults(), seed=number)
        frames = [
            {
                "frame_id": frame,
                "instances": [
                    {"keypoints": one[:, :2].tolist(), "keypoint_scores": one[:, 2].tolist()} for one in found
                ],
            }
            for frame, found in enumerate(people)
        ]
        (folder / "keypoints" / f"{clip.name}.json").write_text(json.dumps(frames))
    commands = (
        ["prepare", "keypoints", "--fps", str(FPS), "--base", str(SMALL_BASE), "-o", "clips.pt", "--caption", CAPTION],
        ["inspect", "clips.pt", "--out", "sheet.png"],
        ["train", f"base.checkpoint={SMALL_BASE}", "data.path=clips.pt", "trainer.max_epochs=3", "hydra.run.dir=run"],
        ["generate", CAPTION, "--adapter", "run", "--seconds", "1", "--out", "walk.gif", "--out", "walk.npz"],
    )
    for command in commands:
        print("\n$ stickgen", *command, flush=True)
        subprocess.run([sys.executable, "-m", "stickgen", *command], cwd=folder, check=True)


def show(rows: dict[str, list[float]]) -> None:
    """Print the errors of several figures."""
    print(f"{'after':36} {'joints %':>9} {'place %':>9} {'jerk ratio':>11} {'way':>6}")
    for name, (pose, place, jerk, way) in rows.items():
        print(f"{name:36} {pose:9.2f} {place:9.1f} {jerk:11.2f} {way:6.2f}")


def main() -> None:
    """Print a table for every kind of clip and view."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", type=Path, help="joint archive in metres; the built-in sample where absent")
    parser.add_argument("--clips", type=int, default=20, help="clips of each kind")
    parser.add_argument("--yaw", type=float, nargs="+", default=[0.0, 45.0, 90.0], help="0: from the side, 90: front")
    parser.add_argument("--development", action="store_true", help="the clips on which parameters were chosen")
    parser.add_argument("--chain", type=Path, help="instead: prepare, inspect, train and generate in this new folder")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    if arguments.chain:
        clips = clips_of(arguments.motion, development=False, most=arguments.clips)["walking"]
        chain(clips, arguments.chain)
        return
    figures: dict[str, dict[str, list[float]]] = {}
    for kind, clips in clips_of(arguments.motion, development=arguments.development, most=arguments.clips).items():
        for yaw in arguments.yaw:
            rows, left_out = table(clips, yaw, Faults())
            figures[f"{kind}, {yaw:g} degrees"] = rows
            print(f"\n{kind}, {len(clips)} clips, seen at {yaw:g} degrees; not whole for a second: {left_out}")
            show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
