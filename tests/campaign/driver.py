"""Runs commands with faults and looks at what they leave."""

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from stickgen.locks import SCRATCH
from tests.campaign.commands import Command, bytes_of, final_files, is_log, make_template, meaning

ROOT = Path(__file__).resolve().parents[2]
CLEANING = "unlink"
"""A boundary whose failing loses nothing: what was written has its name, or is thrown away."""


class Server:
    """The process that commands are forked from."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        for name in ("USE_LORA", "LORA_RANK", "HYDRA_FULL_ERROR", "SLURM_JOB_ID"):
            environment.pop(name, None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.campaign.server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
            cwd=ROOT,
        )  # fmt: skip
        self._writing = threading.Lock()
        self._waiting: dict[int, queue.Queue[int]] = {}
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), f"the server ended with status {self._process.wait()}"
        threading.Thread(target=self._listen, daemon=True).start()

    def run(self, **request: Any) -> int:
        """Run a command and return its exit status; several threads may."""
        assert self._process.stdin is not None
        answer: queue.Queue[int] = queue.Queue()
        with self._writing:
            number = len(self._waiting)
            self._waiting[number] = answer
            self._process.stdin.write(json.dumps({**request, "id": number}) + "\n")
            self._process.stdin.flush()
        return answer.get()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            self._waiting[answer["id"]].put(answer["status"])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass
class Layout:
    """Where a campaign writes.

    Attributes:
        name: in the matrix.
        work: the folder that commands write in.
        temporary: the system's temporary folder for them.
    """

    name: str
    work: Path
    temporary: Path


@dataclass
class Found:
    """What the faults of one command came to, on one layout."""

    command: str
    layout: str
    boundaries: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    old: int = 0
    new: int = 0
    repeated: int = 0
    failures: list[str] = field(default_factory=list)


class Campaign:
    """Faults of commands on one layout.

    Args:
        server: what runs the commands.
        layout: where.
        template: the folder that every command starts from, see :func:`~tests.campaign.commands.make_template`.
    """

    def __init__(self, server: Server, layout: Layout, template: Path) -> None:
        self.server, self.layout, self.template = server, layout, template
        self.older = {name: bytes_of(path) for name, path in final_files(template).items()}
        self._whole: dict[str, dict[str, Any]] = {}
        self.passed: dict[str, list[tuple[str, str]]] = {}

    def boundaries(self, command: Command) -> list[tuple[str, str]]:
        """Run a command without a fault, and return its write boundaries."""
        work = self._fresh()
        trace = self.layout.work / "trace"
        status = self._run(work, command.line, trace=str(trace))
        assert status == 0, f"{command.name}: {self._said()}"
        self._whole[command.name] = {
            name: meaning(path) for name, path in final_files(work).items() if bytes_of(path) != self.older.get(name)
        }
        assert self._whole[command.name], f"{command.name}: writes nothing"
        passed: list[list[str]] = json.loads(trace.read_text())
        self.passed[command.name] = [(what, os.path.relpath(where, work)) for what, where in passed]
        return self.passed[command.name]

    def known(self, other: "Campaign", command: Command) -> None:
        """Take over what another campaign has learned of a command."""
        self._whole[command.name], self.passed[command.name] = other._whole[command.name], other.passed[command.name]

    def inject(self, command: Command, at: int, kind: str, found: Found, *, repeat: bool = True) -> None:
        """Run a command with one fault, and look at what is left.

        Args:
            command: see :data:`~tests.campaign.commands.COMMANDS`; :meth:`boundaries` has been asked for it.
            at: the boundary, from 1.
            kind: of :data:`~tests.campaign.faults.KINDS`.
            found: takes what was found.
            repeat: also continue or repeat the command, and compare its outputs with those of one in one go.
        """
        what, where = self.passed[command.name][at - 1]
        try:
            self._one(command, at, kind, what, found, repeat=repeat)
        except AssertionError as error:
            label = f"{command.name}, {self.layout.name}: {kind} at boundary {at} ({what} {where})"
            found.failures.append(f"{label}: {error}")
        found.faults[kind] += 1

    def _one(self, command: Command, at: int, kind: str, what: str, found: Found, *, repeat: bool) -> None:
        work = self._fresh()
        status = self._run(work, command.line, at=at, kind=kind)
        said = self._said()
        assert "Traceback" not in said, f"a traceback: {said[-900:]}"
        assert status != 124, "it hung"
        new = self._states(command, work, found)
        if kind == "kill":
            assert status == -signal.SIGKILL, f"status {status}"
        elif status == 0:  # cleaning up, or a log: everything that was asked for has to be there
            missing = self._whole[command.name].keys() - new
            assert not missing, f"silent: status 0, and {sorted(missing)} not written"
        else:
            lines = [line for line in said.splitlines() if line.startswith("error: ")]
            assert len(lines) == 1, f"{len(lines)} lines of error: {said[-900:]}"
            assert re.match(r"error: \S+: \S", lines[0]), f"no file is named: {lines[0]}"
            assert SCRATCH not in lines[0], f"a temporary file is named: {lines[0]}"
            left = list(work.rglob(f"{SCRATCH}*"))
            assert not left or what == CLEANING, f"left over: {left}"
        if repeat:
            self._repeat(command, work, found)

    def _states(self, command: Command, work: Path, found: Found) -> set[str]:
        """Check that every final file is the old or the new one; return the names of the new."""
        new = set()
        present = final_files(work)
        lost = self.older.keys() - present.keys()
        assert not lost, f"lost: {sorted(lost)}"
        whole = self._whole[command.name]
        for name, path in present.items():
            if bytes_of(path) == self.older.get(name):
                found.old += 1
                continue
            try:
                read = meaning(path)
            except Exception as error:
                raise AssertionError(f"{name} is neither old nor new: {error}") from None
            if path.suffix != ".ckpt" and name in whole:  # checkpoints of earlier steps are new ones too
                assert read == whole[name], f"{name} is another one"
            found.new += 1
            new.add(name)
        return new

    def _repeat(self, command: Command, work: Path, found: Found) -> None:
        """Continue or repeat a command, which has to come to what it would have come to."""
        line = command.again or command.line
        if command.resumes is not None:
            run = work / command.resumes
            if any((run / "checkpoints").glob("*.ckpt")):
                line = ["train.py", f"resume={command.resumes}", "trainer.max_epochs=2"]
        status = self._run(work, line)
        assert status == 0, f"repeated: status {status}: {self._said()[-900:]}"
        files = final_files(work)
        for name, wanted in self._whole[command.name].items():
            assert name in files, f"repeated: {name} is missing"
            assert meaning(files[name]) == wanted, f"repeated: {name} is another one"
        left = [str(path.relative_to(work)) for path in work.rglob(f"{SCRATCH}*")]
        assert not left, f"repeated: left over: {left}"
        found.repeated += 1

    def _fresh(self) -> Path:
        work = self.layout.work / "work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(self.template, work)
        shutil.rmtree(self.layout.temporary, ignore_errors=True)
        self.layout.temporary.mkdir(parents=True)
        return work

    def _run(self, work: Path, line: list[str], **fault: Any) -> int:
        return self.server.run(
            command=line, cwd=str(work), roots=[str(work), str(self.layout.temporary)], said=str(self._said_path()),
            env={"TMPDIR": str(self.layout.temporary)}, **fault,
        )  # fmt: skip

    def _said_path(self) -> Path:
        return self.layout.work / "said"

    def _said(self) -> str:
        return self._said_path().read_text(errors="replace")


def thinned(command: Command, passed: list[tuple[str, str]]) -> list[int]:
    """Return the numbers of a command's boundaries; of a file's writes in a row the first, the middle and the last.

    A log is opened and written for a value at a time, and all that is the same: of these three are taken, too.
    """

    def place(numbered: tuple[int, tuple[str, str]]) -> tuple[str, str]:
        what, where = numbered[1]
        return ("", where) if what in ("open", "write") and is_log(Path(where)) else (what, where)

    numbers: list[int] = []
    for (_, where), group in groupby(enumerate(passed, 1), key=place):
        if command.logs_only and not is_log(Path(where)):
            continue
        run = [number for number, _ in group]
        numbers += run if len(run) <= 3 else [run[0], run[len(run) // 2], run[-1]]
    return numbers


def template(server: Server, folder: Path) -> Path:
    """Make the folder that every command starts from."""
    made = folder / "template"
    made.mkdir(parents=True)
    temporary = folder / "temporary"
    temporary.mkdir()

    def run(line: list[str]) -> None:
        said = folder / "said"
        status = server.run(
            command=line, cwd=str(made), roots=[str(folder / "nowhere")], said=str(said), env={"TMPDIR": str(temporary)}
        )
        assert status == 0, f"{line}: {said.read_text()}"

    make_template(made, run)
    return made
