from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stickgen.errors import ConfigError
from stickgen.render import THEMES, Panel, Style, save
from stickgen.render.gif import delays
from stickgen.render.layout import Picture
from tests.render.figures import walking

STYLE = Style(size=96)


def read(path: Path) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(path) as gif:
        frames, durations = [], []
        for index in range(getattr(gif, "n_frames", 1)):
            gif.seek(index)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
            durations.append(gif.info.get("duration", 0))
    return frames, durations


@pytest.mark.parametrize("fps", [25, 24, 30, 12.5, 7, 50])
def test_delays_keep_the_time(fps: float) -> None:
    made = delays(300, fps)
    assert len(made) == 300
    assert min(made) >= 20
    assert all(ms % 10 == 0 for ms in made)
    np.testing.assert_allclose(np.cumsum(made), 1000 * np.arange(1, 301) / fps, atol=5.001)
    if fps == 25:
        assert set(made) == {40}


@pytest.mark.parametrize("fps", [0, -1, 51, float("nan")])
def test_what_no_browser_plays_is_refused(fps: float) -> None:
    with pytest.raises(ConfigError, match="at most 50 frames a second"):
        delays(3, fps)


@pytest.mark.parametrize("theme", THEMES)
def test_every_frame_is_there_as_it_was_drawn(tmp_path: Path, theme: str) -> None:
    style = Style(size=96, theme=theme, trail=0.2)
    panels = [Panel(walking(15), "a", "walk", given=4), Panel(walking(15, 48), "b", "walk")]
    save(tmp_path / "walk.gif", panels, style)
    frames, durations = read(tmp_path / "walk.gif")
    assert durations == [40] * 15
    for made, drawn in zip(frames, Picture(panels, style), strict=True):
        difference = np.abs(made - np.asarray(drawn).astype(int)).max(axis=-1)
        assert np.mean(difference > 8) < 0.005  # where limbs of two colours meet


def local_palettes(content: bytes) -> list[bool]:
    """Whether each picture of a GIF (89a, without its application's data) has a palette of its own."""

    def skip_blocks(at: int) -> int:
        while content[at]:
            at += content[at] + 1
        return at + 1

    found = []
    at = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    while content[at] != 0x3B:
        if content[at] == 0x21:
            at = skip_blocks(at + 2)
        else:
            flags = content[at + 9]
            found.append(bool(flags & 0x80))
            own = 3 * 2 ** ((flags & 7) + 1) if found[-1] else 0
            at = skip_blocks(at + 10 + own + 1)
    return found


def test_one_palette_for_all_and_repeats_for_ever(tmp_path: Path) -> None:
    save(tmp_path / "walk.gif", Panel(walking(15)), STYLE)
    content = (tmp_path / "walk.gif").read_bytes()
    assert content[10] & 0x80
    assert local_palettes(content) == [False] * 15
    with Image.open(tmp_path / "walk.gif") as gif:
        assert gif.info["loop"] == 0


def test_a_figure_that_stands_still_takes_its_time(tmp_path: Path) -> None:
    save(tmp_path / "still.gif", Panel(walking(25, speed=0.0)), STYLE)
    assert sum(read(tmp_path / "still.gif")[1]) == 1000


def test_a_single_frame(tmp_path: Path) -> None:
    save(tmp_path / "one.gif", Panel(walking(1)), STYLE)
    assert len(read(tmp_path / "one.gif")[0]) == 1
