"""train.py, as a user runs it."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stickgen.artifacts.adapter import load_adapter
from stickgen.artifacts.run import RunFolder
from stickgen.training import fit
from tests.runs import make_base, run_script, short_run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture(scope="module")
def sweep(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a multirun over rank and alpha."""
    cwd = tmp_path_factory.mktemp("sweep")
    overrides = short_run(base, **{"hydra.sweep.dir": "jobs"})
    done = run_script("train.py", "-m", "lora.rank=2,4", "lora.alpha=8,16", *overrides, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "jobs"


def test_a_sweep_leaves_one_complete_folder_a_job(sweep: Path) -> None:
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == ["0", "1", "2", "3", "tensorboard"]
    for job, (rank, alpha) in enumerate([(2, 8), (2, 16), (4, 8), (4, 16)]):
        run = RunFolder(sweep / str(job))
        config = run.read_config()
        assert (config.lora.rank, config.lora.alpha) == (rank, alpha)
        assert load_adapter(run.adapter).settings.rank == rank
        metrics = json.loads(run.metrics.read_text())
        assert {"repeat last frame", "constant velocity", "most frequent action", "frozen base", "adapter"} == set(
            metrics["scores"]
        )
        assert (run.path / "train.log").is_file()
        assert list((run.path / "tensorboard").glob("events*"))


def test_the_last_job_of_a_sweep_equals_the_same_run_alone(sweep: Path, tmp_path: Path) -> None:
    config = RunFolder(sweep / "3").read_config()
    config.run_dir = str(tmp_path / "alone")
    alone = fit(config)
    swept = load_file(sweep / "3" / "adapter" / "adapter_model.safetensors")
    again = load_file(alone.run.adapter / "adapter_model.safetensors")
    assert swept.keys() == again.keys()
    assert all(torch.equal(swept[key], again[key]) for key in swept)


def test_jobs_of_a_sweep_differ(sweep: Path) -> None:
    first, second = (load_adapter(RunFolder(sweep / job).adapter).state for job in "01")
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_a_single_run_prints_summary_and_results_and_trains_the_adapter(base: Path, tmp_path: Path) -> None:
    done = run_script(
        "train.py",
        *short_run(base, **{"hydra.run.dir": "run"}),
        cwd=tmp_path,
        fresh=True,
        USE_LORA="true",
        LORA_RANK="3",
    )
    assert done.returncode == 0, done.stderr
    for words in ("trainable of", "adapted layers", "frozen base", "constant velocity", "most frequent action"):
        assert words in done.stdout
    adapter = load_adapter(tmp_path / "run" / "adapter")
    assert adapter.settings.rank == 3
    assert any(bool(value.any()) for key, value in adapter.state.items() if key.endswith("lora_B"))


def test_without_lora_every_weight_is_trained_and_the_model_saved(base: Path, tmp_path: Path) -> None:
    done = run_script("train.py", *short_run(base, **{"hydra.run.dir": "run"}), cwd=tmp_path, USE_LORA="0")
    assert done.returncode == 0, done.stderr
    assert "trained model" in done.stdout
    before, after = load_file(base), load_file(tmp_path / "run" / "model.safetensors")
    assert before.keys() == after.keys()
    assert not torch.equal(before["pose_decoder.3.weight"], after["pose_decoder.3.weight"])
    assert not (tmp_path / "run" / "adapter").exists()


def test_the_shipped_defaults_compose_and_run_one_step(tmp_path: Path) -> None:
    limits = ["trainer.max_steps=1", "trainer.max_epochs=1", "data.sample.clips=24", "trainer.threads=1"]
    done = run_script("train.py", *limits, "callbacks.progress_bar=false", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert load_adapter(tmp_path / "run" / "adapter").settings.rank == 8


def test_help_lists_the_groups(tmp_path: Path) -> None:
    done = run_script("train.py", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "lora/targets: " in done.stdout
