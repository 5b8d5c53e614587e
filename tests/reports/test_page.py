"""The page in a browser: it plays, scrubs, and says nothing to the console."""

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stickgen.render import Panel, Style
from stickgen.reports.page import Table, page
from stickgen.reports.scenes import Scene
from tests.browser import Page, browser, needs_chromium
from tests.render.figures import walking

FRAMES = 50
NASTY = "a <b>walk</b> & </script><script>alert(1)</script><!-- \u2028 {{data}} \" onload='x'"
REAL = walking(FRAMES)
OFF = REAL.copy()
OFF[:, 14:16] += np.linspace(0, 0.5, FRAMES)[:, None] * [0.6, 0.8]  # the left wrist, so by half as much the arm
SCENES = [
    Scene(
        "a person glides",
        [Panel(REAL, "real clip", given=5), Panel(OFF, "frozen base", given=5), Panel(REAL[:40], "mine", given=5)],
        has_reference=True,
    ),
    Scene(NASTY, [Panel(walking(20, 48), NASTY)], has_reference=False),
    Scene("two meet", [Panel(np.stack((REAL, REAL + [0.6, 0] * 10), axis=1), "both figures")], has_reference=False),
]
TABLES = [Table(f"test clips {NASTY}", ["base", NASTY], {"pose MSE ↓": ["0.5", NASTY]})]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(SCENES, TABLES, title=NASTY), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.fixture
def player(chromium: Page, file: Path) -> Iterator[Page]:
    """The page, just opened; afterwards it must have had nothing to complain about, and fetched nothing."""
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(file)
    yield chromium
    assert chromium.complaints == []
    assert chromium.requests == [file.resolve().as_uri()]


def at(player: Page) -> int:
    """The number of the frame that is shown, from 1."""
    return int(re.search(r"frame (\d+) of", player.get("document.getElementById('time').textContent"))[1])  # type: ignore[index]


def canvas(player: Page, panel: int) -> np.ndarray:
    """A panel's canvas, ``[height, width, 4]``."""
    url = player.get(f"document.querySelectorAll('.panel canvas:not(.curves)')[{panel}].toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def ink(player: Page, panel: int) -> np.ndarray:
    """Where a panel's canvas is painted, ``[height, width]``."""
    return canvas(player, panel)[..., 3] > 128


def test_nothing_in_it_is_fetched_or_runs_but_its_script(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count("<script") == 2
    assert text.count("</script>") == 2
    assert "<b>" not in text
    assert "default-src &#x27;none&#x27;" in text
    assert not re.search(r"https?://|\bsrc=|@import|url\(", text)


@needs_chromium
def test_it_draws_trails_before_a_still_camera_in_a_chosen_theme(chromium: Page, tmp_path: Path) -> None:
    motion = walking(30)
    scene = Scene("walk", [Panel(motion, "one")], has_reference=False)
    inked = {}
    for name, style, theme in (
        ("plain", Style(camera="fixed"), None),
        ("trails", Style(camera="fixed", trail=0.4), "dark"),
    ):
        path = tmp_path / f"{name}.html"
        path.write_text(page([scene], (), "x", style, theme=theme), encoding="utf-8")
        chromium.complaints.clear()
        chromium.open(path)
        chromium.press("End")
        inked[name] = ink(chromium, 0)
        assert chromium.get("document.documentElement.dataset.theme ?? null") == theme
        assert chromium.complaints == []
    assert (inked["trails"] & ~inked["plain"]).sum() > 50
    assert not (inked["plain"] & ~inked["trails"]).any()
    chromium.press("Home")
    columns = [np.flatnonzero(shown[: len(shown) // 2].any(axis=0)) for shown in (ink(chromium, 0), inked["plain"])]
    assert columns[1].mean() > columns[0].mean() + 20  # the figure walks to the right, and nothing follows it


@needs_chromium
def test_it_plays_by_itself_in_step_and_pauses(player: Page) -> None:
    player.wait("state.time > 0.3")
    first = ink(player, 0)
    player.wait("state.time > 0.6")
    player.press(" ")
    stopped = at(player)
    assert stopped > 15
    assert not np.array_equal(first, ink(player, 0))
    player.wait("!state.playing")
    assert player.get("document.getElementById('play').textContent") == "play"
    # All show the same frame: where the motions are the same, so are the pictures.
    np.testing.assert_array_equal(ink(player, 0), ink(player, 2))
    player.click("#play")
    player.wait(f"frame() !== {stopped - 1}")


@needs_chromium
def test_it_goes_round(player: Page) -> None:
    player.get("seek(47); play(true)")
    player.wait("frame() < 20")
    assert player.get("state.playing")


@needs_chromium
def test_keys_and_buttons_go_frame_by_frame(player: Page) -> None:
    steps = [("Home", 0, 1), ("ArrowRight", 0, 2), ("ArrowRight", 8, 12), ("ArrowLeft", 0, 11), ("End", 0, FRAMES)]
    for key, modifiers, wanted in steps:
        player.press(key, modifiers)
        assert at(player) == wanted, key
    player.press("ArrowRight")
    assert at(player) == FRAMES
    player.click("#back")
    assert at(player) == FRAMES - 1
    player.click("#on")
    assert at(player) == FRAMES
    player.press("-")
    assert player.get("state.speed") == 0.5
    player.press("+")
    player.press("+")
    player.press("+")
    assert (player.get("state.speed"), player.get("document.getElementById('speed').value")) == (2, "2")


@needs_chromium
def test_scrubber_and_curves_lead_to_a_frame(player: Page) -> None:
    player.click("#scrubber", 0.5)
    assert abs(at(player) - FRAMES / 2) < 2
    assert not player.get("state.playing")
    player.click(".curves", 0.8)
    assert abs(at(player) - (1 + 0.8 * (FRAMES - 1))) < 1.5
    assert player.get("document.getElementById('scrubber').value") == str(at(player) - 1)


@needs_chromium
def test_errors_are_those_of_the_limbs(player: Page) -> None:
    for frame in (0, 20, FRAMES - 1):
        player.get(f"seek({frame})")
        lists = player.get("[...document.querySelectorAll('.limbs')].map(list => list.innerText)")
        assert len(lists) == 2  # not of the real clip
        wanted = 0.5 * frame / (FRAMES - 1) / 2
        found = {name: float(value) for name, value in re.findall(r"([a-z ]+) (\d\.\d+)", lists[0])}
        assert found.pop("left arm") == pytest.approx(wanted, abs=1e-3)
        assert set(found.values()) == {0.0}
        assert set(re.findall(r"\d\.\d+", lists[1])) == {"0.000"}


@needs_chromium
def test_the_figure_is_where_it_should_be_and_given_frames_are_faded(player: Page) -> None:
    player.get("seek(30)")
    rows, columns = np.nonzero(ink(player, 0))
    height, width = ink(player, 0).shape
    view = player.get("[scene().width, scene().bottom, scene().top]")
    scale = width / view[0]
    # From the top of the head to the lower side of the ground line; the camera follows.
    assert rows.min() == pytest.approx((view[2] - (0.77 + 0.1 + 0.075)) * scale, abs=2)
    head = columns[rows < rows.min() + 10]
    assert head.mean() == pytest.approx(width / 2, abs=width / 20)
    assert height == pytest.approx((view[2] - view[1]) * scale, abs=2)
    middle = (int(rows.min() + 0.05 * scale), round(head.mean()))
    assert canvas(player, 0)[middle].tolist() == [45, 48, 54, 255]
    player.get("seek(2)")
    assert canvas(player, 0)[middle][:3].min() > 150


@needs_chromium
def test_text_stays_text_and_another_scene_another_figure(player: Page) -> None:
    player.get("seek(30)")
    player.press("ArrowDown")
    assert player.get("document.querySelector('h1').textContent") == NASTY
    assert player.get("document.querySelector('h2').textContent") == NASTY
    assert player.get("document.title") == NASTY
    assert player.get("document.querySelector('tbody td:last-child').textContent") == NASTY
    assert player.get("document.querySelectorAll('.limbs').length") == 0
    assert at(player) == 1
    assert player.get("scene().frames") == 20
    assert ink(player, 0).sum() > 200
    assert ink(player, 0).shape[1] < 500  # a figure alone does not fill the window
    for caption in ("two meet", "a person glides"):
        player.press("ArrowDown")
        assert player.get("document.querySelector('h1').textContent") == caption
    player.click("#previous")
    assert player.get("document.getElementById('scene').value") == "2"


@needs_chromium
def test_both_figures_of_a_clip_are_drawn_and_told_apart(player: Page) -> None:
    player.press("ArrowUp")
    player.get("seek(30)")
    picture, painted = canvas(player, 0)[..., :3], ink(player, 0)
    scale = painted.shape[1] / player.get("scene().width")
    middle = painted.shape[1] / 2
    for body, away in (((45, 48, 54), -0.3), ((0, 118, 86), 0.3)):
        columns = np.nonzero((picture == body).all(axis=-1) & painted)[1]
        assert len(columns) > 200
        assert columns.mean() == pytest.approx(middle + away * scale, abs=0.1 * scale)


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_on_light_and_dark(player: Page, scheme: str) -> None:
    player.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    player.get("seek(30)")
    other = {"light": "dark", "dark": "light"}
    for wanted in (scheme, other[scheme]):
        picture = np.asarray(Image.open(io.BytesIO(player.screenshot())).convert("L"))
        assert (np.median(picture) < 60) == (wanted == "dark")
        assert np.ptp(picture) > 150
        player.click("#theme")


@needs_chromium
def test_who_wants_no_motion_is_asked_first(player: Page, file: Path) -> None:
    player.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    player.requests.clear()
    player.open(file)
    assert not player.get("state.playing")
    player.call("Emulation.setEmulatedMedia", features=[])


@needs_chromium
def test_it_fits_a_phone(player: Page, file: Path) -> None:
    player.requests.clear()
    player.open(file, width=360, height=740)
    assert player.get("document.documentElement.scrollWidth") <= 360
