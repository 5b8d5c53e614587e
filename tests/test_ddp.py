"""A run of two processes is the run of one: same steps, same metrics, and one that writes."""

import csv
import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from stickgen.artifacts.run import RunFolder
from tests.runs import Stop, make_base, run_script, short_run

TWO = ("trainer=ddp", "trainer.devices=2")


def _overrides(base: Path, folder: str, *more: str, **changes: object) -> list[str]:
    # No dropout: its masks fall differently.
    settings = {"data__sample__clips": 48, "lora__dropout": 0.0, "trainer__max_epochs": 2, "logger": "tensorboard_csv"}
    return [*short_run(base, **{**settings, **changes}), f"hydra.run.dir={folder}", *more]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """Runs of one process and of two, with what two of them wrote to the terminal."""
    folder = tmp_path_factory.mktemp("ddp")
    base = make_base(folder / "base.safetensors")
    for name, more in (("one", ()), ("two", TWO)):
        done = run_script("train.py", *_overrides(base, name, *more), cwd=folder)
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.txt").write_text(done.stdout)
        (folder / f"{name}.err").write_text(done.stderr)
    return {name: RunFolder(folder / name) for name in ("one", "two")}


def _weights(run: RunFolder, name: str = "last") -> dict[str, torch.Tensor]:
    return dict(torch.load(run.checkpoint(name), weights_only=True)["state_dict"])


def _logged(run: RunFolder) -> list[dict[str, str]]:
    with (run.path / "csv" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_processes_train_the_same_adapter(runs: dict[str, RunFolder]) -> None:
    one, two = _weights(runs["one"]), _weights(runs["two"])
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-5)


def test_two_processes_report_the_same_metrics(runs: dict[str, RunFolder]) -> None:
    one, two = (json.loads(runs[name].metrics.read_text()) for name in ("one", "two"))
    assert one["optimizer_steps"] == two["optimizer_steps"]
    for predictor, splits in one["scores"].items():
        for split, metrics in splits.items():
            assert two["scores"][predictor][split] == pytest.approx(metrics, rel=1e-4)


def test_terms_and_metrics_logged_on_the_way_are_those_of_all_clips(runs: dict[str, RunFolder]) -> None:
    one, two = _logged(runs["one"]), _logged(runs["two"])
    assert len(one) == len(two)
    for mine, theirs in zip(one, two, strict=True):
        for name in ("train/loss", "train/pose", "val/pose_mse", "val/loss", "val/action_accuracy"):
            assert bool(mine[name]) == bool(theirs[name])
            if mine[name]:
                assert float(theirs[name]) == pytest.approx(float(mine[name]), rel=1e-3)


def test_one_process_writes(runs: dict[str, RunFolder]) -> None:
    files = {
        name: sorted(str(p.relative_to(run.path)) for p in run.path.rglob("*") if "events" not in p.name)
        for name, run in runs.items()
    }
    assert files["one"] == files["two"]
    written_by = {path.name.split(".")[5] for path in (runs["two"].path / "tensorboard").glob("events*")}
    assert len(written_by) == 1
    text = runs["two"].path.with_suffix(".txt").read_text()
    assert text.count("results · val clips") == 1
    assert text.count("epoch 1 ") == 1
    assert runs["two"].path.with_suffix(".err").read_text() == ""


def test_a_run_of_two_that_is_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base.safetensors")
    changes = {
        "lora__dropout": 0.3,
        "trainer__max_epochs": 4,
        "lora__layers": "[1]",  # every process reads what the first has stored of the layer below
    }
    stop = Stop(signal.SIGTERM, 6)
    stopped = run_script("train.py", *_overrides(base, "run", *TWO, **changes), cwd=tmp_path, stop=stop)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert stopped.stderr.startswith("error: SIGTERM: stopped and saved at step")
    assert len(stopped.stderr.splitlines()) == 1
    assert RunFolder(tmp_path / "run").read_config().trainer.cache_frozen == "float32"
    shutil.rmtree(tmp_path / "frozen")
    for arguments in (["resume=run"], _overrides(base, "uninterrupted", *TWO, **changes)):
        done = run_script("train.py", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    ours, theirs = (_weights(RunFolder(tmp_path / name)) for name in ("run", "uninterrupted"))
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


def test_a_job_of_a_sweep_that_has_two_processes_stays_one_job(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base.safetensors")
    done = run_script(
        "train.py",
        "-m",
        "lora.rank=2,3",
        *short_run(base, trainer__max_steps=1, lora__layers="[1]", trainer__cache_frozen="float32"),
        "hydra.sweep.dir=jobs",
        *TWO,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base.safetensors", "jobs"]
    jobs = sorted(p for p in (tmp_path / "jobs").iterdir() if p.name.isdigit())
    assert [RunFolder(job).read_config().lora.rank for job in jobs] == [2, 3]
    assert all(RunFolder(job).metrics.is_file() for job in jobs)
    assert len(list((tmp_path / "jobs" / "frozen").iterdir())) == 1
    assert done.stdout.count("storing the output of 1 frozen layers") == 1


def test_what_only_the_other_process_met_is_one_line_too(tmp_path: Path) -> None:
    """Each process checks the numbers of its own clips alone."""
    from stickgen.data.file import write_sequences
    from stickgen.sample import SAMPLE_INFO, sample_sequences

    sequences = sample_sequences(24)
    lengths = [len(sequence["motion"]) for sequence in sequences]
    for index, sequence in enumerate(sequences):
        sequence["meta"] = {
            **sequence["meta"],
            "take": f"take {index}",
            "split": ("val", "test", "train")[min(index, 2)],
        }
    longest = max(range(2, 24), key=lengths.__getitem__)
    sequences[longest]["motion"][-1] = float("nan")  # the last of its step, in the second process
    write_sequences(tmp_path / "data.pt", sequences, SAMPLE_INFO)
    base = make_base(tmp_path / "base.safetensors")
    one_step = {"data__path": tmp_path / "data.pt", "data__batch_size": 11, "trainer__accumulate_grad_batches": 2}
    done = run_script("train.py", *short_run(base, **one_step), *TWO, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 1
    assert f"clip {longest}: motion: finite numbers expected" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.devices=3"], "trainer.devices=3: does not divide the 2 micro-batches of a step"),
        (["trainer.devices=0"], "trainer.devices=0: a whole number of at least 1 expected"),
    ],
)
def test_impossible_processes_are_one_line(tmp_path: Path, overrides: list[str], message: str) -> None:
    base = make_base(tmp_path / "base.safetensors")
    done = run_script("train.py", *short_run(base), *overrides, cwd=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
