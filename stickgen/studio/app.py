"""The page: the tabs, how it looks, and Gradio's application without anything that reaches the network."""

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import gradio as gr
from fastapi import FastAPI

from stickgen.studio.data_tab import data_tab
from stickgen.studio.gate import App, Message, Receive, Scope, Send
from stickgen.studio.generate_tab import generate_tab
from stickgen.studio.runs_tab import runs_tab
from stickgen.studio.studio import Studio, in_one_line
from stickgen.studio.train_tab import train_tab

_TABS = (("Generate", generate_tab), ("Data", data_tab), ("Train", train_tab), ("Runs", runs_tab))
_LINKS = re.compile(rb'<link rel="manifest"[^>]*>|<meta\s[^>]*https?://[^>]*>')
_SYSTEM_FONTS = ["system-ui", "sans-serif"]
_FIXED_FONTS = ["ui-monospace", "monospace"]


def blocks(studio: Studio) -> gr.Blocks:
    """Return the page."""
    with gr.Blocks(title="stickgen studio", analytics_enabled=False, fill_width=True) as page:
        gr.HTML("<h1>stickgen studio</h1>", elem_id="title")
        with gr.Tabs():
            for name, lay_out in _TABS:
                with gr.Tab(name, id=name.lower()) as tab:
                    refreshed = lay_out(studio)
                for read, filled in refreshed:
                    seen = gr.State(None)
                    gr.on(
                        [page.load, tab.select],
                        in_one_line(_if_changed(read, len(filled))),
                        seen,
                        [*filled, seen],
                        show_progress="hidden",
                    )
    return page


def _if_changed(read: Callable[[], tuple[Any, ...]], count: int) -> Callable[[Any], tuple[Any, ...]]:
    """Return what fills lists anew, and leaves them alone where nothing has changed: someone may be choosing."""

    def refreshed(before: Any) -> tuple[Any, ...]:
        now = read()
        return (*(now if repr(now) != before else (gr.skip() for _ in range(count))), repr(now))

    return refreshed


def mount(app: FastAPI, page: gr.Blocks) -> None:
    """Add the page to an application."""
    look: dict[str, Any] = {
        "theme": gr.themes.Default(font=_SYSTEM_FONTS, font_mono=_FIXED_FONTS),
        "css": _resource("studio.css"),
        "head": f"<script>{_resource('studio.js')}</script>",
    }

    gr.mount_gradio_app(
        app, page, "/", show_error=True, max_file_size=0, ssr_mode=False, pwa=False, mcp_server=False,
        enable_monitoring=False, run_history=False, footer_links=[], **look,
    )  # fmt: skip


def _resource(name: str) -> str:
    return (files("stickgen.studio") / name).read_text(encoding="utf-8")


def without_links(app: App) -> App:
    """Return an application whose page links to nothing outside.

    Gradio's page links a manifest, which browsers fetch without cookies, and pictures of other hosts for those who
    share it.
    """

    async def own_page(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/":
            await app(scope, receive, send)
            return
        start: Message = {}
        parts: list[bytes] = []

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                body = _LINKS.sub(b"", b"".join(parts))
                headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                await send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
                await send({"type": "http.response.body", "body": body})

        plain = [(name, value) for name, value in scope["headers"] if name.lower() != b"accept-encoding"]
        await app({**scope, "headers": plain}, receive, collect)

    return own_page
