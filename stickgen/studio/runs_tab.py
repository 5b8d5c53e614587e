"""The Runs tab: all runs in a table, two side by side, sweeps, and what is made of a run."""

import html
from collections.abc import Callable
from typing import Any

import gradio as gr

from stickgen.errors import ConfigError
from stickgen.studio.comparing import PRODUCTS, picture_of_sweep, product, side_by_side, table_of_runs
from stickgen.studio.generating import as_typed
from stickgen.studio.studio import TORCH, Studio, frame, in_one_line, lines_of, status

_CLIPS, _PROMPTS = "test clips", "prompts"


def runs_tab(studio: Studio) -> tuple[Callable[[], tuple[Any, ...]], list[Any]]:
    """Lay out the tab; return the function that reads the runs anew, and what it fills."""
    table = gr.HTML(elem_id="runs")
    with gr.Accordion("Two runs side by side", open=True):
        with gr.Row():
            first = gr.Dropdown([], label="Run A", elem_id="run-a", min_width=200)
            second = gr.Dropdown([], label="Run B", elem_id="run-b", min_width=200)
            by = gr.Radio([_CLIPS, _PROMPTS], value=_PROMPTS, label="Moving to", elem_id="moving-to", min_width=200)
        prompts = gr.Textbox(
            "a person walks forward",
            lines=2,
            label="Prompts, one per line",
            elem_id="compare-prompts",
            max_length=20_000,
        )
        compare = gr.Button("Compare", variant="primary", elem_id="compare")
        pair = gr.HTML(elem_id="pair")
    with gr.Accordion("Make a file of a run", open=False):
        with gr.Row():
            run = gr.Dropdown([], label="Run", elem_id="run-made", min_width=200)
            kind = gr.Dropdown(
                [one.title for one in PRODUCTS], value=PRODUCTS[0].title, label="What", elem_id="product", min_width=200
            )
        write = gr.Button("Write", elem_id="write")
        written = gr.HTML(elem_id="written")
        command = gr.Textbox(label="The same as a command", buttons=["copy"], interactive=False, elem_id="run-command")
    with gr.Accordion("Sweeps", open=False):
        with gr.Row():
            sweep = gr.Dropdown([], label="Sweep", elem_id="sweep", min_width=200)
            draw = gr.Button("Draw", elem_id="draw", min_width=120)
        picture = gr.HTML(elem_id="picture")

    def put_side_by_side(one: str | None, other: str | None, kind: str, texts: str) -> str:
        names = [_chosen(one, "Run A"), _chosen(other, "Run B")]
        runs = [studio.folders.resolve(name) for name in names]
        wanted = lines_of(texts) if kind == _PROMPTS else []
        if kind == _PROMPTS and not wanted:
            raise ConfigError("prompts: none given; write one, or choose test clips")
        text = side_by_side(runs, names, wanted, 4.0, studio.models.options)
        return frame(studio.shelf.put("compare.html", text), f"{names[0]} beside {names[1]}")

    def make(name: str | None, title: str) -> tuple[str, str]:
        folder, wanted = studio.folders.resolve(_chosen(name, "Run")), product(title)
        output = studio.folders.resolve(f"{name}/{wanted.name}") if wanted.name else folder
        said = wanted.write(folder, output)
        place = f"{as_typed(output)}: " if wanted.name else ""
        return status(f"{place}{said}"), wanted.command(as_typed(folder), as_typed(output))

    def show_sweep(name: str | None) -> str:
        png, said = picture_of_sweep(studio.folders.resolve(_chosen(name, "Sweep")))
        address = studio.shelf.put("sweep.png", png)
        text = html.escape(said)
        return f'<figure><img src="{address}" alt="{text}"><figcaption>{text}</figcaption></figure>'

    compare.click(in_one_line(put_side_by_side), [first, second, by, prompts], pair, concurrency_id=TORCH)
    write.click(in_one_line(make), [run, kind], [written, command], concurrency_id=TORCH, show_progress_on=[written])
    draw.click(in_one_line(show_sweep), sweep, picture)

    def lists() -> tuple[Any, ...]:
        names = studio.folders.runs()
        usable = [name for name in names if studio.folders.holds_model(name)]
        shown = table_of_runs(names, [studio.folders.resolve(name) for name in names])
        choices = gr.update(choices=usable)
        return shown, choices, choices, choices, gr.update(choices=studio.folders.sweeps())

    return lists, [table, first, second, run, sweep]


def _chosen(name: str | None, label: str) -> str:
    if not name:
        raise ConfigError(f"{label}: nothing chosen; choose one from the list")
    return name
