from collections.abc import Sequence

import numpy as np

from stickgen.mocap.keypoints.tracking import track_people
from tests.mocap.keypoints.figures import distance, filmed, noise, walking_figure


def in_one_video(people: Sequence[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """The frames of a video of all people, who are listed in a random order in each."""
    rng = np.random.default_rng(seed)
    return [np.stack(frame)[rng.permutation(len(frame))] for frame in zip(*people, strict=True)]


def two_who_cross() -> tuple[np.ndarray, np.ndarray]:
    one = filmed(walking_figure())
    other = one * (-1, 1) + (1900, 25)
    assert (one[0, 0, 0] < other[0, 0, 0]) != (one[-1, 0, 0] < other[-1, 0, 0])
    return noise(one, 2), noise(other, 2, seed=1)


def test_people_who_cross_keep_their_identity() -> None:
    one, other = two_who_cross()
    tracks = track_people(in_one_video([one, other]), patience=12)
    assert len(tracks) == 2
    first, second = sorted(tracks, key=lambda track: distance(track.points[:1], one[:1]))
    np.testing.assert_array_equal(first.points, one)
    np.testing.assert_array_equal(second.points, other)


def test_a_person_may_be_missing_for_a_while_and_joints_may_be_unknown() -> None:
    one, other = two_who_cross()
    one[10:14, 3:6] = np.nan
    frames = in_one_video([one, other])
    frames[60:68] = [np.zeros((0, 14, 2))] * 8
    tracks = track_people(frames, patience=12)
    assert [len(track.points) for track in tracks] == [94, 94]
    assert all(np.isnan(track.points[60:68]).all() for track in tracks)
    rest = [*range(60), *range(68, 94)]
    first = min(tracks, key=lambda track: distance(track.points[:1], one[:1]))
    np.testing.assert_array_equal(first.points[rest], one[rest])


def test_who_returns_late_or_elsewhere_is_someone_new() -> None:
    one = filmed(walking_figure())
    frames = [frame[None] for frame in one]
    late = [*frames[:30], *[np.zeros((0, 14, 2))] * 13, *frames[43:]]
    assert [(t.start, len(t.points)) for t in track_people(late, patience=12)] == [(0, 30), (43, 51)]
    elsewhere = [*frames[:50], *(frame + np.array([400, 0]) for frame in frames[50:])]
    assert [(t.start, len(t.points)) for t in track_people(elsewhere, patience=12)] == [(0, 50), (50, 44)]


def test_a_video_without_people_has_no_tracks() -> None:
    assert track_people([], patience=5) == []
    assert track_people([np.zeros((0, 14, 2)), np.full((1, 14, 2), np.nan)], patience=5) == []
