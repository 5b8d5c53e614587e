"""Reading the skeletons of NTU RGB+D and NTU RGB+D 120, recorded by a Kinect of the second generation."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.importers.arrays import fill_gaps, pair_of, recording_of
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.ntu_actions import NTU_ACTIONS
from stickgen.mocap.projection import Recording

_FPS = 30.0
_LONGEST_GAP = 15
"""Frames that a body may be lost for: half a second."""

_JOINTS: tuple[str, ...] = (
    "pelvis", "spine_middle", "head_base", "head", "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand", "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot", "neck", "left_hand_tip", "left_thumb", "right_hand_tip",
    "right_thumb",
)  # fmt: skip
"""Kinect's 25 joints in their order: its SpineShoulder is our neck, its Neck the base and its Head the middle of the
skull."""

_MOST_FRAMES, _MOST_BODIES = 20_000, 16
"""Ten minutes, and far more ids than a recording has; memory is taken by their product."""


def read_ntu(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a ``.skeleton`` file.

    Two bodies that are seen together become one recording of two; others one each. A body that is lost for up to half a
    second is filled in, and cut in two where it is lost for longer. Of more than two bodies, those seen for less than
    half as long as the longest are left out: they are furniture, as the data set's authors note. The class is read from
    the file's name (``S001C002P003R002A013``); cameras and repetitions of a performance are one take.

    Args:
        path: the number of frames; for each, the number of bodies; for each of those a line that begins with its id,
            the number of joints (25), and a line a joint that begins with x, y and z: metres, y up.
        options: ``up`` is used, and ``fps`` instead of 30.

    Raises:
        DataError: the file is not as described, or nobody is seen in it.
    """
    frames, tracks = _tracks(path)
    if not tracks:
        raise DataError(f"{path}: no body in {frames} frames; remove the file")
    longest = max(np.isfinite(track[:, 0, 0]).sum() for track in tracks)
    if len(tracks) > 2:
        tracks = [track for track in tracks if np.isfinite(track[:, 0, 0]).sum() * 2 >= longest]
    labels, fps = _labels(path.stem), options.fps or _FPS

    def recordings(track: np.ndarray, suffix: str) -> Iterator[tuple[int, Recording]]:
        for start, joints in fill_gaps(track, _LONGEST_GAP):
            name = f"{path.stem}{suffix}" + (f"_{start:04d}" if start else "")
            yield start, recording_of(joints, _JOINTS, fps, path, options, up="y", clip_id=name, **labels)

    if len(tracks) == 2 and (together := _together(tracks)):
        first, last = together
        people = [list(recordings(track[first:last], "")) for track in tracks]
        return [pair_of([person[0][1] for person in people])]
    suffixes = [""] if len(tracks) == 1 else [f"_body{number}" for number in range(1, len(tracks) + 1)]
    return [read for track, suffix in zip(tracks, suffixes, strict=True) for _, read in recordings(track, suffix)]


def _together(tracks: list[np.ndarray]) -> tuple[int, int] | None:
    """Return the frames in which two bodies are both known throughout, None where these are under half of either's."""
    pieces = [fill_gaps(track, _LONGEST_GAP) for track in tracks]
    if any(len(piece) != 1 for piece in pieces):
        return None
    (a, one), (b, other) = pieces[0][0], pieces[1][0]
    first, last = max(a, b), min(a + len(one), b + len(other))
    return (first, last) if 2 * (last - first) >= max(len(one), len(other)) else None


def _tracks(path: Path) -> tuple[int, list[np.ndarray]]:
    """Return the number of frames, and for every body ``[T, 25, 3]``, NaN where it is not seen."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a .skeleton file that can be read: {error}") from None
    at = 0

    def next_line(what: str) -> list[str]:
        nonlocal at
        if at >= len(lines):
            raise DataError(f"{path}: ends after line {at}, where {what} was expected; the file is truncated")
        at += 1
        return lines[at - 1].split()

    def count(what: str, most: int) -> int:
        words = next_line(what)
        if len(words) != 1 or not words[0].isdigit() or len(words[0]) > 9 or int(words[0]) > most:
            raise DataError(f"{path}: line {at}: {what}, 0 to {most}, expected, {' '.join(words)[:40]!r} found")
        return int(words[0])

    frames = count("the number of frames", _MOST_FRAMES)
    found: dict[str, np.ndarray] = {}
    for frame in range(frames):
        for _ in range(count("the number of bodies", 6)):
            body = (next_line("a body") or [""])[0]
            joints = count("the number of joints", 25)
            if joints != len(_JOINTS):
                raise DataError(f"{path}: line {at}: {len(_JOINTS)} joints expected, {joints} found")
            try:
                places = [[float(word) for word in next_line("a joint")[:3]] for _ in _JOINTS]
                values = np.array(places, dtype=np.float64).reshape(len(_JOINTS), 3)
            except ValueError:
                raise DataError(f"{path}: line {at}: x, y and z of a joint expected") from None
            if body not in found:
                if len(found) == _MOST_BODIES:
                    raise DataError(f"{path}: line {at}: ids of more than {_MOST_BODIES} bodies; split the file")
                found[body] = np.full((frames, len(_JOINTS), 3), np.nan)
            found[body][frame] = values
    return frames, list(found.values())


def _labels(stem: str) -> dict[str, Any]:
    match = re.fullmatch(r"(S\d{3})C\d{3}(P\d{3})R\d{3}A(\d{3})", stem)
    if not match or not 1 <= int(match[3]) <= len(NTU_ACTIONS):
        return {"source": "ntu_rgbd"}
    name, action = NTU_ACTIONS[int(match[3]) - 1]
    return {
        "source": "ntu_rgbd",
        "captions": (f"{name[:1].upper()}{name[1:]}.",),
        "action": name,
        "stickgen_action": action,
        "take": f"{match[1]}{match[2]}A{match[3]}",
        "subject": match[2],
    }


def _recognises(path: Path, head: bytes) -> bool:
    lines = head.split(b"\n")[:4]
    if len(lines) < 4 or not all(re.fullmatch(rb"\d{1,9}\s*", line) for line in lines[:2]):
        return False
    # An empty first frame is followed by the number of bodies of the second.
    return len(lines[2].split()) in (1, 10)


NTU = Importer("NTU RGB+D (.skeleton)", "25 Kinect joints, one or two people, gaps filled", _recognises, read_ntu)
