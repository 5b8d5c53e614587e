"""The page that generates motion in the browser: prompts to choose from, a slider for each adapter, the player."""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from stickgen.motion.skeleton import FPS
from stickgen.render.panel import Panel
from stickgen.reports.page import body_name, document

WORKER = "worker.js"
"""The script beside the page that runs the graph."""

_VIEW = {"width": 2.2, "bottom": -0.15, "top": 1.45}
"""What the panel shows, in body heights; motion that is still to be made cannot decide it."""

LARGEST_WEIGHT = 1.5
"""Of a slider."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LivePrompt:
    """A prompt and what its motions start from.

    Attributes:
        caption: the text.
        text: its embedding, float32 ``[E]``.
        starts: for each seed what the base starts from, then what each adapter does: ``frame``, and where there are any
            ``code``, the last numbers of the embedding, and ``bones``.
    """

    caption: str
    text: np.ndarray
    starts: Sequence[Sequence[Arrays]]


@dataclass(frozen=True)
class Live:
    """What the page generates with.

    Attributes:
        prompts: at least one.
        adapters: labels.
        noise: of each seed ``[frames, D]``; none where the graph reads none.
        frames: how many are generated.
        dim: numbers a frame.
        graph: file name, size in bytes, shapes of the inputs by name, sizes of the cache.
        credits: what the models and the runtime are, a line each.
    """

    prompts: Sequence[LivePrompt]
    adapters: Sequence[str]
    noise: Sequence[np.ndarray]
    frames: int
    dim: int
    graph: Mapping[str, Any]
    credits: Sequence[str]


def live_page(live: Live, title: str) -> str:
    """Return the page; it needs :func:`worker_script` and the graph beside it, and a server, if only a static one."""
    figure = _figure(live.dim)
    # Filled while motion is made.
    panel = {"label": title, "given": 0, "frames": live.frames, "bodies": [body_name(0)], "limbs": figure.pop("limbs")}
    tracks = {"lines": 4 * len(panel["limbs"]), "heads": 2, "centre": 1}
    panel |= {"errors": None, **{name: live.frames * count for name, count in tracks.items()}}
    scenes = [{"caption": prompt.caption, "frames": 1, **_VIEW, "panels": [panel]} for prompt in live.prompts]
    data = {
        "fps": FPS,
        "scenes": scenes,
        "live": {
            "figure": figure,
            "frames": live.frames,
            "seeds": len(live.prompts[0].starts),
            "adapters": list(live.adapters),
            "noise": [_packed(noise) for noise in live.noise],
            "prompts": [
                {
                    "text": _packed(prompt.text),
                    "starts": [
                        [{name: _packed(array) for name, array in one.items()} for one in seed]
                        for seed in prompt.starts
                    ],
                }
                for prompt in live.prompts
            ],
            "graph": dict(live.graph),
        },
    }
    parts = {
        "kind": "live",
        "chooser": _CHOOSER,
        "list": _sliders(live.adapters),
        "hint": "prompt · <kbd>n</kbd> next motion",
        "about": '<p id="status" role="status">loading the model</p>',
        "tables": _credits(live.credits),
    }
    scripts = ("player.js", "scenes.js", "live.js")
    return document(title, data, scripts=scripts, parts=parts, styles=("live.css",), allow="worker-src 'self'")


def worker_script() -> str:
    """Return the script that runs the graph in a thread of its own."""
    return (files("stickgen.reports") / WORKER).read_text(encoding="utf-8")


_CHOOSER = """<select id="scene" aria-label="prompt"></select>
<button id="previous" type="button" aria-label="previous prompt">‹</button>
<button id="next" type="button" aria-label="next prompt">›</button>
<button id="another" type="button" title="another motion of the same prompt">motion 1</button>"""


def _sliders(adapters: Sequence[str]) -> str:
    value = f"{1 / len(adapters):.2g}" if adapters else ""
    rows = "\n".join(
        f'<label for="weight{at}">{html.escape(label)}</label>'
        f'<input id="weight{at}" type="range" min="0" max="{LARGEST_WEIGHT}" step="0.05" value="{value}">'
        f'<output id="shown{at}" for="weight{at}"></output>'
        for at, label in enumerate(adapters)
    )
    return f'<section id="mix" aria-label="weights of the adapters">\n{rows}\n</section>' if adapters else ""


def _credits(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<details><summary>About the models</summary><ul>{items}</ul></details>"


def _figure(dim: int) -> dict[str, Any]:
    """Return where the numbers to draw are in a frame: those of lines, of the head, of the pelvis.

    The head of a figure without one follows the frame's own numbers, see :attr:`~stickgen.render.panel.Panel.heads`.
    """
    # A frame whose numbers are their own places shows which of them a line has.
    probe = Panel(np.arange(dim, dtype=np.float32)[None])
    joint = {name: probe.joints[0, 0, at].astype(int).tolist() for at, name in enumerate(probe.skeleton.joints)}
    headless = "head" not in joint
    head = [dim, dim + 1] if headless else joint["head"]
    lines, limbs = [], []
    for name, limb, ends in probe.named_lines:
        own = [*joint["neck"], *head] if name == "head" and headless else ends[0, 0].astype(int).flatten().tolist()
        lines.append(own)
        limbs.append(body_name(0) if limb == "body" else limb)
    figure = {"lines": lines, "limbs": limbs, "head": head, "pelvis": joint["pelvis"]}
    return figure | ({"neck": joint["neck"]} if headless else {})


def _packed(numbers: np.ndarray) -> str:
    """Return float32 in base64, little-endian."""
    return base64.b64encode(np.ascontiguousarray(numbers, dtype="<f4").tobytes()).decode()
