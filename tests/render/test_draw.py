import numpy as np
import pytest
from PIL import Image

from stickgen.motion.skeleton import STICK_5
from stickgen.render import THEMES, Panel, Style
from stickgen.render.camera import views_of
from stickgen.render.draw import PanelPainter
from tests.render.figures import walking


def painter_of(panel: Panel, style: Style) -> PanelPainter:
    (view,) = views_of([panel], style.camera)
    return PanelPainter(panel, view, style)


def colour_at(image: Image.Image, at: np.ndarray) -> tuple[int, ...]:
    return image.getpixel((int(at[0]), int(at[1])))  # type: ignore[return-value]


def same(image: Image.Image, colour: tuple[int, ...]) -> np.ndarray:
    """Where a picture has a colour, ``[H, W]``."""
    return (np.asarray(image) == colour).all(axis=-1)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("camera", ["follow", "fixed"])
def test_limbs_are_where_they_must_be(spread: np.ndarray, theme: str, camera: str) -> None:
    style = Style(theme=theme, camera=camera)  # type: ignore[arg-type]
    panel = Panel(spread)
    painter = painter_of(panel, style)
    colours = style.colours
    for index in (0, 5, 11):
        image = painter.frame(index)
        assert image.size == painter.size
        for segment, ends in zip(STICK_5.segments, spread[index].reshape(-1, 2, 2), strict=True):
            middle = painter.pixel(ends.mean(axis=0), index)
            limb = "body" if segment.name == "torso" else segment.name
            assert colour_at(image, middle) == colours.of_limb(limb)
        assert colour_at(image, painter.pixel(panel.heads[index, 0], index)) == colours.bodies[0]
        assert colour_at(image, np.array([2, 2])) == colours.background


def test_ends_are_round_and_edges_smooth(spread: np.ndarray) -> None:
    painter = painter_of(Panel(spread), Style())
    image = painter.frame(0)
    colours = Style().colours
    wrist, neck = spread[0, 14:16], spread[0, 12:14]
    along = (wrist - neck) / np.linalg.norm(wrist - neck)
    assert colour_at(image, painter.pixel(wrist + 0.01 * along, 0)) == colours.left_arm
    assert colour_at(image, painter.pixel(wrist + 0.03 * along, 0)) == colours.background
    # On the ray there are mixtures of the two and nothing else.
    x, y = painter.pixel(wrist, 0).astype(int)
    shades = np.asarray(image)[y - 12 : y + 13, x - 12 : x + 1].reshape(-1, 3).astype(float)
    ground, limb = np.array(colours.background, float), np.array(colours.left_arm, float)
    share = (shades - ground) @ (limb - ground) / ((limb - ground) @ (limb - ground))
    np.testing.assert_allclose(shades, ground + share[:, None] * (limb - ground), atol=1.5)
    assert ((share > 0.1) & (share < 0.9)).any()


def test_the_ground_moves_under_a_camera_that_follows() -> None:
    painter = painter_of(Panel(walking(30, speed=0.04)), Style())
    ground = Style().colours.ground

    def ticks(index: int) -> np.ndarray:
        y = painter.pixel(np.zeros(2), index)[1]
        return same(painter.frame(index), ground)[int(y) + 5].nonzero()[0]

    assert len(ticks(5)) > 0
    assert not np.array_equal(ticks(5), ticks(6))


def test_given_frames_are_faded(spread: np.ndarray) -> None:
    painter = painter_of(Panel(spread, given=5), Style())
    leg = Style().colours.left_leg
    assert not same(painter.frame(4), leg).any()
    assert same(painter.frame(5), leg).any()


def test_trails_lie_where_hands_and_feet_were(spread: np.ndarray) -> None:
    without, with_trail = (painter_of(Panel(spread), Style(trail=trail)) for trail in (0.0, 0.4))
    background = Style().colours.background
    left_wrist = spread[5, 14:16]  # six frames later, nothing else is there
    at = with_trail.pixel(left_wrist, 11)
    assert colour_at(without.frame(11), at) == background
    assert colour_at(with_trail.frame(11), at) != background
    assert colour_at(painter_of(Panel(spread), Style(trail=0.04)).frame(11), at) == background


def test_actors_have_bodies_of_their_own(spread: np.ndarray) -> None:
    other = spread.copy()
    other[:, 0::2] += 1.0
    panel = Panel(np.stack([spread, other], axis=1))
    painter = painter_of(panel, Style())
    image = painter.frame(3)
    for actor in (0, 1):
        assert colour_at(image, painter.pixel(panel.heads[3, actor], 3)) == Style().colours.bodies[actor]


def test_numbers_far_out_do_no_harm() -> None:
    motion = walking(4)
    motion[2:] *= 1e30
    painter = painter_of(Panel(motion), Style(size=64, trail=1.0))
    assert painter.frame(3).size == painter.size


def test_after_the_end_the_last_frame_stays(spread: np.ndarray) -> None:
    painter = painter_of(Panel(spread), Style(size=64))
    assert painter.frame(99).tobytes() == painter.frame(11).tobytes()
