"""Every command of the README and of the pages for users, run or parsed: ``python -m tests.documentation``.

A page's commands and Python blocks run in order, in a folder that has what its reader has (``files.py``), each forked
from a process that has imported everything. Trainings are cut to one step, generated motion to a fraction of a second.
Commands in sentences and tables, and those of ``LISTED``, are parsed: their programs, options and settings exist.
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch: a fork of a process with OpenMP threads waits for them for ever

from tests.documentation.files import import_all, make_files
from tests.documentation.pages import FIRST, LISTED, PARSED, RUN, Command, commands_of
from tests.documentation.parse import parse
from tests.documentation.run import run


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
            without = shutil.ignore_patterns("outputs") if page in FIRST else None
            shutil.copytree(made, folder, symlinks=True, ignore=without)
        for command in commands_of(page):
            used |= {command.listed} if command.listed else set()
            runs = made is not None and command.runs
            started = time.monotonic()
            problem = run(command, folder) if runs else parse(command)
            if runs:
                sys.stderr.write(
                    f"{time.monotonic() - started:6.1f} s  {command.place}  {command.text.splitlines()[0]}\n"
                )
            ran, parsed = ran + runs, parsed + (not runs)
            if problem is not None:
                wrong.append(f"{command.place}: {command.text}\n{problem}")
    return wrong, ran, parsed, used


def main() -> None:
    """Check all pages, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m tests.documentation", description=__doc__)
    parser.add_argument("pages", nargs="*", type=Path, help="default: all")
    parser.add_argument("--jobs", type=int, default=2, help="pages at once")
    options = parser.parse_args()
    pages = [page.resolve() for page in options.pages]
    runs, parsed_only = ([page for page in kind if not pages or page in pages] for kind in (RUN, PARSED))
    import_all()
    with (
        tempfile.TemporaryDirectory() as made,
        ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("fork")) as pool,
    ):
        make_files(Path(made), _run_or_raise)
        results = [*pool.map(partial(check, made=Path(made)), runs), *pool.map(check, parsed_only)]
    wrong = [problem for result in results for problem in result[0]]
    unused = set() if pages else set(LISTED) - {part for result in results for part in result[3]}
    wrong += [f"tests/documentation/pages.py: LISTED: no page has a command with {part!r}" for part in sorted(unused)]
    sys.stdout.write("".join(f"{problem}\n\n" for problem in wrong))
    counts = [sum(result[i] for result in results) for i in (1, 2)]  # type: ignore[misc]
    sys.stdout.write(
        f"commands of {len(results)} pages: {counts[0]} ran, {counts[1]} were parsed, {len(wrong)} wrong\n"
    )
    raise SystemExit(bool(wrong))


def _run_or_raise(folder: Path, text: str) -> None:
    if (problem := run(Command("tests/documentation/files.py", text, "command"), folder)) is not None:
        raise RuntimeError(f"{text}: {problem}")


if __name__ == "__main__":
    main()
