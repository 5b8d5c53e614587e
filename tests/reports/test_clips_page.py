"""The page of a data file in a browser: every clip plays, is sorted, searched and flagged."""

import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from stickgen.data.curation import read_curation
from stickgen.data.file import open_clips, write_sequences
from stickgen.errors import ConfigError
from stickgen.reports import clips_page
from stickgen.reports.inspect import Shown, inspect
from stickgen.sample import SAMPLE_INFO, sample_sequences
from tests.browser import Page, browser, needs_chromium

CLIPS = 60
NASTY = 'a <b>walk</b> </script><script>alert(1)</script><!-- \u2028 {{data}} # \n  clip 1: "x"'


def sequences() -> list[dict[str, object]]:
    """Sixty clips: one trembles, one has another's motion, one a caption to escape, one two figures."""
    clips = sample_sequences(CLIPS, seed=1)
    for clip in clips:
        clip["motion"] = clip["motion"][:40]
        clip["physics"], clip["actions"] = None, None
    clips[7]["motion"] = clips[7]["motion"] + 0.2 * torch.randn(clips[7]["motion"].shape)
    clips[20]["motion"] = clips[11]["motion"].clone()
    clips[33]["description"] = NASTY
    clips[40]["motion"] = torch.stack((clips[40]["motion"], clips[41]["motion"] + 0.5), dim=1)
    return clips


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips")
    torch.manual_seed(0)
    write_sequences(path / "data.pt", sequences(), SAMPLE_INFO)
    shown = Shown([path / "page.html"], flags=["duplicate<0.01"])
    inspect(path / "data.pt", Console(file=StringIO()), shown)
    return path


def content(path: Path) -> dict[str, object]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', path.read_text(encoding="utf-8"))
    assert found is not None
    return json.loads(found[1])  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(chromium: Page, folder: Path) -> Iterator[Page]:
    """The page, just opened; afterwards it must have had nothing to complain about, and fetched nothing."""
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(folder / "page.html")
    yield chromium
    chromium.get("localStorage.clear()")
    assert chromium.complaints == []
    assert [url for url in chromium.requests if not url.startswith("blob:")] == [
        (folder / "page.html").resolve().as_uri()
    ]


def captions(page: Page) -> list[str]:
    """The captions of all clips in their order on the page."""
    return page.get("list.order.map((clip) => data.scenes[clip].caption)")  # type: ignore[no-any-return]


def order(page: Page) -> list[int]:
    return page.get("list.order")  # type: ignore[no-any-return]


def choose(page: Page, control: str, value: str) -> None:
    page.get(f"at({control!r}).value = {value!r}; at({control!r}).dispatchEvent(new Event('input'))")


def test_a_page_has_every_clip_its_measures_and_nothing_to_fetch(folder: Path) -> None:
    text = (folder / "page.html").read_text(encoding="utf-8")
    assert text.count("<script") == 2
    assert "<b>" not in text
    assert not re.search(r"https?://|\bsrc=|@import|url\(", text)
    data = content(folder / "page.html")
    assert len(data["scenes"]) == len(data["clips"]) == CLIPS  # type: ignore[arg-type]
    assert data["flagged"] == [[20, "duplicate 0"]]
    clip = data["clips"][20]  # type: ignore[index]
    assert (clip["nearest"], clip["names"][0][0]) == (11, "clip 20")
    pair = data["clips"][40]["names"]  # type: ignore[index]
    assert [label for label, _ in pair] == ["clip 40", "clip 40 actor 1"]


def test_many_clips_are_kept_at_a_lower_rate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inspected = Console(file=StringIO())
    monkeypatch.setattr(clips_page, "_MOST_BYTES", 100_000)
    inspect(folder / "data.pt", inspected, Shown([folder / "small.html"]), overwrite=True)
    whole, reduced = content(folder / "page.html"), content(folder / "small.html")
    step = round(25 / reduced["fps"])  # type: ignore[operator]
    assert 1 < step <= 4
    assert len((folder / "small.html").read_text()) < len((folder / "page.html").read_text())
    for one, other in zip(whole["scenes"], reduced["scenes"], strict=True):  # type: ignore[arg-type]
        assert other["frames"] == -(-one["frames"] // step)
    monkeypatch.setattr(clips_page, "_MOST_BYTES", 30_000)
    with pytest.raises(ConfigError, match=r"60 clips: more motion than a page can hold; --clips \d+ shows"):
        inspect(folder / "data.pt", inspected, Shown([folder / "small.html"]), overwrite=True)
    inspect(folder / "data.pt", inspected, Shown([folder / "small.html"], clips=5), overwrite=True)
    assert len(content(folder / "small.html")["clips"]) == 5  # type: ignore[arg-type]


@needs_chromium
def test_cards_in_sight_play_and_no_others_exist(page: Page) -> None:
    cards = page.get("document.querySelectorAll('.card').length")
    assert 8 <= cards < CLIPS
    picture = "[...list.cards.values()][0].panel.canvas.toDataURL()"
    first = page.get(picture)
    page.wait(f"{picture} !== {json.dumps(first)}")
    page.get("at('clips').scrollTop = 1e6")
    page.wait(f"[...list.cards.values()].some((card) => card.place === {CLIPS - 1})")
    assert page.get("document.querySelectorAll('.card').length") < CLIPS
    assert page.get("Math.min(...[...list.cards.values()].map((card) => card.place))") > 8
    page.press(" ")
    stopped = page.get(picture)
    page.get("new Promise((done) => setTimeout(done, 100))")
    assert page.get(picture) == stopped


@needs_chromium
def test_clips_are_sorted_by_every_measure(page: Page, folder: Path) -> None:
    data = content(folder / "page.html")
    for column, measure in enumerate(data["measures"]):  # type: ignore[arg-type]
        choose(page, "sort", measure["name"])
        values = [data["clips"][clip]["values"][column] for clip in order(page)]  # type: ignore[index]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=measure["high_is_odd"]), measure["name"]
        assert values == known + [None] * (len(values) - len(known))
        assert page.get("at('meaning').textContent") == measure["meaning"]
    choose(page, "sort", "jerk")
    assert order(page)[0] == 7
    page.click("#reverse")
    assert order(page)[-1] == 7
    choose(page, "sort", "")
    assert order(page) == list(range(CLIPS))[::-1]


@needs_chromium
def test_captions_are_searched(page: Page) -> None:
    word = captions(page)[0].split()[-1]
    choose(page, "search", f"  {word.upper()} ")
    assert captions(page)
    assert all(word in caption.lower() for caption in captions(page))
    choose(page, "search", "clip 33")
    assert captions(page) == [NASTY]
    assert page.get("document.querySelector('.words').textContent") == NASTY
    choose(page, "search", "no such words")
    assert captions(page) == []
    assert "0 of 60 clips" in page.get("at('count').textContent")


@needs_chromium
def test_it_is_worked_by_keys(page: Page) -> None:
    choose(page, "sort", "")
    page.press("ArrowDown")
    page.press("PageDown")
    columns = page.get("list.columns")
    start = page.get("state.scene")
    page.press("ArrowUp")
    assert page.get("state.scene") == start - 1
    page.press("PageUp")
    assert page.get("state.scene") == start - 1 - columns
    for _ in range(30):
        page.press("ArrowDown")
    assert page.get("list.cards.get(state.scene).box.classList.contains('chosen')")
    box, card = (f"{name}.getBoundingClientRect()" for name in ("at('clips')", "list.cards.get(state.scene).box"))
    assert page.get(f"{card}.top >= {box}.top - 1 && {card}.bottom <= {box}.bottom + 9")
    chosen = page.get("state.scene")
    page.press("f")
    assert page.get(f"flagged.has({chosen})")
    assert "2 flagged" in page.get("at('count').textContent")
    page.press("/")
    page.press("f")
    assert page.get("at('search').value") == "f"
    assert page.get(f"flagged.has({chosen})")
    page.press("Escape")
    page.press("f")
    assert not page.get(f"flagged.has({chosen})")


@needs_chromium
def test_the_player_shows_a_card_and_leads_to_its_neighbour(page: Page) -> None:
    choose(page, "search", "clip 20")
    page.click(".card .choose")
    assert page.get("state.scene") == 20
    assert page.get("document.querySelector('#about dl').textContent").startswith("style")
    page.click("#nearest")
    assert page.get("state.scene") == 11
    page.press("End")
    assert "frame 40 of 40" in page.get("at('time').textContent")


@needs_chromium
def test_flags_are_saved_as_the_file_that_training_reads(page: Page, folder: Path, tmp_path: Path) -> None:
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    for clip in (33, 40):
        page.get(f"showScene({clip})")
        page.press("f")
    page.click("#save")
    saved = tmp_path / "curation.yaml"
    while not saved.is_file() or not saved.stat().st_size:
        page.get("new Promise((done) => setTimeout(done, 20))")
    curation = read_curation(saved)
    assert list(curation.leave_out) == ["clip 20", "clip 33", "clip 40", "clip 40 actor 1"]
    store, _ = open_clips(folder / "data.pt")
    places = curation.positions(store, "data.pt")
    assert {store.infos[place].index for place in places} == {20, 33, 40}
    lines = saved.read_text(encoding="utf-8").splitlines()
    assert lines[2].endswith(f"# duplicate 0 · {store.infos[20].description}")
    page.click("#only")
    assert sorted(order(page)) == [20, 33, 40]


@needs_chromium
def test_flags_by_hand_outlast_the_page(page: Page, folder: Path) -> None:
    for clip in (20, 33):  # one that a rule has flagged, and one that none has
        page.get(f"showScene({clip})")
        page.press("f")
    page.requests.clear()
    page.open(folder / "page.html")
    assert page.get("[...flagged]") == [[33, "flagged by hand"]]
    page.get("localStorage.setItem(STORE, 'no JSON')")
    page.requests.clear()
    page.open(folder / "page.html")
    assert page.get("[...flagged.keys()]") == [20]


@needs_chromium
@pytest.mark.parametrize(("width", "height"), [(1300, 850), (360, 740)])
def test_it_fits_desks_and_phones(page: Page, folder: Path, width: int, height: int) -> None:
    page.requests.clear()
    page.open(folder / "page.html", width, height)
    assert page.get("document.documentElement.scrollWidth") <= width
    assert page.get("document.documentElement.scrollHeight") <= height
    assert page.get("at('clips').clientHeight") > 150
    assert page.get("document.querySelector('#panels canvas').getBoundingClientRect().bottom") < height


@needs_chromium
def test_thousands_of_clips_are_no_more_than_the_cards_in_sight(page: Page) -> None:
    # The same clips a hundred times; what is in the page's tree and what a scroll makes stay the same.
    page.get(
        "for (let i = 0; i < 100; i++) for (let j = 0; j < 60; j++) {"
        " clips.push(clips[j]); data.scenes.push(data.scenes[j]); said.push(said[j]); } arrange()"
    )
    assert page.get("list.order.length") == 6060
    for share in np.linspace(0, 1, 5):
        page.get(f"at('clips').scrollTop = {share} * at('clips').scrollHeight; layOut()")
        assert page.get("document.querySelectorAll('.card').length") < CLIPS
        assert page.get("document.querySelectorAll('*').length") < 1000
