"""Running a command of a page, cut short."""

import multiprocessing
import os
import re
import runpy
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import stickgen
from tests.documentation.files import GIVEN
from tests.documentation.pages import ROOT, Command

SHORT = {
    "train": [
        "trainer.max_steps=1", "trainer.threads=1", "data.max_frames=40", "data.sample.clips=12",
        "callbacks.progress_bar=false", "callbacks.show_motion.every_n_epochs=null",
    ],
    "generate": ["--seconds", "0.4", "--size", "64"],
    "compare": ["--seconds", "0.4", "--clips", "1"],
    "evaluate": ["--max-frames", "40"],
    "prepare": ["--encoder", "sentence-transformers/all-MiniLM-L6-v2"],
}  # fmt: skip
"""What is added to a command, so that it takes a second and no network."""

_BASE = "base.checkpoint=assets/cmu_base.safetensors"
"""The small base in the shipped one's place, for trainings that name none."""

SECONDS = 300
"""No command takes as long; a machine under load needs ten times what a free one does."""


def run(command: Command, folder: Path) -> str | None:
    """Run a command in a folder; return what is wrong, or None."""
    if command.kind == "python":
        return _forked(_be_python, command.text, folder)
    program, *arguments = command.words
    added = SHORT.get(program if program == "train" else arguments[0] if arguments else "", [])
    if program == "train" and not re.search(r"base\.checkpoint|pretrain", command.text):
        added = [*added, _BASE]
    if program == "train":
        time.sleep(1 - time.time() % 1)  # a run's folder is named by the second, and a reader's runs are further apart
    if " -m " in command.text:
        added = [*added, "hydra.sweep.dir=outputs/grid-sweep/2026-01-31_12-00-00"]  # as the pages call it
    return _forked(_be, program, [*_globbed(arguments, folder), *added], folder)


def _forked(target: Callable[..., None], *arguments: Any) -> str | None:
    """Run a function in a fork, in the folder that is its last argument; return what is wrong, or None."""
    with tempfile.NamedTemporaryFile() as output:
        child = multiprocessing.get_context("fork").Process(target=_begin, args=(output.name, target, arguments))
        child.start()
        child.join(SECONDS)
        if child.exitcode is None:
            child.kill()
            return f"did not end within {SECONDS} s"
        said = Path(output.name).read_text(encoding="utf-8", errors="replace")
        return None if child.exitcode == 0 else f"exit status {child.exitcode}\n{said[-3000:]}"


def _begin(output: str, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    handle = os.open(output, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", encoding="utf-8", closefd=False) for stream in (1, 2))
    os.chdir(arguments[-1])
    target(*arguments)


def _globbed(arguments: list[str], folder: Path) -> list[str]:
    """Return the arguments as a shell passes them."""
    found = [sorted(str(path.relative_to(folder)) for path in folder.glob(a)) if "*." in a else [a] for a in arguments]
    return [argument for several in found for argument in several]


def _be(program: str, arguments: list[str], folder: Path) -> None:
    script = ROOT / "stickgen" / "__main__.py" if program == "stickgen" else ROOT / f"{program}.py"
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")


def _be_python(code: str, folder: Path) -> None:
    fit = stickgen.fit
    stickgen.fit = lambda overrides: fit([*overrides, *SHORT["train"], _BASE])
    exec(code, {**GIVEN})
