"""Two commands at once: one of them waits, is refused in one line, or writes beside the other."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stickgen.artifacts.base import load_base
from stickgen.artifacts.run import read_checkpoint
from stickgen.locks import LOCK_FILE
from tests.runs import await_that, command, environment, make_base, run_script, short_run, start_script


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_base(tmp_path / "base.safetensors")


@pytest.fixture
def running(base: Path, tmp_path: Path) -> "Iterator[subprocess.Popen[str]]":
    """A run that has saved a step and would go on for long, in the folder ``run``."""
    overrides = short_run(base, trainer__max_epochs=400, callbacks__checkpoint_every_n_steps=1)
    process = start_script("train.py", *overrides, "hydra.run.dir=run", cwd=tmp_path)
    try:
        await_that((tmp_path / "run" / "checkpoints" / "last.ckpt").is_file, process)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_run_in_use_is_neither_begun_nor_resumed_again(
    running: "subprocess.Popen[str]", base: Path, tmp_path: Path
) -> None:
    held = json.loads((tmp_path / "run" / LOCK_FILE).read_text())
    assert held["pid"] == running.pid
    for arguments in ([*short_run(base), "hydra.run.dir=run"], ["resume=run"]):
        second = run_script("train.py", *arguments, cwd=tmp_path)
        assert second.returncode == 1
        lines = second.stderr.splitlines()
        assert len(lines) == 1
        assert lines[0].startswith(f"error: {tmp_path / 'run'}: in use by process {running.pid} on ")
        assert lines[0].endswith("; wait until it has ended, stop it, or choose another folder")
    assert running.poll() is None
    assert json.loads((tmp_path / "run" / LOCK_FILE).read_text()) == held

    # Ctrl-C saves, and says so; a killed run's lock does not stand in the way.
    running.send_signal(signal.SIGINT)
    said = running.communicate()[1]
    step = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt").steps
    assert said == f"error: SIGINT: stopped and saved at step {step}; stickgen train resume=run continues\n"
    assert running.returncode == 130
    assert not (tmp_path / "run" / LOCK_FILE).exists()


def test_a_sweep_in_use_is_not_begun_again(base: Path, tmp_path: Path) -> None:
    overrides = short_run(base, trainer__max_epochs=400, callbacks__checkpoint_every_n_steps=1)
    sweep = ["-m", *overrides, "lora.rank=1,2", "hydra.sweep.dir=jobs"]
    first = start_script("train.py", *sweep, cwd=tmp_path)
    try:
        await_that((tmp_path / "jobs" / "0" / "checkpoints" / "last.ckpt").is_file, first)
        record = (tmp_path / "jobs" / "multirun.yaml").read_bytes()
        second = run_script("train.py", *sweep[:-2], "lora.rank=3,4", sweep[-1], cwd=tmp_path)
        assert second.returncode == 1
        assert second.stderr.startswith(f"error: {tmp_path / 'jobs'}: in use by process {first.pid} on ")
        assert len(second.stderr.splitlines()) == 1
        assert (tmp_path / "jobs" / "multirun.yaml").read_bytes() == record
        alone = run_script("train.py", "resume=jobs/0", cwd=tmp_path)
        assert f"error: {tmp_path / 'jobs' / '0'}: in use by process {first.pid} on " in alone.stderr
    finally:
        first.kill()
        first.communicate()


def test_commands_that_write_one_file_at_once_leave_a_whole_one(base: Path, tmp_path: Path) -> None:
    code = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from stickgen.artifacts.base import load_base, save_base\n"
        "base = load_base(Path('base.safetensors'))\n"
        "with torch.no_grad():\n"
        "    for value in base.model.parameters(): value.fill_(float(sys.argv[1]))\n"
        "for _ in range(15): save_base(base.model, base.record, Path('out.pth'), overwrite=True)\n"
    )
    python = command("train.py")[0]
    writers = [
        subprocess.Popen([python, "-c", code, str(number)], cwd=tmp_path, env=environment()) for number in (1, 2, 3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    values = {
        float(value)
        for parameter in load_base(tmp_path / "out.pth").model.parameters()
        for value in parameter.flatten()
    }
    assert len(values) == 1
    assert [path.name for path in tmp_path.glob(".stickgen-*")] == []
