import numpy as np

from stickgen.mocap.keypoints.gaps import fill_gaps, whole_pieces
from tests.mocap.keypoints.figures import at, filmed, walking_figure


def with_gap(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    walk = filmed(walking_figure())
    holed = walk.copy()
    holed[start:end, at("left_wrist")] = np.nan
    return walk, holed


def test_a_short_gap_is_filled_near_the_truth() -> None:
    walk, holed = with_gap(30, 38)
    filled = fill_gaps(holed, most=8)
    assert not np.isnan(filled).any()
    np.testing.assert_array_equal(filled[~np.isnan(holed)], walk[~np.isnan(holed)])
    wrist = at("left_wrist")
    error = np.linalg.norm(filled[30:38, wrist] - walk[30:38, wrist], axis=1).max()
    held = np.linalg.norm(walk[29, wrist] - walk[30:38, wrist], axis=1).max()
    assert error < 0.1 * held


def test_a_long_gap_and_the_ends_stay_unknown_and_divide_the_clip() -> None:
    _, holed = with_gap(30, 39)
    holed[:4, at("head")] = np.nan
    filled = fill_gaps(holed, most=8)
    np.testing.assert_array_equal(np.isnan(filled), np.isnan(holed))
    assert whole_pieces(filled, least=1) == [(4, 30), (39, 94)]
    assert whole_pieces(filled, least=27) == [(39, 94)]


def test_nothing_known_is_no_piece() -> None:
    unknown = np.full((10, 14, 2), np.nan)
    assert whole_pieces(fill_gaps(unknown, most=8), least=1) == []


def test_two_frames_are_enough_to_fill_between() -> None:
    points = np.full((5, 1, 2), np.nan)
    points[0], points[4] = 0, 8
    np.testing.assert_allclose(fill_gaps(points, most=3)[:, 0, 0], [0, 2, 4, 6, 8])
