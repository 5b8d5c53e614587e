"""Sweeps from the shell: launchers, failing jobs, and sweeps that are started again in their folder."""

import json
import os
import re
import signal
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stickgen.artifacts.run import RunFolder, read_json
from stickgen.errors import ConfigError
from stickgen.sweeps.job import fit_job
from tests.campaign.sizes import NIGHTLY
from tests.runs import Stop, await_that, make_base, run_script, short_run, start_script

JOBS = {"hydra.sweep.dir": "jobs"}
IN_TURN = ("callbacks.progress_bar=false", "trainer.threads=1")

needs_launchers = pytest.mark.skipif(
    find_spec("hydra_plugins.hydra_joblib_launcher") is None, reason="needs the extra stickgen[sweep]"
)


def _adapters(sweep: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {
        path.parent.parent.name: load_file(path) for path in sorted(sweep.glob("*/adapter/adapter_model.safetensors"))
    }


@pytest.fixture(scope="module")
def grid(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a sweep that ran in turn, with one job whose settings are impossible."""
    cwd = tmp_path_factory.mktemp("grid")
    values = ["lora.rank=2,4", "lora.alpha=8,-1"]
    done = run_script("train.py", "sweep=grid", *values, *short_run(base, **JOBS), cwd=cwd)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: lora.alpha=-1.0: a number above 0 expected"
    assert re.search(r"best of 4 jobs: [02], val/pose_mse \S+, with lora\.rank=[24] lora\.alpha=8\b", done.stdout)
    assert "compare: stickgen sweep-report jobs\n" in done.stdout
    assert "watch:   tensorboard --logdir jobs/tensorboard\n" in done.stdout
    return cwd / "jobs"


def test_a_job_that_fails_leaves_its_line_and_the_others_run(grid: Path) -> None:
    assert sorted(_adapters(grid)) == ["0", "2"]
    for job in "13":
        assert (grid / job / "error.txt").read_text() == "lora.alpha=-1.0: a number above 0 expected\n"


def test_tensorboard_calls_jobs_by_what_is_varied(grid: Path) -> None:
    names = {"lora.rank=2,lora.alpha=8": "0", "lora.rank=4,lora.alpha=8": "2"}
    links = {path.name: path.resolve().parent.name for path in (grid / "tensorboard").iterdir()}
    assert links == names
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.plugin_event_multiplexer")
    multiplexer = accumulator.EventMultiplexer().AddRunsFromDirectory(str(grid / "tensorboard"))
    assert set(multiplexer.Runs()) == set(names)
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    multiplexer.Reload()
    for name in names:
        content = multiplexer.GetAccumulator(name).PluginTagToContent("hparams")["_hparams_/experiment"]
        infos = plugin.HParamsPluginData.FromString(content).experiment.hparam_infos
        assert {info.name for info in infos if info.differs} >= {"lora.rank", "lora.alpha"}


def test_a_job_records_the_command_that_runs_it_alone(grid: Path) -> None:
    recorded = json.loads(RunFolder(grid / "2").environment.read_text())["command"]
    assert recorded.startswith("stickgen train lora.rank=4 lora.alpha=8 base.checkpoint=")
    assert "sweep=" not in recorded


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("joblib", marks=needs_launchers),
        pytest.param(
            "submitit_local",
            marks=[
                needs_launchers,
                pytest.mark.skipif(not NIGHTLY, reason="the requeued job below goes through it too"),
            ],
        ),
        # One that is started here, in a venv of its own (.ci/run).
        pytest.param("ray", marks=pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra stickgen[ray]")),
    ],
)
def test_jobs_beside_each_other_are_those_in_turn(grid: Path, base: Path, tmp_path: Path, launcher: str) -> None:
    values = ["lora.rank=2,4", "lora.alpha=8"]
    at_once = ["hydra.launcher.n_jobs=2"] if launcher == "joblib" else []
    done = run_script(
        "train.py",
        "sweep=grid",
        f"launcher={launcher}",
        *values,
        *short_run(base, **JOBS),
        *at_once,
        cwd=tmp_path,
        fresh=True,
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = _adapters(tmp_path / "jobs"), _adapters(grid)
    for job, same in (("0", "0"), ("1", "2")):
        assert all(torch.equal(value, theirs[same][key]) for key, value in ours[job].items())


def test_what_auto_has_decided_is_no_other_value(grid: Path) -> None:
    config = RunFolder(grid / "0").read_config()
    asked = replace(
        config,
        base=replace(config.base, dtype="auto"),
        trainer=replace(config.trainer, precision="auto", micro_batch="auto"),
    )
    assert fit_job(asked) == read_json(RunFolder(grid / "0").metrics)["monitored"]
    with pytest.raises(ConfigError, match="holds a job with another value"):
        fit_job(replace(asked, trainer=replace(asked.trainer, precision="bf16-mixed")))


def test_a_sweep_started_again_skips_what_is_finished_and_does_the_rest(base: Path, tmp_path: Path) -> None:
    """One job finished, one stopped in its second epoch, one never begun."""
    overrides = ["-m", "lora.rank=2,3,4", *short_run(base, trainer__max_epochs=3, data__sample__clips=48, **JOBS)]
    # The whole sweep ends, and not one job of it alone.
    stopped = run_script("train.py", *overrides, cwd=tmp_path, stop=Stop(signal.SIGTERM, 6, run="1"))
    assert stopped.returncode == 128 + signal.SIGTERM
    assert stopped.stderr.splitlines()[-1].endswith("stickgen train resume=jobs/1 continues")
    assert not (tmp_path / "jobs" / "2").exists()
    finished = RunFolder(tmp_path / "jobs" / "0").metrics.stat().st_mtime_ns

    again = run_script("train.py", *overrides, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("finished already, skipped") == 1
    assert RunFolder(tmp_path / "jobs" / "0").metrics.stat().st_mtime_ns == finished
    whole = [*overrides[:1], "lora.rank=3", *overrides[2:], "hydra.sweep.dir=whole"]
    assert run_script("train.py", *whole, cwd=tmp_path).returncode == 0
    ours, theirs = _adapters(tmp_path / "jobs"), _adapters(tmp_path / "whole")
    assert sorted(ours) == ["0", "1", "2"]
    assert all(torch.equal(value, theirs["0"][key]) for key, value in ours["1"].items())

    harmless = ["trainer.threads=2", "callbacks.progress_bar=false", "logger=csv"]
    skipped = run_script("train.py", *overrides, *harmless, cwd=tmp_path)
    assert skipped.stdout.count("finished already, skipped") == 3, skipped.stderr
    other = run_script("train.py", "-m", "lora.rank=4,3", *overrides[2:], cwd=tmp_path)
    assert other.returncode == 1
    assert "lora.rank: " in other.stderr
    assert "holds a job with another value, which was kept" in other.stderr


@needs_launchers
def test_a_sweep_that_is_stopped_takes_its_workers_with_it(base: Path, tmp_path: Path) -> None:
    """Jobs beside each other are processes of their own, which a signal to the sweep does not reach by itself."""
    endless = short_run(base, trainer__max_epochs=1000, **JOBS)
    process = start_script(
        "train.py",
        "-m",
        "lora.rank=2,3",
        "launcher=joblib",
        "hydra.launcher.n_jobs=2",
        *endless,
        cwd=tmp_path,
        fresh=True,
    )
    saved = [tmp_path / "jobs" / job / "checkpoints" / "last.ckpt" for job in "01"]
    try:
        await_that(lambda: all(last.exists() for last in saved), process)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate()[1]  # as long as a worker lives, it holds the other end of the pipe
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert "error: SIGTERM: stopped and saved at step" in errors


@needs_launchers
def test_a_sweep_that_is_stopped_while_its_workers_start_ends_in_one_line(base: Path, tmp_path: Path) -> None:
    process = start_script(
        "train.py",
        "-m",
        "lora.rank=2,3",
        "launcher=joblib",
        "hydra.launcher.n_jobs=2",
        *short_run(base, **JOBS),
        cwd=tmp_path,
        fresh=True,
    )
    try:
        await_that(lambda: bool(_below(process.pid)), process)
        time.sleep(0.5)  # they are importing, far from a run
        process.send_signal(signal.SIGTERM)
        errors = process.communicate()[1]
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM, errors
    assert errors.splitlines()[-1].startswith("error: SIGTERM: stopped")
    assert "Traceback" not in errors


@needs_launchers
def test_a_job_that_its_scheduler_wants_back_is_queued_again_and_goes_on(base: Path, tmp_path: Path) -> None:
    """With submitit's own handlers; its local backend starts a job again that asked to be put back into the queue."""
    short = [*short_run(base, trainer__max_epochs=30, **JOBS), "trainer.threads=1"]
    process = start_script("train.py", "-m", "lora.rank=2", "launcher=submitit_local", *short, cwd=tmp_path, fresh=True)
    last = tmp_path / "jobs" / "0" / "checkpoints" / "last.ckpt"
    try:
        await_that(last.exists, process)
        (job,) = (pid for pid in _below(process.pid) if b"submitit.core._submit" in _command_line(pid))
        os.kill(job, signal.SIGUSR2)
        errors = process.communicate()[1]
    finally:
        process.kill()
    assert process.returncode == 0, errors
    logs = "".join(log.read_text() for log in (tmp_path / "jobs").glob(".submitit/*/*_log.*"))
    assert "Requeued job" in logs

    whole = [*short, "hydra.sweep.dir=whole"]
    assert run_script("train.py", "-m", "lora.rank=2", *whole, cwd=tmp_path).returncode == 0
    ours, theirs = _adapters(tmp_path / "jobs"), _adapters(tmp_path / "whole")
    assert all(torch.equal(value, theirs["0"][key]) for key, value in ours["0"].items())


def _below(pid: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    children = [int(word) for task in Path(f"/proc/{pid}/task").glob("*/children") for word in task.read_text().split()]
    return [*children, *(further for child in children for further in _below(child))]


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(
            ["launcher=joblib", "hydra.run.dir=job"],
            "launcher=joblib: launches the jobs of a sweep",
            marks=needs_launchers,
        ),
        (["sweep=grid", "launcher=moon"], "launcher=moon: no such choice; choose from joblib, ray"),
        (["-m", "hydra/launcher=moon"], "hydra/launcher=moon: no such launcher installed"),
        (["sweep=everything"], "sweep=everything: no such choice; choose from grid, optuna"),
    ],
)
def test_an_unknown_launcher_or_sweep_is_one_line(tmp_path: Path, overrides: list[str], message: str) -> None:
    done = run_script("train.py", *overrides, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_base_of_its_own_is_loaded_by_each_job(base: Path, tmp_path: Path) -> None:
    """What a process keeps of one job must not reach the next: another base, other data."""
    other = make_base(tmp_path / "other.safetensors", seed=1)
    changes = ["-m", f"base.checkpoint={base},{other},{base}", *short_run(base, **JOBS)[1:]]
    done = run_script("train.py", *changes, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second, third = _adapters(tmp_path / "jobs").values()
    assert all(torch.equal(value, third[key]) for key, value in first.items())
    assert any(not torch.equal(value, second[key]) for key, value in first.items())
