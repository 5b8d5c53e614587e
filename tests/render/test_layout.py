import numpy as np
import pytest
from PIL import Image

from stickgen.errors import DataError
from stickgen.render import THEMES, Panel, Style
from stickgen.render.layout import Picture
from tests.render.figures import walking

SMALL = Style(size=96)
HEAD = THEMES["light"].bodies[0]


def heads(image: Image.Image, radius: int = 2) -> list[tuple[int, int]]:
    """Centres (x, y) of the discs of the body's colour in a picture: where a whole neighbourhood has it."""
    mask = (np.asarray(image) == HEAD).all(axis=-1)
    solid = np.lib.stride_tricks.sliding_window_view(mask, (2 * radius + 1,) * 2).all(axis=(2, 3))
    found: list[tuple[int, int]] = []
    for y, x in zip(*solid.nonzero(), strict=True):
        if all(abs(x - a) > 12 or abs(y - b) > 12 for a, b in found):
            found.append((int(x), int(y)))
    return found


def test_a_caption_has_its_panels_side_by_side_and_captions_are_rows() -> None:
    panels = [Panel(walking(), label, caption) for caption in ("walk", "run") for label in ("a", "b", "c")]
    picture = Picture(panels, SMALL)
    image = picture.frame(3)
    assert image.size == picture.size
    found = heads(image)
    assert len(found) == 6
    assert len({y // 10 for _, y in found}) == 2
    one = Picture(panels[:1], SMALL)
    assert picture.size[0] > 2.5 * one.size[0]
    assert picture.size[1] > 1.8 * one.size[1]


def test_sizes_are_even() -> None:
    for size in range(64, 80):
        picture = Picture([Panel(walking(3), "a", "b")], Style(size=size))
        assert picture.size[0] % 2 == picture.size[1] % 2 == 0


def test_captions_and_labels_are_written() -> None:
    plain, labelled = (Picture([Panel(walking(), label, "x")], SMALL) for label in ("", "mine"))
    assert labelled.size[1] > plain.size[1]
    background = THEMES["light"].background
    written = [(np.asarray(p.frame(0))[12:40] != background).any(axis=(1, 2)).sum() for p in (plain, labelled)]
    assert 0 < written[0] < written[1]


def test_the_shorter_motion_stops_at_its_last_frame() -> None:
    picture = Picture([Panel(walking(4), caption="x"), Panel(walking(9), caption="x")], Style(size=96, camera="fixed"))
    assert picture.frames == 9
    half = picture.size[0] // 2
    left = [picture.frame(i).crop((0, 0, half, picture.size[1])).tobytes() for i in (2, 3, 8)]
    assert left[0] != left[1]
    assert left[1] == left[2]


@pytest.mark.parametrize("count", [1, 3, 8])
def test_a_contact_sheet_shows_the_whole_time(count: int) -> None:
    panels = [Panel(walking(25), label) for label in ("a", "b")]
    sheet = Picture(panels, Style(size=96, sheet=count)).contact_sheet()
    assert len(heads(sheet)) == 2 * count
    # A clip shorter than the sheet is shown once through.
    assert len(heads(Picture([Panel(walking(2))], Style(size=96, sheet=count)).contact_sheet())) == min(2, count)


def test_wide_sheets_are_broken() -> None:
    panel = Panel(walking(40, speed=0.4))
    wide, one = (Picture([panel], Style(size=320, camera="fixed", sheet=count)).contact_sheet() for count in (8, 1))
    assert wide.width < 3000
    assert wide.height > 3 * one.height


def test_no_panels() -> None:
    with pytest.raises(DataError, match="at least one panel"):
        Picture([], SMALL)
