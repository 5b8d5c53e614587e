"""Jobs that submitit runs on this machine end with their sweep, wherever the signal meets them."""

import os
import signal
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.runs import await_that, short_run, start_script

pytestmark = [
    pytest.mark.skipif(find_spec("submitit") is None, reason="needs the extra stickgen[sweep]"),
    pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux's list of processes"),
]


def jobs_of(sweep: Path) -> list[str]:
    """Return the process ids of the jobs that run; submitit's folders are named after those that wait for them."""
    controllers = [folder.name for folder in sweep.glob(".submitit/*") if folder.name.isdigit()]
    children = [Path(f"/proc/{controller}/task/{controller}/children") for controller in controllers]
    return [job for path in children if path.exists() for job in path.read_text().split()]


@pytest.mark.parametrize("reached", ["0", "0/checkpoints/last.ckpt"], ids=["starting", "training"])
def test_a_sweep_that_is_stopped_ends_its_jobs(base: Path, tmp_path: Path, reached: str) -> None:
    """A job's folder is there before PyTorch is imported: until then submitit lets the signal pass."""
    process = start_script(
        "train.py",
        "-m",
        "launcher=submitit_local",
        *short_run(base, trainer__max_epochs=1000),
        "lora.rank=2",
        "hydra.sweep.dir=jobs",
        cwd=tmp_path,
        fresh=True,
    )
    sweep = tmp_path / "jobs"
    try:
        await_that((sweep / reached).exists, process)
        jobs = jobs_of(sweep)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate()[1]
        left = [job for job in jobs if Path("/proc", job).exists()]
    finally:
        with suppress(ProcessLookupError):  # none is left, as it should be
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.splitlines()[-1] == "error: SIGTERM: stopped"
    assert "Traceback" not in errors
    assert len(jobs) == 1
    assert left == []
    said = "".join(path.read_text() for path in sweep.glob(".submitit/*/*_log.err"))
    assert "error: SIGTERM: stopped" in said
    assert "stopped and saved at step" in said or reached == "0"  # which may have come to its training, or not
