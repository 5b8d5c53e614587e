"""The Data tab: the clips of a data file, played, flagged and their captions edited."""

from collections.abc import Callable
from typing import Any

import gradio as gr

from stickgen.errors import ConfigError
from stickgen.studio.generating import as_typed
from stickgen.studio.studio import Studio, frame, in_one_line, status

_SHOWN = 500


def data_tab(studio: Studio) -> tuple[Callable[[], tuple[Any, ...]], list[Any]]:
    """Lay out the tab; return the function that reads the list of data files anew, and what it fills."""
    with gr.Row():
        file = gr.Dropdown([], label="Data file", elem_id="data-file", min_width=220)
        most = gr.Number(
            _SHOWN, label="Most clips to show, the oddest first", precision=0, minimum=1, elem_id="most", min_width=160
        )
        go = gr.Button("Open", variant="primary", elem_id="open", min_width=120)
    line = gr.HTML(status("Choose a file, then press Open."), elem_id="data-status")
    clips = gr.HTML(elem_id="clips-page")

    def open_file(name: str | None, count: float | None) -> tuple[str, str]:
        if not name:
            raise ConfigError("data file: nothing chosen; choose one from the list")
        path = studio.folders.resolve(name)
        if count is None or count < 1:
            raise ConfigError(f"clips={count}: at least 1 expected")
        address, opened = studio.files.open(path, int(count))
        # No counts: the page of clips has its own, which follow each change.
        kept = as_typed(opened.curation)
        text = f"Flags and captions are kept in {kept}. Train without the flagged clips: data.curation={kept}"
        return status(text), frame(address, f"Clips of {path.name}", "clips")

    go.click(in_one_line(open_file), [file, most], [line, clips])

    def lists() -> tuple[Any, ...]:
        return (gr.update(choices=studio.folders.data_files()),)

    return lists, [file]
