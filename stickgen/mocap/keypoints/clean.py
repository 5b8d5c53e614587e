"""The chain from an estimator's keypoints to recordings: each step is a function of its own."""

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.keypoints.camera import body_scale, remove_camera
from stickgen.mocap.keypoints.gaps import fill_gaps, whole_pieces
from stickgen.mocap.keypoints.layouts import MIN_CONFIDENCE, Keypoints, body_points, gate
from stickgen.mocap.keypoints.smoothing import smooth
from stickgen.mocap.keypoints.swaps import repair_swaps
from stickgen.mocap.keypoints.tracking import track_people
from stickgen.mocap.projection import Recording

GAP_SECONDS = 0.5
"""Longest gap of a joint that is filled; a longer one divides the clip, and a person is someone new after it."""

LEAST_SECONDS = 0.5
"""Shortest piece that becomes a recording."""


def clean(keypoints: Keypoints, name: str, min_confidence: float = MIN_CONFIDENCE) -> list[Recording]:
    """Make recordings of the people in a video.

    Args:
        keypoints: what the estimator found.
        name: the take of all recordings, and the beginning of their clip ids.
        min_confidence: confidence from which a keypoint counts.

    Returns:
        one recording for every whole piece of every person, joints ``[T, 14, 2]`` in body heights, in order.

    Raises:
        DataError: nobody is seen whole for :data:`LEAST_SECONDS`.
    """
    fps = keypoints.fps
    gap = round(GAP_SECONDS * fps)
    people = [body_points(gate(frame, min_confidence), keypoints.layout) for frame in keypoints.frames]
    recordings: list[Recording] = []
    person = 0
    for track in track_people(people, gap):
        points = fill_gaps(repair_swaps(track.points), gap)
        pieces = whole_pieces(points, max(2, round(LEAST_SECONDS * fps)))
        person += bool(pieces)
        for start, end in pieces:
            first = track.start + start
            recordings.append(
                Recording(
                    joints=_on_the_ground(points[start:end], fps),
                    fps=fps,
                    take=name,
                    clip_id=f"{name}_person{person}_{first:05d}",
                    source="video",
                    where=f"{keypoints.where}: person {person}, frames {first} to {first + end - start - 1}",
                    height=1.0,
                    floor=0.0,
                )
            )
    if not recordings:
        raise DataError(
            f"{keypoints.where}: nobody is seen whole for {LEAST_SECONDS:g} s: {_found(keypoints, min_confidence)}; "
            "lower --min-confidence, or film whole bodies"
        )
    return recordings


def _on_the_ground(points: np.ndarray, fps: float) -> np.ndarray:
    smoothed = smooth(points, fps)
    return remove_camera(smoothed, body_scale(smoothed, fps), fps)


def _found(keypoints: Keypoints, min_confidence: float) -> str:
    frames = [frame for frame in keypoints.frames if len(frame)]
    if not frames:
        return f"{len(keypoints.frames)} frames without people"
    sure = float(np.mean([(frame[..., 2] >= min_confidence).mean() for frame in frames]))
    return (
        f"{len(frames)} of {len(keypoints.frames)} frames have people, and {sure:.0%} of their keypoints a confidence "
        f"of {min_confidence:g} or more"
    )
