"""Records the studio in a real browser as a GIF: docs/images/studio.gif.

    stickgen sample data.pt --clips 60 --styles sneaky
    python benchmarks/studio_tour.py outputs/ data.pt --out docs/images/studio.gif

``outputs/`` holds two runs or more. The tour uses every tab as a person would, without starting a training. Motion is
stepped frame by frame, so the recording plays at the right speed however slow the machine is.
"""

import argparse
import io
import json
import threading
from pathlib import Path

from PIL import Image

from stickgen.artifacts.model import ModelOptions
from stickgen.studio.server import Server
from stickgen.studio.studio import Studio
from tests.browser import Page, browser

WIDTH, HEIGHT, SHOWN = 1180, 780, 760
"""Of the window, and the width of the recording."""
COLOURS = 64
PLAYER = "document.querySelector('{} iframe')?.contentDocument"


class Recording:
    """Frames and how long each is shown."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[Image.Image] = []
        self._milliseconds: list[int] = []

    def hold(self, milliseconds: int) -> None:
        """Show what is seen now for some time."""
        frame = Image.open(io.BytesIO(self._page.screenshot())).convert("RGB")
        self._frames.append(frame.resize((SHOWN, round(SHOWN * frame.height / frame.width)), Image.Resampling.LANCZOS))
        self._milliseconds.append(milliseconds)

    def play(self, box: str, frames: int, step: int = 3) -> None:
        """Step a player through its motion and record it."""
        document = PLAYER.format(box)
        self._page.wait(f"{document}?.querySelector('#scrubber') != null")
        for index in range(0, frames, step):
            self._page.get(
                f"(() => {{ const bar = {document}.querySelector('#scrubber'); bar.value = {index};"
                " bar.dispatchEvent(new Event('input')); })()"
            )
            self.hold(40 * step)

    def save(self, path: Path) -> None:
        """Write the GIF; one palette for all frames keeps what stands still from flickering."""
        strip = Image.new("RGB", (SHOWN, self._frames[0].height * 8))
        for at, frame in enumerate(self._frames[:: max(len(self._frames) // 8, 1)][:8]):
            strip.paste(frame, (0, at * frame.height))
        palette = strip.quantize(COLOURS, dither=Image.Dither.NONE)
        first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._frames)
        first.save(path, save_all=True, append_images=others, duration=self._milliseconds, loop=0, optimize=True)
        seconds = sum(self._milliseconds) / 1000
        print(f"{path}: {len(self._frames)} frames, {seconds:.0f} s, {path.stat().st_size:,} bytes")


def tab(page: Page, name: str) -> None:
    """Open a tab."""
    tabs = "[...document.querySelectorAll('button[role=tab]')]"
    page.get(f"{tabs}.find((one) => one.textContent.trim() === {json.dumps(name)}).click()")


def choose(page: Page, box: str, option: str) -> None:
    """Choose an option of a drop-down list."""
    options = f"[...document.querySelectorAll('{box} [role=option]')]"
    listed = f"{options}.find((one) => one.textContent.includes({json.dumps(option)}))"
    page.click(f"{box} input")
    page.wait(f"{listed} !== undefined")
    page.get(f"{listed}.dispatchEvent(new MouseEvent('mousedown', {{bubbles: true, cancelable: true}}))")
    page.wait(f"document.querySelector('{box} input').value.includes({json.dumps(option)})")


def generate(page: Page, film: Recording, runs: list[str], prompt: str) -> None:
    """Type a prompt, choose a run beside the base, and play."""
    page.get(
        "document.querySelector('#prompts textarea').focus(); document.querySelector('#prompts textarea').select()"
    )
    page.type(" ")
    for end in (*range(6, len(prompt), 8), len(prompt)):
        page.get("document.querySelector('#prompts textarea').select()")
        page.type(prompt[:end])
        film.hold(160)
    labels = "[...document.querySelectorAll('#models label')]"
    page.get(f"{labels}.find((one) => one.textContent.trim() === {json.dumps(runs[0])}).click()")
    page.wait("document.querySelector('#weight-0 input[type=number]') !== null")
    film.hold(900)
    page.click("#generate")
    page.wait(f"({PLAYER.format('#player')}?.querySelector('#time')?.textContent ?? '').includes('of 125')")
    film.play("#player", 110)


def data(page: Page, film: Recording, name: str) -> None:
    """Open a data file, flag a clip and edit a caption."""
    tab(page, "Data")
    choose(page, "#data-file", name)
    page.click("#open")
    clips = PLAYER.format("#clips-page")
    page.wait(f"{clips}?.querySelector('.card') != null")
    page.get(f"{clips}.querySelector('#play').click()")
    for _ in range(6):
        film.hold(200)
    page.get(f"{clips}.querySelector('#play').click()")
    page.get(f"{clips}.querySelectorAll('.card .flag')[1].click()")
    page.wait(f"{clips}.querySelector('#saved').textContent !== ''")
    film.hold(1400)


def train(page: Page, film: Recording, run: str) -> None:
    """Look at a preset and at the curves of a run."""
    tab(page, "Train")
    film.hold(900)
    choose(page, "#watch", run)
    page.wait("document.querySelectorAll('#charts svg').length === 3")
    film.hold(2600)


def compare(page: Page, film: Recording, runs: list[str]) -> None:
    """Look at the table of runs, and play two side by side."""
    tab(page, "Runs")
    page.wait("document.querySelector('#runs tbody tr') !== null")
    film.hold(1600)
    choose(page, "#run-a", runs[0])
    choose(page, "#run-b", runs[1])
    page.click("#compare")
    page.wait(f"{PLAYER.format('#pair')}?.querySelector('#scrubber') != null")
    page.get("document.querySelector('#pair iframe').scrollIntoView()")
    film.play("#pair", 75)


def main() -> None:
    """Record the tour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images/studio.gif"))
    parser.add_argument("--prompt", default="a sneaky person runs in a crouch")
    arguments = parser.parse_args()
    studio = Studio.of([arguments.outputs, arguments.data], ModelOptions())
    runs = [name for name in studio.folders.runs() if studio.folders.holds_model(name)]
    server = Server(studio)
    threading.Thread(target=server.run, daemon=True).start()
    with browser() as page:
        # Nothing plays by itself: the recording steps through it.
        calm = {"name": "prefers-reduced-motion", "value": "reduce"}
        page.call("Emulation.setEmulatedMedia", features=[calm])
        page.visit(server.address.url, WIDTH, HEIGHT)
        page.wait(f"document.querySelectorAll('#models input').length > {len(runs)}")
        film = Recording(page)
        film.hold(700)
        generate(page, film, runs, arguments.prompt)
        data(page, film, studio.folders.name(arguments.data))
        train(page, film, runs[0])
        compare(page, film, runs)
        film.save(arguments.out)
    server.stop()


if __name__ == "__main__":
    main()
