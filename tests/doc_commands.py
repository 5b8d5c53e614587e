"""Every command of the README and of the pages for users, run or parsed: ``python -m tests.doc_commands``.

A page's commands run in order, in a folder that has what its reader has (``tests/doc_files.py``), each forked from this
process, which has imported everything. Trainings are cut to one step, generated motion to a fraction of a second.
Commands inside sentences and tables, and those of ``LISTED``, are parsed: their programs, options and settings exist.
"""

import argparse
import multiprocessing
import os
import re
import runpy
import shlex
import shutil
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

RUN = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in (
        "index", "training", "generating", "evaluating", "publishing", "scaling", "adapters", "coming-from", "data",
        "first-run",
    )),
]  # fmt: skip
PARSED = [
    *(DOCS / f"{name}.md" for name in ("pretraining", "results", "performance", "reliability")),
    ROOT / "assets" / "README.md",
    *sorted(DOCS.glob("tutorials/*.md")),
]
"""Their commands take hours, or data that is not here; those of the tutorials run as notebooks."""

LISTED = {
    "python3 -m venv": "makes an environment; .ci/run runs the README's",
    "source ": "of the shell",
    "pip install": "of the environment; its extras are looked up",
    "tensorboard ": "runs until it is stopped",
    "-m pytest": "the tests themselves",
    "python benchmarks/": "takes long; tests/test_benchmarks.py",
    "tests.campaign": "takes hours",
    "launcher=joblib": "jobs in processes of their own; tests/sweeps/test_jobs.py",
    "sweep=grid lora.rank": "many jobs; tests/sweeps/test_jobs.py",
    "trainer=ddp": "several devices or processes; tests/test_ddp.py",
    "resume=": "continues a run that was stopped; tests/test_resume.py",
    "#!/bin/bash": "a job of SLURM",
}
"""What a command contains that is not run, and why; train.py, merge.py and stickgen are still parsed."""

SHORT = {
    "train": [
        "trainer.max_steps=1", "trainer.threads=1", "data.max_frames=30", "data.sample.clips=12",
        "callbacks.progress_bar=false", "callbacks.show_motion.every_n_epochs=null",
    ],
    "generate": ["--seconds", "0.4", "--size", "64"],
    "compare": ["--seconds", "0.4", "--clips", "1"],
    "evaluate": ["--max-frames", "40"],
    "prepare": ["--encoder", "sentence-transformers/all-MiniLM-L6-v2"],
}  # fmt: skip
"""What is added to a command, so that it takes a second and no network."""

SECONDS = 300
"""No command takes as long; a machine under load needs ten times what a free one does."""


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        place: page and line.
        text: the command, on one line.
        block: whether it is in a block of its own, and not inside a sentence or table.
    """

    place: str
    text: str
    block: bool

    @property
    def words(self) -> list[str]:
        """Its words, the program first: train, merge or the first word; then the arguments."""
        words = shlex.split(self.text, comments=True)
        program = re.fullmatch(r"(?:\.venv/bin/)?python (train|merge)\.py", " ".join(words[:2]))
        if program is not None:
            return [program[1], *words[2:]]
        if words[0] == "stickgen" and words[1:2] in (["train"], ["merge"]):
            return words[1:]
        return words

    @property
    def listed(self) -> str | None:
        """The entry of ``LISTED`` that it is not run by; None: it is run."""
        return next((part for part in LISTED if part in self.text), None)


def commands_of(page: Path) -> Iterator[Command]:
    """Yield the commands of a page.

    Raises:
        ValueError: a block names no language, so that nobody knows whether it holds commands.
    """
    name = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
    language, script, text = None, False, ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence := re.match(r"\s*```(.*)", line):
            if language is None and not fence[1]:
                raise ValueError(f"{name}:{number}: a block without a language; write ```bash or ```text")
            language = fence[1] if language is None else None
            script = False
            continue
        if language is None:
            for inline in re.findall(r"`((?:python (?:train|merge)\.py|stickgen [a-z-]+)(?: [^`]*)?)`", line):
                yield Command(f"{name}:{number}", inline.replace("\\|", "|"), block=False)
            continue
        if language == "console" and not text:
            line = line[2:] if line.startswith("$ ") else ""
        if language not in ("bash", "console") or script:
            continue
        text += line.strip()
        script = text.startswith("#!")
        if text.endswith("\\"):
            text = text[:-1]
            continue
        if text and (script or not text.startswith("#")):
            for part in text.split(" && "):
                yield Command(f"{name}:{number}", part, block=True)
        text = ""


def run(command: Command, folder: Path) -> str | None:
    """Run a command in a folder; return what is wrong, or None."""
    program, *arguments = command.words
    added = SHORT.get(program if program == "train" else arguments[0] if arguments else "", [])
    if program == "train" and not re.search(r"base\.checkpoint|pretrain", command.text):
        added = [*added, "base.checkpoint=assets/cmu_base.safetensors"]
    with tempfile.NamedTemporaryFile() as output:
        child = multiprocessing.get_context("fork").Process(
            target=_be, args=(program, [*_globbed(arguments, folder), *added], folder, output.name)
        )
        child.start()
        child.join(SECONDS)
        if child.exitcode is None:
            child.kill()
            return f"did not end within {SECONDS} s"
        said = Path(output.name).read_text(encoding="utf-8", errors="replace")
        return None if child.exitcode == 0 else f"exit status {child.exitcode}\n{said[-3000:]}"


def _globbed(arguments: list[str], folder: Path) -> list[str]:
    """Return the arguments as a shell passes them."""
    found = [sorted(str(path.relative_to(folder)) for path in folder.glob(a)) if "*." in a else [a] for a in arguments]
    return [argument for several in found for argument in several]


def _be(program: str, arguments: list[str], folder: Path, output: str) -> None:
    handle = os.open(output, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.chdir(folder)
    script = ROOT / "stickgen" / "__main__.py" if program == "stickgen" else ROOT / f"{program}.py"
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")


def parse(command: Command) -> str | None:
    """Look up the program, the options and the settings of a command; return what is wrong, or None."""
    program, *arguments = command.words
    arguments = [argument for argument in arguments if argument not in ("…", "X")]
    if program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = {name for part in re.findall(r"\[(.+?)\]", command.text) for name in part.split(",")}
        return f"no such extras: {sorted(named - set(extras))}" if named - set(extras) else None
    if program == "stickgen":
        return _parse_typer(arguments)
    if program in ("train", "merge"):
        return _parse_hydra(program, arguments)
    return None if command.listed else "neither run nor listed in tests/doc_commands.py"


def _parse_typer(arguments: list[str]) -> str | None:
    import typer
    from typer.testing import CliRunner  # noqa: F401  # typer's own parser, below

    from stickgen.cli import app

    group = typer.main.get_command(app)
    name, *rest = arguments
    if name.startswith("-"):
        return None
    found = group.commands.get(name)  # type: ignore[attr-defined]
    if found is None:
        return f"no such command: stickgen {name}"
    try:
        found.make_context(name, list(rest))
    except typer.BadParameter.__mro__[1] as error:
        missing = type(error).__name__ == "MissingParameter"  # a sentence may leave out what a command needs
        return None if missing else f"stickgen {name}: {error.format_message()}"  # type: ignore[attr-defined]
    return None


def _parse_hydra(program: str, arguments: list[str]) -> str | None:
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import open_dict
    from omegaconf.errors import OmegaConfBaseException

    from stickgen.config import MergeConfig, TrainConfig, typed
    from stickgen.errors import StickgenError

    overrides = []
    try:
        for override in OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")]):
            first = next(override.sweep_string_iterator()) if override.is_discrete_sweep() else None
            overrides.append(override.input_line if first is None else f"{override.get_key_element()}={first}")
        overrides = [override for override in overrides if not override.startswith("resume=")]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            composed = compose(program, overrides, return_hydra_config=True)
        with open_dict(composed):
            del composed["hydra"]
            composed["run_dir" if program == "train" else "verify_batches"] = "run" if program == "train" else 1
        typed(composed, TrainConfig if program == "train" else MergeConfig)
    except (HydraException, OmegaConfBaseException, StickgenError) as error:
        return str(error)
    return None


def check(page: Path, made: Path | None = None) -> tuple[list[str], int, int, set[str]]:
    """Check a page's commands.

    Args:
        page: the page.
        made: the folder that a reader has; None: parse only.

    Returns:
        what is wrong, how many commands ran, how many were parsed, and the entries of ``LISTED`` that were used.
    """
    wrong: list[str] = []
    ran = parsed = 0
    used: set[str] = set()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "reader"
        if made is not None:
            shutil.copytree(made, folder, symlinks=True)
        for command in commands_of(page):
            used |= {command.listed} if command.listed else set()
            runs = made is not None and command.block and command.listed is None and command.words[0] in _PROGRAMS
            started = time.process_time() + sum(os.times()[2:4])
            problem = run(command, folder) if runs else parse(command)
            spent = time.process_time() + sum(os.times()[2:4]) - started
            sys.stderr.write(f"{spent:6.1f} s  {command.place}  {command.text}\n")
            ran, parsed = ran + runs, parsed + (not runs)
            if problem is not None:
                wrong.append(f"{command.place}: {command.text}\n{problem}")
    return wrong, ran, parsed, used


_PROGRAMS = ("train", "merge", "stickgen")


def main() -> None:
    """Check all pages, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.doc_commands", description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, help="default: all")
    parser.add_argument("--jobs", type=int, default=2, help="pages at once")
    options = parser.parse_args()
    pages = [page.resolve() for page in options.pages]
    runs, parsed_only = ([page for page in kind if not pages or page in pages] for kind in (RUN, PARSED))
    from tests.doc_files import import_all, make_files

    import_all()
    with tempfile.TemporaryDirectory() as made, ProcessPoolExecutor(
        options.jobs, mp_context=multiprocessing.get_context("fork")
    ) as pool:
        make_files(Path(made), _run_or_raise)
        results = [*pool.map(partial(check, made=Path(made)), runs), *pool.map(check, parsed_only)]
    wrong = [problem for result in results for problem in result[0]]
    unused = set() if pages else set(LISTED) - {part for result in results for part in result[3]}
    wrong += [f"tests/doc_commands.py: LISTED: no page has a command with {part!r}" for part in sorted(unused)]
    sys.stdout.write("".join(f"{problem}\n\n" for problem in wrong))
    counts = [sum(result[i] for result in results) for i in (1, 2)]  # type: ignore[misc]
    sys.stdout.write(f"commands of {len(results)} pages: {counts[0]} ran, {counts[1]} were parsed, {len(wrong)} wrong\n")
    raise SystemExit(bool(wrong))


def _run_or_raise(folder: Path, text: str) -> None:
    if (problem := run(Command("tests/doc_files.py", text, block=True), folder)) is not None:
        raise RuntimeError(f"{text}: {problem}")


Runner = Callable[[Path, str], None]


if __name__ == "__main__":
    main()
