"""The Train tab: starts a run in a process of its own, and shows how it learns."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from stickgen.errors import ConfigError
from stickgen.studio.browsing import curation_of
from stickgen.studio.studio import TORCH, Studio, in_one_line, lines_of, status
from stickgen.studio.training import DEFAULT_ALPHA, DEFAULT_RANK, DEFAULT_TARGETS, PRESETS, TARGETS, Wanted, estimated

_SAMPLE, _PRESETS_OWN = "motion that stickgen generates", "the preset's"
_SECONDS = 2.0
"""Between two looks at a run's logs."""


def train_tab(studio: Studio) -> tuple[Callable[[], tuple[Any, ...]], list[Any]]:
    """Lay out the tab; return the function that reads the lists anew, and what it fills."""
    seen = gr.State(None)
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            name = gr.Textbox(
                f"style-{time.strftime('%m%d-%H%M')}", label="Name of the run", max_lines=1, elem_id="run-name"
            )
            preset = gr.Radio(
                [(f"{key}: {one.title}", key) for key, one in PRESETS.items()],
                value="style", label="Preset", elem_id="preset",
            )  # fmt: skip
            data = gr.Dropdown([_SAMPLE], value=_SAMPLE, label="Data", elem_id="train-data")
            curated = gr.Checkbox(
                False, label="Apply the flags and captions of the Data tab", visible=False, elem_id="curated"
            )
            with gr.Accordion("Adapter, base and prompts", open=False):
                with gr.Row():
                    rank = gr.Slider(1, 64, DEFAULT_RANK, step=1, label="Rank", elem_id="rank", min_width=140)
                    alpha = gr.Slider(1, 128, DEFAULT_ALPHA, step=1, label="Alpha", elem_id="alpha", min_width=140)
                targets = gr.CheckboxGroup(
                    [*TARGETS], value=[*DEFAULT_TARGETS], label="Adapted layers", elem_id="targets"
                )
                base = gr.Dropdown([_PRESETS_OWN], value=_PRESETS_OWN, label="Base", elem_id="base")
                prompts = gr.Textbox(
                    "",  # without a value, Gradio sends None until the section has been opened
                    label="Prompts to watch, one per line",
                    info="drawn after every epoch, which takes time; empty: as the preset has it",
                    lines=2, max_length=4000, elem_id="watched",
                )  # fmt: skip
            with gr.Row():
                guess = gr.Button("Estimate the time", elem_id="estimate", min_width=140)
                go = gr.Button("Start", variant="primary", elem_id="start-run", min_width=140)
            line = gr.HTML(status("Choose a preset, then press Start."), elem_id="train-status")
            command = gr.Textbox(
                label="The same as a command", buttons=["copy"], interactive=False, lines=2, elem_id="train-command"
            )
        with gr.Column(scale=3, min_width=320):
            with gr.Row():
                run = gr.Dropdown([], label="Run to watch", elem_id="watch", min_width=200)
                stop = gr.Button("Stop and save", elem_id="stop", min_width=120)
                resume = gr.Button("Resume", elem_id="resume", min_width=120)
            state = gr.HTML(elem_id="run-state")
            charts = gr.HTML(elem_id="charts")
            motions = gr.HTML(elem_id="motions")
    timer = gr.Timer(_SECONDS)
    asked = [name, preset, data, curated, rank, alpha, targets, base, prompts]

    def wanted(*values: Any) -> Wanted:
        name, preset, data, curated, rank, alpha, targets, base, prompts = values
        path = None if data == _SAMPLE else studio.folders.resolve(data)
        return Wanted(
            preset,
            studio.folders.new_run(name.strip()),
            path,
            curation_of(path) if path is not None and curated else None,
            None if base == _PRESETS_OWN else studio.folders.resolve(base),
            int(rank),
            float(alpha),
            tuple(targets),
            tuple(lines_of(prompts)),
        )

    def has_curation(data: str) -> Any:
        there = data != _SAMPLE and curation_of(studio.folders.resolve(data)).is_file()
        return gr.update(visible=there, value=there)

    def tell_time(*values: Any) -> tuple[str, str]:
        what = wanted(*values)
        return status(estimated(what)), what.command

    def start(*values: Any) -> tuple[Any, ...]:
        what = wanted(*values)
        studio.jobs.start(what)
        shown = studio.folders.name(what.folder)
        return status(f"{shown}: started"), what.command, gr.update(choices=choices(), value=shown)

    def choices() -> list[str]:
        begun = [studio.folders.name(folder) for folder in studio.jobs.folders()]
        return [*begun, *(name for name in studio.folders.runs() if name not in begun)]

    def chosen(name: str | None) -> Path:
        if not name:
            raise ConfigError("run: nothing chosen; choose one from the list")
        return studio.folders.resolve(name)

    def end(name: str | None) -> str:
        studio.jobs.stop(chosen(name))
        return status(f"{name}: stops at the end of its step, and saves")

    def go_on(name: str | None) -> str:
        studio.jobs.resume(chosen(name))
        return status(f"{name}: resumes")

    def look(name: str | None, before: Any) -> tuple[Any, ...]:
        if not name:
            return gr.skip(), gr.skip(), gr.skip(), before
        folder = studio.folders.resolve(name)
        step, how = studio.watch.step(folder), studio.jobs.state(folder)
        text = f"{name}: {how}" + (f"; step {step}" if step else "")
        steps, pictures = studio.watch.motions(folder)
        now = (name, how, step, steps)
        if now == before:
            return gr.skip(), gr.skip(), gr.skip(), before
        same = before is not None and before[0] == name and before[3] == steps
        return status(text), studio.watch.charts(folder), gr.skip() if same else pictures, now

    data.change(in_one_line(has_curation), data, curated, show_progress="hidden")
    guess.click(in_one_line(tell_time), asked, [line, command], concurrency_id=TORCH, show_progress_on=[line])
    # Elsewhere the mark of an error would hide the command, and the run that is watched.
    go.click(in_one_line(start), asked, [line, command, run], show_progress_on=[line])
    stop.click(in_one_line(end), run, line)
    resume.click(in_one_line(go_on), run, line)
    gr.on(
        [timer.tick, run.change],
        in_one_line(look),
        [run, seen],
        [state, charts, motions, seen],
        show_progress="hidden",
        trigger_mode="once",
    )

    def lists() -> tuple[Any, ...]:
        data_files = studio.folders.data_files()
        bases = [_PRESETS_OWN, *studio.folders.bases()]
        return gr.update(choices=[_SAMPLE, *data_files]), gr.update(choices=bases), gr.update(choices=choices())

    return lists, [data, base, run]
