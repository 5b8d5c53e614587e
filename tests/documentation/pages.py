"""The pages, their commands, and which of them are run."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

RUN = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in (
        "index", "training", "generating", "evaluating", "publishing", "scaling", "adapters", "coming-from",
        "preparing", "video", "data", "first-run", "studio",
    )),
]  # fmt: skip
FIRST = (ROOT / "README.md", DOCS / "index.md")
"""Their readers have no run yet."""

PARSED = [
    *(DOCS / f"{name}.md" for name in ("pretraining", "results", "performance", "reliability")),
    ROOT / "assets" / "README.md",
    *sorted(DOCS.glob("tutorials/*.md")),
]
"""Their commands take hours, or data that is not here; those of the tutorials run as notebooks."""

LISTED = {
    r"^#!/bin/bash": "a job of SLURM",
    r"^python3 -m venv|^source ": "make and enter an environment; .ci/run does",
    r"^pip install|/pip install": "of the environment; the extras are looked up",
    r"^tensorboard |http\.server": "runs until it is stopped",
    r"^stickgen studio|^ssh ": "runs until it is stopped; tests/studio/test_pages.py",
    r"^npm install|^stickgen export web": "needs a package of npm; tests/export/test_web.py",
    r"\[3\] A person": "its parts are longer than what is left of cut motion; tests/generation/test_generate.py",
    r"-m pytest|tests\.campaign": "the tests themselves",
    r"^python benchmarks/": "takes long; tests/test_benchmarks.py",
    r"^import json\nfrom ultralytics ": "a program that finds keypoints; tests/mocap/importers/test_keypoints.py",
    r"--pose-model": "needs weights of MediaPipe; tests/mocap/importers/test_video.py",
    r"launcher=joblib|sweep=grid lora\.rank": "many jobs; tests/sweeps/test_jobs.py",
    r"lora\.layers=": "layers of a base that has eight; tests/training/test_frozen.py",
    r"trainer=ddp": "several devices or processes; tests/test_ddp.py",
    r"resume=": "continues a run that was stopped; tests/test_resume.py",
    r"^for .*do$|^done$|^\w+=\S+$": "of the shell",
}
"""What commands are not run, and why. Those of train.py, merge.py and stickgen are still parsed."""


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        place: page and line.
        text: the command, on one line; or the lines of Python.
        kind: "command" in a block, "python" in a block, "inline" in a sentence or table.
    """

    place: str
    text: str
    kind: str

    @property
    def words(self) -> list[str]:
        """Its words, the program first: train, merge or the first word; then the arguments."""
        words = shlex.split(re.sub(r"\$\w+", "1", self.text), comments=True) or [self.text]
        program = re.fullmatch(r"(?:\.venv/bin/)?python (train|merge)\.py", " ".join(words[:2]))
        if program is not None:
            return [program[1], *words[2:]]
        if words[0] == "stickgen" and words[1:2] in (["train"], ["merge"]):
            return words[1:]
        return words

    @property
    def runs(self) -> bool:
        """Whether it is run where its reader's files are, and not only parsed."""
        known = self.kind == "python" or self.words[0] in ("train", "merge", "stickgen")
        return known and self.kind != "inline" and self.listed is None

    @property
    def listed(self) -> str | None:
        """The entry of ``LISTED`` that it is not run by; None: it is run."""
        return next((pattern for pattern in LISTED if re.search(pattern, self.text)), None)


def commands_of(page: Path) -> Iterator[Command]:
    """Yield the commands of a page.

    Raises:
        ValueError: a block names no language, so that nobody knows whether it holds commands.
    """
    name = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
    language, text, begun = None, "", 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence := re.match(r"\s*```(.*)", line):
            if language is None and not fence[1]:
                raise ValueError(f"{name}:{number}: a block without a language; write ```bash or ```text")
            if text:
                yield Command(f"{name}:{begun}", text, "python" if language == "python" else "command")
            language, text, begun = fence[1] if language is None else None, "", number + 1
        elif language is None:
            for inline in re.findall(r"`((?:python (?:train|merge)\.py|stickgen [a-z-]+)(?: [^`]*)?)`", line):
                yield Command(f"{name}:{number}", inline.replace("\\|", "|"), "inline")
        elif language == "python" or text.startswith("#!") or (line.startswith("#!") and not text):
            text += f"{line}\n"
        elif language == "bash" or (language == "console" and (text or line.startswith("$ "))):
            text += line.removeprefix("$ ").strip()
            if text.endswith("\\"):
                text = text[:-1]
                continue
            for part in text.split(" && ") if text and not text.startswith("#") else []:
                yield Command(f"{name}:{number}", part, "command")
            text = ""
