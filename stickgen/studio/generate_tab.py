"""The Generate tab: prompts and models to motion that plays, and to files."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from stickgen.artifacts.base_lookup import DEFAULT_BASE
from stickgen.errors import ConfigError
from stickgen.motion.skeleton import FPS
from stickgen.render import FORMS, THEMES, Panel, Style
from stickgen.reports.page import page
from stickgen.studio.generating import (
    Asked,
    as_file,
    columns_of,
    has_weight,
    labels_of,
    make,
    parts_of,
    scenes_of,
)
from stickgen.studio.studio import TORCH, Studio, frame, in_one_line, lines_of, status

_BASE = "the base"
_STANDING = "standing"
_MOST_MODELS = 6
"""Columns of a picture; more are too narrow to look at."""
_SLIDERS = 12
"""Weights: one of each adapter, or one for each part of the prompts."""
_SEED_DIGITS = 40


@dataclass(frozen=True, eq=False)
class Made:
    """Motions that are shown, and what they were asked with."""

    asked: Asked
    panels: Sequence[Panel]


def generate_tab(studio: Studio) -> tuple[Callable[[], tuple[Any, ...]], list[Any]]:
    """Lay out the tab; return the function that reads the lists of runs and data files anew, and what it fills."""
    made = gr.State(None)
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            prompts = gr.Textbox(
                "a person walks forward", lines=3, label="Prompts, one per line", elem_id="prompts", max_length=20_000
            )
            models = gr.CheckboxGroup([_BASE], value=[_BASE], label="Models, one column each", elem_id="models")
            weights = [
                gr.Slider(0, 1.5, 1, step=0.05, visible=False, label="weight", elem_id=f"weight-{number}")
                for number in range(_SLIDERS)
            ]
            # In the page, and not on the server: a click sends it together with the values of the same moment.
            order = gr.Textbox("", visible="hidden", label="what each weight is of", elem_id="order")
            blend = gr.Checkbox(
                False, label="Blend: one column with the sum of the adapters", visible=False, elem_id="blend"
            )
            with gr.Row():
                seconds = gr.Slider(1, 20, 5, step=0.2, label="Seconds", elem_id="seconds", min_width=140)
                seed = gr.Textbox(
                    label="Seed", info="empty: the most typical motion", max_lines=1, elem_id="seed", min_width=140
                )
            with gr.Accordion("Start and look", open=False):
                with gr.Row():
                    start = gr.Dropdown([_STANDING], value=_STANDING, label="Start", elem_id="start", min_width=140)
                    clip = gr.Number(
                        0, label="Clip of that file", precision=0, minimum=0, elem_id="clip", min_width=140
                    )
                with gr.Row():
                    camera = gr.Radio(["follow", "fixed"], value="follow", label="Camera", elem_id="camera")
                    theme = gr.Radio([*THEMES], value="light", label="Theme", elem_id="theme")
                trail = gr.Slider(0, 2, 0, step=0.1, label="Trails of hands and feet, in seconds", elem_id="trail")
            go = gr.Button("Generate", variant="primary", elem_id="generate")
        with gr.Column(scale=3, min_width=320):
            line = gr.HTML(status("Write a prompt, then press Generate."), elem_id="generate-status")
            player = gr.HTML(elem_id="player")
            with gr.Row():
                form = gr.Dropdown(
                    [(f"{form.suffix}: {form.title}", form.suffix) for form in FORMS],
                    value=".gif", label="File format", elem_id="form", min_width=220,
                )  # fmt: skip
                save = gr.Button("Download", elem_id="download", min_width=140)
            link = gr.HTML(elem_id="link")
            command = gr.Textbox(
                label="The same as a command", buttons=["copy"], interactive=False, lines=2, elem_id="command"
            )
    look = [camera, theme, trail]

    def sliders(chosen: list[str], texts: str, former: str, *values: Any) -> list[Any]:
        if len(chosen) > _MOST_MODELS:
            raise ConfigError(f"{len(chosen)} models: at most {_MOST_MODELS} fit side by side")
        adapters = [name for name in chosen if name != _BASE and has_weight(studio.folders.resolve(name))]
        weighted = _weights(adapters, _parts_shown(adapters, texts), former, values)
        shown = [
            gr.update(visible=True, label=f"Weight of {name}" + f", part {part + 1}" * (len(weights) > 1), value=weight)
            for name, weights in weighted.items()
            for part, weight in enumerate(weights)
        ]
        hidden = [gr.update(visible=False)] * (_SLIDERS - len(shown))
        return [gr.update(visible=len(adapters) > 1), _order(weighted), *shown, *hidden]

    def generate(*values: Any) -> Iterator[tuple[Any, ...]]:
        asked = _asked(studio, *values[:-4])
        style, suffix = _style(*values[-4:-1]), values[-1]
        for panels, whole in _parts(studio, asked):
            rest = "" if whole else "; the rest follows …"
            text = f"{len(panels)} motion{'s' * (len(panels) > 1)} of {panels[0].frames / FPS:g} s{rest}"
            found = Made(asked, panels) if whole else None
            yield (
                found,
                status(text),
                _player(studio, asked, panels, style),
                asked.command(style, f"motion{suffix}"),
                "",
            )

    def show(found: Made | None, *values: Any) -> tuple[Any, ...]:
        if found is None:
            return gr.skip(), gr.skip(), gr.skip()
        style = _style(*values[:3])
        command = found.asked.command(style, f"motion{values[3]}")
        return _player(studio, found.asked, found.panels, style), command, ""

    def download(found: Made | None, *values: Any) -> str:
        if found is None:
            raise ConfigError("nothing to download yet; press Generate first")
        name = f"motion{values[3]}"
        content = as_file(found.panels, _style(*values[:3]), name)
        address = studio.shelf.put(name, content)
        return f'<a href="{address}" download="{name}" id="file">{name}, {len(content):,} bytes</a>'

    gr.on(
        [models.change, prompts.blur],
        in_one_line(sliders),
        [models, prompts, order, *weights],
        [blend, order, *weights],
        show_progress="hidden",
    )
    gr.on(
        [go.click],
        in_one_line(generate),
        [prompts, models, blend, order, *weights, seconds, seed, start, clip, *look, form],
        [made, line, player, command, link],
        concurrency_id=TORCH,
        concurrency_limit=1,
        show_progress_on=[line],
    )
    gr.on(
        [camera.change, theme.change, trail.change, form.change],  # arrow keys do not release a slider
        in_one_line(show),
        [made, *look, form],
        [player, command, link],
        show_progress="hidden",
    )
    save.click(in_one_line(download), [made, *look, form], link).success(
        None, None, None, js="() => { document.querySelector('#file')?.click(); }"
    )

    def lists() -> tuple[Any, ...]:
        runs = [name for name in studio.folders.runs() if studio.folders.holds_model(name)]
        found = list(dict.fromkeys([_BASE, *runs, *studio.folders.bases()]))
        return gr.update(choices=found), gr.update(choices=[_STANDING, *studio.folders.data_files()])

    return lists, [models, start]


def _parts_shown(adapters: Sequence[str], texts: str) -> int:
    """Return how many weights each adapter has: one for each part of the prompts, or one where they are too many."""
    parts = parts_of(lines_of(texts))
    return parts if parts * len(adapters) <= _SLIDERS else 1


def _order(weighted: Mapping[str, Sequence[float]]) -> str:
    """Return what each slider is of, one a line, as :func:`_weights` reads it."""
    return "\n".join(f"{part} {name}" for name, weights in weighted.items() for part in range(len(weights)))


def _weights(adapters: Sequence[str], parts: int, former: str, values: Sequence[float]) -> dict[str, tuple[float, ...]]:
    """Return the weights of each adapter, one for each part.

    An adapter keeps its weights when others are chosen and when the prompts get other parts; a part that is new has
    the weight of the first one.

    Args:
        adapters: those that are chosen now.
        parts: how many weights each has.
        former: what each slider is of, since the sliders may be of a former choice.
        values: of the sliders.
    """
    known = dict(zip(former.splitlines(), values, strict=False))
    return {
        name: tuple(float(known.get(f"{part} {name}", known.get(f"0 {name}", 1))) for part in range(parts))
        for name in adapters
    }


def _asked(studio: Studio, prompts: str, models: list[str], blend: bool, order: str, *values: Any) -> Asked:
    weights, (seconds, seed, start, clip) = values[:_SLIDERS], values[_SLIDERS:]
    paths = [DEFAULT_BASE if name == _BASE else studio.folders.resolve(name) for name in models]
    adapters = [name for name, path in zip(models, paths, strict=True) if name != _BASE and has_weight(path)]
    weighted = _weights(adapters, _parts_shown(adapters, prompts), order, weights)
    labels = ["base" if name == _BASE else label for name, label in zip(models, labels_of(models), strict=True)]
    named = [(label, path, weighted.get(name, ())) for name, label, path in zip(models, labels, paths, strict=True)]
    return Asked(
        lines_of(prompts),
        columns_of(named, blend=blend and len(adapters) > 1),
        float(seconds),
        _seed(seed),
        None if start == _STANDING else studio.folders.resolve(start),
        int(clip or 0),
        studio.models.options,
    )


def _seed(text: str) -> int | None:
    if not text.strip():
        return None
    # isdecimal, since isdigit is true of a superscript, which int refuses; as it refuses thousands of digits.
    if not text.strip().isdecimal() or len(text) > _SEED_DIGITS:
        raise ConfigError(f"seed={text[:40]}: a whole number expected, or nothing")
    return int(text)


def _style(camera: Any, theme: str, trail: float) -> Style:
    return Style(theme=theme, camera=camera, trail=float(trail))


def _parts(studio: Studio, asked: Asked) -> Iterator[tuple[list[Panel], bool]]:
    """Yield the first second of the motions while the rest is made, then the whole."""
    told: queue.Queue[tuple[Any, bool]] = queue.Queue()

    def work() -> None:
        try:
            told.put((make(asked, studio.models, lambda panels: told.put((panels, False))), True))
        except Exception as error:
            told.put((error, True))

    threading.Thread(target=work, daemon=True).start()
    whole = False
    while not whole:
        found, whole = told.get()
        if isinstance(found, Exception):
            raise found
        yield found, whole


def _player(studio: Studio, asked: Asked, panels: Sequence[Panel], style: Style) -> str:
    text = page(scenes_of(asked, panels), (), "motion", style, theme=style.theme if style.theme == "dark" else None)
    return frame(studio.shelf.put("motion.html", text), f"Motion of {', '.join(asked.prompts)}")
