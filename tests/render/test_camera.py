import numpy as np

from stickgen.render import Panel
from stickgen.render.camera import views_of
from tests.render.figures import walking


def test_following_keeps_a_steady_walk_in_the_middle() -> None:
    motion = walking(100, speed=0.04, start=5)
    (view,) = views_of([Panel(motion)], "follow")
    np.testing.assert_allclose(view.centre, motion[:, 2], atol=1e-5)
    assert view.width < 2


def test_following_does_not_tremble_with_the_steps() -> None:
    motion = walking(100, speed=0.04)
    motion[:, 0::2] += 0.03 * np.sin(2 * np.pi * np.arange(100) / 12)[:, None]
    (view,) = views_of([Panel(motion)], "follow")
    inner = slice(30, 70)
    assert np.abs(view.centre - 0.04 * np.arange(100))[inner].max() < 0.005


def test_a_fixed_camera_sees_the_whole_way() -> None:
    panel = Panel(walking(100, speed=0.04))
    (view,) = views_of([panel], "fixed")
    assert np.ptp(view.centre) == 0
    x = panel.joints[..., 0]
    assert view.centre[0] - view.width / 2 < x.min()
    assert x.max() < view.centre[0] + view.width / 2


def test_panels_are_shown_at_one_size() -> None:
    wide, narrow = views_of([Panel(walking(50, speed=0.1)), Panel(walking(20, 48))], "fixed")
    assert (wide.width, wide.bottom, wide.top) == (narrow.width, narrow.bottom, narrow.top)
    assert len(wide.centre) == 50
    assert len(narrow.centre) == 20


def test_figures_that_stand_apart_are_both_in_view() -> None:
    pair = Panel(np.stack((walking(20), walking(20) + [4, 0] * 10), axis=1))
    (view,) = views_of([pair], "follow")
    x = pair.joints[..., 0] - view.centre[:, None, None]
    assert np.abs(x).max() < view.width / 2


def test_a_figure_that_falls_apart_does_not_shrink_the_others() -> None:
    broken = walking(20)
    broken[-1] *= 1e20
    view, _ = views_of([Panel(walking(20)), Panel(broken)], "follow")
    assert view.width <= 3
    assert view.top - view.bottom < 3


def test_a_single_frame_has_a_view() -> None:
    (view,) = views_of([Panel(walking(1, start=3))], "follow")
    np.testing.assert_allclose(view.centre, [3], atol=1e-6)
