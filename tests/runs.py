"""Builders for tests that run the whole path: a small base on disk, settings of a short run, the two scripts."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stickgen import cli
from stickgen.artifacts.base import save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.model import StickFigureTransformer
from stickgen.sample import SAMPLE_INFO
from tests.warm import ROOT, Script, Stop


def make_base(path: Path, *, causal: bool = True, seed: int = 0) -> Path:
    """Write a small base with random weights, in the sample motion's text encoder."""
    torch.manual_seed(seed)
    model = StickFigureTransformer(
        d_model=48, nhead=4, num_layers=2, causal=causal, pose_output="velocity", pose_scale=0.005
    )
    record = BaseRecord(
        settings={},
        objective="causal" if causal else "bidirectional",
        text_encoder=SAMPLE_INFO["text_encoder"],
        origin={"seed": seed},
    )
    save_base(model, record, path)
    return path


def short_run(base: Path, **changes: object) -> list[str]:
    """Return overrides of a run of a few seconds; ``changes`` by key with ``__`` for the dot."""
    settings: dict[str, object] = {
        "base.checkpoint": base,
        "data.sample.clips": 24,
        "data.batch_size": 4,
        "trainer.accumulate_grad_batches": 2,
        "trainer.max_epochs": 1,
        "trainer.threads": 1,
        "trainer.accelerator": "cpu",
        "optimizer.lr": 1e-2,
        "callbacks.progress_bar": "false",
        "callbacks.show_motion.every_n_epochs": "null",
    }
    settings.update({key.replace("__", "."): value for key, value in changes.items()})
    return [f"{key}={value}" for key, value in settings.items()]


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the `stickgen` command in this process; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["stickgen", *map(str, arguments)])
    monkeypatch.setattr(cli, "pass_signals_on", lambda: None)  # this process's own stay as they are
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


def help_without(command: str, heavy: set[str]) -> str:
    """Return what `stickgen <command> --help` prints, having checked that it imports none of the heavy packages."""
    code = (
        f"import sys; sys.argv = ['stickgen', *{command.split()!r}, '--help']\n"
        "from stickgen.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"heavy = {heavy!r} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start_script(
    script: str, *overrides: str, cwd: Path, fresh: bool = False, stop: Stop | None = None
) -> "Script | subprocess.Popen[str]":
    """Start train.py or merge.py in a session of its own, to be stopped; its stderr can be read.

    Args:
        script: its name.
        overrides: its arguments.
        cwd: its working directory.
        fresh: start an interpreter for it, as a shell does, instead of forking one that has imported PyTorch. Launchers
            start further processes as this one was started, and so need that.
        stop: where it is to send itself a signal; None: nowhere.
    """
    if not fresh:
        return Script(script, overrides, cwd, environment(), stop)
    assert stop is None
    return subprocess.Popen(
        command(script, *overrides),
        cwd=cwd,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def await_that(condition: Callable[[], bool], process: "Script | subprocess.Popen[str]") -> None:
    """Wait until something is so, as long as the process lives that is to bring it about."""
    while not condition():
        assert process.poll() is None, f"it ended before it could be stopped: {process.communicate()[1]}"
        time.sleep(0.02)


def run_script(
    script: str, *overrides: str, cwd: Path, fresh: bool = False, stop: Stop | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run train.py or merge.py to its end; see :func:`start_script`."""
    if not fresh:
        process = Script(script, overrides, cwd, environment(**env), stop)
        out, err = process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)
    assert stop is None
    return subprocess.run(
        command(script, *overrides), cwd=cwd, env=environment(**env), capture_output=True, text=True, check=False
    )


def command(script: str, *overrides: str) -> list[str]:
    """Return the command line of a script."""
    return [sys.executable, str(ROOT / script), *overrides]


def environment(**changes: str) -> dict[str, str]:
    """Return this environment, with one thread a process and without the card's variables."""
    env = {key: value for key, value in os.environ.items() if key not in ("USE_LORA", "LORA_RANK", "HYDRA_FULL_ERROR")}
    return {**env, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **changes}
