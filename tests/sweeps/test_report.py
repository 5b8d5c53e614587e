"""The report on a sweep whose jobs came to everything that a job can come to."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from PIL import Image
from rich.console import Console

from stickgen.artifacts.run import RunFolder, write_json
from stickgen.config import BaseConfig, LoRAConfig, TrainConfig
from stickgen.errors import CheckpointError, ConfigError, OutputExistsError
from stickgen.sweeps.plots import _labels
from stickgen.sweeps.report import write_report
from stickgen.sweeps.settings import write_overrides
from stickgen.sweeps.table import FAILED, FINISHED, MISSING, PRUNED, STOPPED, read_sweep
from tests.runs import help_without, run_command

pytest.importorskip("matplotlib")

RANKS, ALPHAS = (2, 4, 8), (8.0, 16.0)
VALUES = {0: 3e-6, 1: 2e-6, 2: 1e-6, 3: 4e-6}
"""Of the jobs that have one; the third was pruned."""


def record(folder: Path, monitor: str = "val/pose_mse", **sweeper: Any) -> None:
    basic = {
        "_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        "params": {"lora.rank": "2,4,8", "lora.alpha": "8"},
    }
    task = ["lora.alpha=8,16", "seed=1", "+name='a,b'"]
    composed = {
        "callbacks": {"monitor": monitor},
        "hydra": {"sweeper": {**basic, **sweeper}, "overrides": {"task": task}},
    }
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(composed), folder / "multirun.yaml")


def begin(folder: Path, number: int) -> RunFolder:
    run = RunFolder(folder / str(number))
    lora = LoRAConfig(rank=RANKS[number // 2], alpha=ALPHAS[number % 2], targets={"all": ["pose_decoder"]})
    base = BaseConfig(checkpoint="base.safetensors")
    run.write_start(TrainConfig(base=base, lora=lora, seed=1, run_dir=str(run.path)))
    write_json(run.environment, {"command": f"train.py lora.rank={lora.rank} lora.alpha={lora.alpha:g} seed=1"})
    return run


def finish(run: RunFolder, value: float, pruned: int | None = None) -> None:
    scores = {"adapter": {"val": {"pose_mse": value, "action_accuracy": 1 - value}, "test": {"pose_mse": value}}}
    write_json(
        run.metrics,
        {"scores": scores, "trained": "adapter", "monitored": value, "seconds": 1.5, "pruned": pruned},
    )


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Jobs 0 to 2 finished, the last of them pruned; 3 has damaged metrics, 4 failed, 5 never began."""
    folder = tmp_path / "jobs"
    record(folder)
    for number in range(3):
        finish(begin(folder, number), VALUES[number], pruned=3 if number == 2 else None)
    stopped = begin(folder, 3)
    stopped.checkpoints.mkdir()
    (stopped.checkpoints / "last.ckpt").touch()
    (folder / "4").mkdir()
    (folder / "4" / "error.txt").write_text("base.pth: no such file\n")
    return folder


def printed(folder: Path, **options: Any) -> tuple[str, list[Path]]:
    text = io.StringIO()
    written = write_report(folder, Console(file=text, width=140), **options)
    return text.getvalue(), written


def test_no_job_is_left_out_whatever_became_of_it(sweep: Path) -> None:
    found = read_sweep(sweep)
    assert [job.status for job in found.jobs] == [FINISHED, FINISHED, PRUNED, STOPPED, FAILED, MISSING]
    # What a job was to be is known of those too that left nothing.
    assert [(job.settings["lora.rank"], job.settings["lora.alpha"]) for job in found.jobs] == [
        (rank, alpha) for rank in RANKS for alpha in ALPHAS
    ]
    assert found.varied == ["lora.rank", "lora.alpha"]
    assert found.jobs[4].said == "base.pth: no such file"
    assert found.jobs[3].said == f"stickgen train resume={sweep / '3'} continues"


def test_a_job_that_was_refused_is_not_shown_as_what_its_folder_held(sweep: Path) -> None:
    """The sweep was started again with other values, and the folder keeps the job it had."""
    write_overrides(sweep / "1", ["lora.rank=16", "lora.alpha=16", "seed=1"])
    (sweep / "1" / "error.txt").write_bytes(b"lora.rank: another \xff value\n")
    job = read_sweep(sweep).jobs[1]
    assert (job.status, job.settings, job.has_value) == (FAILED, {"lora.rank": 16, "lora.alpha": 16}, False)
    assert job.said.startswith("lora.rank: another")


def test_columns_do_not_depend_on_which_folder_is_read_first(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunFolder(sweep / "1").read_config()
    config.lora.rank_pattern = {"out_proj": 4}
    RunFolder(sweep / "1").write_start(config)
    expected = read_sweep(sweep)
    assert expected.varied == ["lora.rank", "lora.alpha", "lora.rank_pattern"]
    assert expected.jobs[1].settings["lora.rank_pattern"] == {"out_proj": 4}
    there = sorted(sweep.iterdir(), reverse=True)
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter(there))
    assert read_sweep(sweep).columns == expected.columns


def test_the_best_job_is_named_with_its_command(sweep: Path) -> None:
    text, _ = printed(sweep)
    assert f"best: {sweep / '2'}" in text
    assert "python train.py lora.rank=4 lora.alpha=8 seed=1" in text
    assert "6 jobs: 1 pruned, 2 finished, 1 stopped, 1 failed, 1 missing" in text
    record(sweep, "val/action_accuracy")
    assert read_sweep(sweep).maximize


def test_the_table_can_be_sorted_and_is_written_whole(sweep: Path) -> None:
    _, written = printed(sweep)
    with written[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == ["2", "1", "0", "3", "4", "5"]
    assert float(rows[0]["val/pose_mse"]) == VALUES[2]
    assert rows[4]["said"] == "base.pth: no such file"
    assert (rows[5]["status"], rows[5]["val/pose_mse"]) == ("missing", "")
    found = read_sweep(sweep)
    assert [job.number for job in found.sorted_by("val/pose_mse")] == [2, 1, 0, 3, 4, 5]
    assert [job.number for job in found.sorted_by("lora.alpha")] == [0, 2, 4, 1, 3, 5]
    assert [job.number for job in found.sorted_by("status")] == [4, 0, 1, 5, 2, 3]
    assert found.sorted_by("rank") == found.sorted_by("lora.rank")
    with pytest.raises(ConfigError, match="sort=pose_mse: no such column"):  # val's or test's
        found.sorted_by("pose_mse")
    with pytest.raises(ConfigError, match=r"sort=rnk: no such column; job, status, lora\.rank"):
        found.sorted_by("rnk")


def test_pictures_are_drawn_and_an_older_report_is_kept(sweep: Path, tmp_path: Path) -> None:
    written = printed(sweep, out=tmp_path / "report")[1]
    assert [path.name for path in written] == ["sweep.csv", "rank_alpha.png", "parallel.png"]
    for path in written[1:]:
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(10**6) or []) > 50
    with pytest.raises(OutputExistsError):
        printed(sweep, out=tmp_path / "report")
    printed(sweep, out=tmp_path / "report", overwrite=True)
    for path in sweep.glob("*/metrics.json"):
        path.unlink()
    printed(sweep, out=tmp_path / "report", overwrite=True)
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["sweep.csv"]  # pictures of other values are gone


def test_what_became_of_a_job_is_never_cut(sweep: Path) -> None:
    (sweep / "4" / "error.txt").write_text("a word " * 40 + "end\n")
    text = io.StringIO()
    write_report(sweep, Console(file=text, width=80))
    assert text.getvalue().count("word") == 40
    assert "…" not in text.getvalue()


def test_near_values_have_labels_that_tell_them_apart() -> None:
    assert _labels([1.0, 2.0]) == ["1", "2"]
    assert _labels([1.0001e-6, 1.0002e-6]) == ["1.0001e-06", "1.0002e-06"]
    assert _labels([8, "a", 0.5]) == ["8", "a", "0.5"]


def test_what_differs_shows_in_the_pictures(sweep: Path, tmp_path: Path) -> None:
    before = [path.read_bytes() for path in printed(sweep, out=tmp_path / "before")[1]]
    finish(RunFolder(sweep / "3"), VALUES[3])
    after = [path.read_bytes() for path in printed(sweep, out=tmp_path / "after")[1]]
    assert all(one != other for one, other in zip(before, after, strict=True))


def test_a_sweep_of_which_nothing_is_left_is_reported_too(tmp_path: Path) -> None:
    record(tmp_path / "jobs")
    text, written = printed(tmp_path / "jobs")
    assert "6 jobs: 6 missing" in text
    assert "no job has a value" in text
    assert [path.name for path in written] == ["sweep.csv"]


def test_a_single_value_everywhere_is_drawn(tmp_path: Path) -> None:
    record(tmp_path / "jobs")
    finish(begin(tmp_path / "jobs", 0), 1.0)
    assert len(printed(tmp_path / "jobs")[1]) == 3


def test_a_search_has_as_many_jobs_as_it_was_asked_for(tmp_path: Path) -> None:
    record(tmp_path / "jobs", _target_="hydra_plugins.stickgen_optuna.OptunaSweeper", trials=4)
    finish(begin(tmp_path / "jobs", 0), 1.0)
    finish(begin(tmp_path / "jobs", 1), 2.0)
    failed = tmp_path / "jobs" / "2"  # its settings were refused: only what it was given is left
    failed.mkdir()
    write_overrides(failed, ["lora.rank=2", "lora.alpha=-1.0", "seed=1", "callbacks.trial='j:2'"])
    (failed / "error.txt").write_text("lora.alpha=-1.0: a number above 0 expected\n")
    found = read_sweep(tmp_path / "jobs")
    assert [job.status for job in found.jobs] == [FINISHED, FINISHED, FAILED, MISSING]
    assert found.varied == ["lora.alpha"]
    assert found.jobs[2].settings == {"lora.alpha": -1.0}
    assert len(printed(tmp_path / "jobs")[1]) == 2


@pytest.mark.parametrize("spoil", ["{", "callbacks: 3", "hydra: {sweeper: {}}\ncallbacks: {monitor: val/loss}"])
def test_a_damaged_record_is_one_line(sweep: Path, spoil: str) -> None:
    (sweep / "multirun.yaml").write_text(spoil)
    with pytest.raises(CheckpointError, match="damaged"):
        read_sweep(sweep)


def test_damaged_metrics_are_a_failed_job(sweep: Path) -> None:
    RunFolder(sweep / "0").metrics.write_text(json.dumps({"scores": {}}))
    assert read_sweep(sweep).jobs[0].status == FAILED
    RunFolder(sweep / "1").metrics.write_text("{")
    assert read_sweep(sweep).jobs[1].status == FAILED
    (sweep / "2" / "config.yaml").write_text("lora: 3")
    assert replace(read_sweep(sweep).jobs[2]).settings == {"lora.rank": 4, "lora.alpha": 8}


def test_from_the_shell(sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(monkeypatch, "sweep-report", sweep, "--sort", "seconds") == 0
    assert "wrote " in capsys.readouterr().out
    assert run_command(monkeypatch, "sweep-report", sweep) == 1
    assert "already exists and was kept" in capsys.readouterr().err
    assert run_command(monkeypatch, "sweep-report", sweep / "0") == 1
    assert capsys.readouterr().err == f"error: {sweep / '0'}: no multirun.yaml in it; the folder of a sweep expected\n"
    assert "--sort" in help_without("sweep-report", {"torch", "matplotlib"})
