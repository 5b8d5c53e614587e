"""Where runs end: which weights are kept, stops, faults, and folders that hold a run."""

import csv
import json
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch.optim import Optimizer

from stickgen.artifacts.adapter import load_adapter
from stickgen.artifacts.run import read_checkpoint
from stickgen.errors import CheckpointError, ConfigError, InterruptedRunError, OutputExistsError, TrainingError
from stickgen.training import FitResult, fit
from stickgen.training.module import MotionModule
from tests.training.short_runs import (
    EPOCHS,
    METRICS,
    STEPS_AN_EPOCH,
    adapter_of,
    same,
    settings_of,
)

LIMITS = {"accumulate_grad_batches": 2, "accelerator": "cpu", "threads": 1}


@pytest.mark.parametrize(
    ("limits", "steps", "kept"),
    [
        ({"max_epochs": 2, "max_steps": 1}, 1, "last"),  # inside the first epoch
        ({"max_epochs": 2, "max_steps": 3}, 3, "best"),  # at its end
        ({"max_epochs": 2, "max_steps": 4}, 4, "last"),  # inside the second, and better than at the first one's end
        ({"max_epochs": 1, "val_every_n_epochs": 5}, 3, "last"),  # before the first validation
    ],
)
@pytest.mark.filterwarnings("error:.*could not find the monitored key")
def test_a_run_has_its_results_wherever_it_ends(
    tmp_path: Path, base: Path, limits: dict[str, int], steps: int, kept: str
) -> None:
    config = settings_of(
        tmp_path / "run",
        base={"checkpoint": str(base)},
        trainer={**LIMITS, **limits},
        callbacks={"early_stopping_patience": 3},
    )
    result = fit(config)
    assert json.loads(result.run.metrics.read_text())["optimizer_steps"] == steps
    assert set(result.scores["adapter"]["val"]) == METRICS
    assert result.monitored < result.scores["frozen base"]["val"]["pose_mse"]
    saved = load_adapter(result.run.adapter).state
    assert same(saved, read_checkpoint(result.run.checkpoint(kept)).state)


@pytest.fixture
def climbing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make runs descend for two epochs, and then climb: the second epoch is the best on any machine."""

    def factor(step: int, warmup: int, total: int) -> float:
        return 1.0 if step < 2 * STEPS_AN_EPOCH else -3.0

    monkeypatch.setattr("stickgen.training.module.warmup_cosine", factor)


@pytest.mark.parametrize("keep_best", [True, False])
@pytest.mark.usefixtures("climbing")
def test_the_weights_of_the_best_epoch_are_kept_or_the_last(tmp_path: Path, base: Path, keep_best: bool) -> None:
    result = fit(
        settings_of(
            tmp_path / "run",
            base={"checkpoint": str(base)},
            logger={"kinds": ["csv"]},
            callbacks={"keep_best": keep_best},
            trainer={**LIMITS, "max_epochs": 4},
        )
    )
    with (result.run.path / "csv" / "metrics.csv").open() as file:
        values = [float(row["val/pose_mse"]) for row in csv.DictReader(file) if row["val/pose_mse"]]
    epochs = values[1:]  # the first is the frozen base's
    assert len(epochs) == 4
    assert min(epochs) == epochs[1]
    assert result.monitored == pytest.approx(epochs[1] if keep_best else epochs[-1], rel=1e-5)


@pytest.mark.usefixtures("climbing")
def test_an_accuracy_is_maximised(tmp_path: Path, base: Path) -> None:
    monitor = "val/action_accuracy"
    result = fit(
        settings_of(
            tmp_path / "run",
            base={"checkpoint": str(base)},
            lora={"targets": {"heads": ["action_predictor", "self_attn"]}},
            logger={"kinds": ["csv"]},
            callbacks={"monitor": monitor},
            trainer={**LIMITS, "max_epochs": 4},
        )
    )
    with (result.run.path / "csv" / "metrics.csv").open() as file:
        values = [float(row[monitor]) for row in csv.DictReader(file) if row[monitor]]
    epochs = values[1:]
    assert max(epochs) > epochs[-1]
    assert result.monitored == result.scores["adapter"]["val"]["action_accuracy"] == pytest.approx(max(epochs))


def test_training_stops_early_where_nothing_improves(tmp_path: Path, base: Path) -> None:
    result = fit(
        settings_of(
            tmp_path / "run",
            base={"checkpoint": str(base)},
            optimizer={"lr": 3.0},  # away from the base for good
            callbacks={"early_stopping_patience": 1},
            trainer={"max_epochs": 12},
        )
    )
    assert 2 * STEPS_AN_EPOCH <= json.loads(result.run.metrics.read_text())["optimizer_steps"] < 12 * STEPS_AN_EPOCH


def test_a_training_that_diverges_ends_and_leaves_no_adapter(tmp_path: Path, base: Path) -> None:
    config = settings_of(
        tmp_path / "run", base={"checkpoint": str(base)}, optimizer={"lr": 1e12, "warmup_fraction": 0.0}
    )
    with pytest.raises(
        TrainingError, match=r"diverged: .* not finite at optimizer step \d+; lower optimizer.lr=1e\+12"
    ):
        fit(config)
    assert not (tmp_path / "run" / "adapter").exists()
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_folder_that_holds_a_run_is_kept(run: FitResult, base: Path) -> None:
    before = run.run.metrics.read_bytes()
    with pytest.raises(OutputExistsError, match="holds a run already"):
        fit(settings_of(run.run.path, base={"checkpoint": str(base)}))
    assert run.run.metrics.read_bytes() == before


def test_a_run_that_cannot_start_leaves_no_folder(tmp_path: Path, base: Path) -> None:
    with pytest.raises(ConfigError, match=r"lora\.targets"):
        fit(settings_of(tmp_path / "run", base={"checkpoint": str(base)}, lora={"targets": {"mine": ["nothing"]}}))
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_trainer_that_the_machine_cannot_run_leaves_no_folder(tmp_path: Path, base: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.accelerator=gpu: PyTorch finds no such device"):
        fit(
            settings_of(
                tmp_path / "run",
                base={"checkpoint": str(base)},
                trainer={"accelerator": "gpu", "precision": "bf16-mixed"},
            )
        )
    assert not (tmp_path / "run").exists()


def test_a_run_that_stopped_before_its_first_checkpoint_starts_anew(
    tmp_path: Path, base: Path, run: FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = settings_of(tmp_path / "run", base={"checkpoint": str(base)}, logger={"kinds": ["tensorboard"]})
    before_step = MotionModule.on_before_optimizer_step

    def interrupt(self: MotionModule, optimizer: Optimizer) -> None:
        before_step(self, optimizer)
        if self.global_step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MotionModule, "on_before_optimizer_step", interrupt)
        message = "interrupted at step 2, before the first checkpoint; the same command starts anew"
        with pytest.raises(InterruptedRunError, match=message):
            fit(config)
    assert (tmp_path / "run" / "config.yaml").is_file()
    with pytest.raises(CheckpointError, match="start it anew"):
        fit(replace(config, resume=config.run_dir))
    time.sleep(1.1)  # event files are put in order by the second they were made
    assert same(adapter_of(fit(config)), adapter_of(run))
    # What the first start logged does not stand in TensorBoard beside it.
    accumulator = module.EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    steps = [event.step for event in accumulator.Scalars("train/loss")]
    assert steps == list(range(EPOCHS * STEPS_AN_EPOCH))


def test_threads_of_one_job_do_not_stay_for_the_next(tmp_path: Path, base: Path) -> None:
    settings = settings_of(tmp_path / "one", base={"checkpoint": str(base)}, trainer={"max_epochs": 1, "threads": 2})
    fit(settings)
    assert torch.get_num_threads() == 2
    fit(settings_of(tmp_path / "two", base={"checkpoint": str(base)}, trainer={"max_epochs": 1, "threads": None}))
    assert torch.get_num_threads() == import_module("stickgen.training.fit")._THREADS
