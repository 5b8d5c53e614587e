"""What the tabs of the studio share."""

import html
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import gradio as gr

from stickgen.artifacts.model import ModelOptions
from stickgen.errors import StickgenError
from stickgen.studio.browsing import OpenFiles
from stickgen.studio.folders import Folders
from stickgen.studio.generating import LoadedModels
from stickgen.studio.shelf import Shelf
from stickgen.studio.training import Jobs
from stickgen.studio.watching import Watch

log = logging.getLogger(__name__)

TORCH = "torch"
"""Name of the queue of everything that computes with a model: two at once would only slow each other down."""


@dataclass(frozen=True)
class Studio:
    """The state of a studio.

    Attributes:
        folders: what it may read and write.
        models: those in memory.
        files: the data files that are open.
        jobs: the runs that it has started.
        watch: the logs of the runs that are looked at.
        shelf: what the browser may fetch.
    """

    folders: Folders
    models: LoadedModels
    files: OpenFiles = field(default_factory=OpenFiles)
    jobs: Jobs = field(default_factory=Jobs)
    watch: Watch = field(default_factory=Watch)
    shelf: Shelf = field(default_factory=Shelf)

    @classmethod
    def of(cls, paths: Sequence[Path], options: ModelOptions) -> "Studio":
        """Return the studio of some folders and data files.

        Raises:
            ConfigError: a path is missing.
        """
        return cls(Folders(paths), LoadedModels(options))


def in_one_line(function: Callable[..., Any]) -> Callable[..., Any]:
    """Show what a handler raises as one line in the page, as the command line prints it; bugs go to the log too."""
    if inspect.isgeneratorfunction(function):

        @wraps(function)
        def steps(*values: Any) -> Iterator[Any]:
            try:
                yield from function(*values)
            except Exception as error:
                raise _shown(error) from None

        return steps

    @wraps(function)
    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except Exception as error:
            raise _shown(error) from None

    return call


def _shown(error: Exception) -> gr.Error:
    if isinstance(error, gr.Error):
        return error
    return gr.Error(html.escape(line_of(error)), duration=None, print_exception=False)


def line_of(error: Exception) -> str:
    """Return what is wrong, in one line; of a bug the log has the details."""
    if isinstance(error, StickgenError):
        text = str(error)
    elif isinstance(error, OSError):
        text = ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    else:
        log.error("the studio failed", exc_info=error)
        text = f"stickgen failed ({type(error).__name__}); the terminal has the details"
    return " ".join(text.split())


def frame(address: str, title: str, kind: str = "player") -> str:
    """Return a page that the studio made, as a part of another one.

    Args:
        address: of the page.
        title: for screen readers.
        kind: "player", which is as high as its page, or "clips", which scrolls.
    """
    # The page's own policy lets nothing run in it but its script.
    whole = " onload=\"this.style.height = this.contentDocument.documentElement.scrollHeight + 'px'\""
    return (
        f'<iframe class="{kind}" src="{html.escape(address)}" title="{html.escape(title)}"'
        f"{whole if kind == 'player' else ''}></iframe>"
    )


def status(text: str) -> str:
    """Return a line that screen readers read out when it changes."""
    return f'<p role="status" class="status">{html.escape(text)}</p>'


def lines_of(text: str) -> list[str]:
    """Return the lines of a text that are not empty, each with single spaces."""
    return [line for given in text.splitlines() if (line := " ".join(given.split()))]
