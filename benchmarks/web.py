"""The page of ``stickgen export web`` in Chromium: frames a second, size, largest difference from rollouts.

    stickgen export web a=outputs/a b=outputs/b --prompts prompts.txt -o page/
    python benchmarks/web.py page/ a=outputs/a b=outputs/b

The page is served from the loopback address and generates its first prompt --rounds times, with the last adapter alone.
Frames a second are by the page's own clock. Processor time is that of the browser's process that runs the page, drawing
included: on a busy machine it says more than the clock. Frames are compared with ``rollout`` over the first 100.
"""

import argparse
import base64
import json
import re
import statistics
from pathlib import Path

import numpy as np
import torch

from stickgen.artifacts.model import load_model
from stickgen.artifacts.model_name import label_and_path
from stickgen.export.web import PAGE
from stickgen.generation import rollout
from tests.browser import Page, browser, served

COMPARED = 100


def processor_seconds(page: Page) -> float:
    """Return the processor time of the browser's processes that run pages."""
    processes = page.call_browser("SystemInfo.getProcessInfo")["processInfo"]
    return float(sum(one["cpuTime"] for one in processes if one["type"] == "renderer"))


def generated(page: Page, frames: int) -> tuple[float, float]:
    """Generate a motion anew; return frames a second, and processor milliseconds for each frame."""
    before = processor_seconds(page)
    page.get("begin()")
    page.wait(f"live.made === {frames}")
    return page.get("live.rate"), 1000 * (processor_seconds(page) - before) / frames


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("models", nargs="+", help="as they were exported")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', (options.folder / PAGE).read_text())
    assert found is not None
    live = json.loads(found[1])["live"]
    with served(options.folder) as url, browser() as page:
        page.visit(url)
        for at in range(len(live["adapters"])):
            page.get(f"at('weight{at}').value = {int(at == len(live['adapters']) - 1)}")
        page.wait("live.ready")
        generated(page, live["frames"])  # the browser compiles its hot code
        rounds = [generated(page, live["frames"]) for _ in range(options.rounds)]
        motion = np.array(page.get("Array.from(live.motion)"), dtype=np.float32).reshape(live["frames"], 1, -1)
        others = [one for one in page.requests if not one.startswith((url, "data:"))]
        complaints = page.complaints
    model = load_model(Path(label_and_path(options.models[-1])[1])).model
    text = np.frombuffer(base64.b64decode(live["prompts"][0]["text"]), dtype="<f4").copy()
    wanted = rollout(model, torch.from_numpy(text)[None], COMPARED)
    difference = float((torch.from_numpy(motion[:COMPARED]) - wanted).abs().max())
    rates, milliseconds = zip(*rounds, strict=True)
    size = sum(file.stat().st_size for file in options.folder.iterdir())
    print(f"frames a second          {statistics.median(rates):.1f}, best {max(rates):.1f}")
    print(f"processor time a frame   {statistics.median(milliseconds):.1f} ms, best {min(milliseconds):.1f} ms")
    print(f"folder                   {size / 1e6:.1f} MB")
    print(f"largest difference       {difference:.2g} body heights over {COMPARED} frames")
    print(f"other addresses          {len(others)}; complaints of the page: {len(complaints)}")


if __name__ == "__main__":
    main()
