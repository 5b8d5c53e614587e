"""What runs log: curves, settings, final metrics."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.artifacts.run import CHECKPOINT_KEY
from stickgen.training import FitResult, fit, resume_config
from tests.training.short_runs import EPOCHS, METRICS, STEPS_AN_EPOCH, settings_of


@pytest.fixture(scope="module")
def events(run: FitResult) -> Any:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = module.EventAccumulator(str(run.run.path / "tensorboard"), size_guidance={"scalars": 0})
    return accumulator.Reload()


def test_curves_are_there_with_a_point_a_step(events: Any) -> None:
    steps = EPOCHS * STEPS_AN_EPOCH
    tags = set(events.Tags()["scalars"])
    for tag in ("loss", "pose", "temporal", "action", "physics"):
        assert len(events.Scalars(f"train/{tag}")) == steps, tag
    assert {f"val/{name}" for name in METRICS} <= tags
    rates = {event.step: event.value for event in events.Scalars("train/learning_rate")}
    assert sorted(rates) == list(range(steps))
    assert max(rates.values()) == rates[0] == pytest.approx(1e-2)
    assert [rates[step] for step in range(steps)] == sorted(rates.values(), reverse=True)


def test_the_validation_curve_starts_at_the_frozen_base(run: FitResult, events: Any) -> None:
    curve = events.Scalars("val/pose_mse")
    assert len(curve) == 1 + EPOCHS
    assert curve[0].step == 0
    assert curve[0].value == pytest.approx(run.scores["frozen base"]["val"]["pose_mse"], rel=1e-5)
    assert min(event.value for event in curve[1:]) == pytest.approx(run.monitored, rel=1e-4)


def test_final_metrics_and_baselines_are_logged(run: FitResult, events: Any) -> None:
    tags = set(events.Tags()["scalars"])
    for split in ("val", "test"):
        for name in METRICS:
            (last,) = events.Scalars(f"final/{split}_{name}")  # no point at step 0, from which a line would be drawn
            assert last.value == pytest.approx(run.scores["adapter"][split][name], rel=1e-5)
    for tag in ("repeat_last_frame_pose_mse", "constant_velocity_pose_mse", "most_frequent_action_action_accuracy"):
        assert f"baseline/{tag}" in tags


def test_the_hparams_tab_knows_settings_and_final_metrics(events: Any) -> None:
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    content = events.PluginTagToContent("hparams")
    experiment = plugin.HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    assert {f"final/{split}_{name}" for split in ("val", "test") for name in METRICS} <= {
        info.name.tag for info in experiment.metric_infos
    }
    first = {info.name for info in experiment.hparam_infos if info.differs}
    assert first == {"lora.rank", "lora.alpha", "lora.targets", "optimizer.lr"}, "those that the tab begins with"
    started = plugin.HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    assert started.hparams["lora.rank"].number_value == 2
    assert started.hparams["optimizer.lr"].number_value == 1e-2
    assert "data.batch_size" in started.hparams, "this run has another"
    assert "optimizer.weight_decay" not in started.hparams


def test_a_resumed_run_keeps_its_new_length_and_its_old_rows(tmp_path: Path, base: Path) -> None:
    settings = settings_of(
        tmp_path / "run", base={"checkpoint": str(base)}, trainer={"max_epochs": 1}, logger={"kinds": ["csv"]}
    )
    first = fit(settings).run
    rows = (first.path / "csv" / "metrics.csv").read_text()
    path, saved = first.checkpoint("last"), 1000.0
    checkpoint = torch.load(path, weights_only=True)
    checkpoint[CHECKPOINT_KEY]["seconds"] = saved
    torch.save(checkpoint, path)
    fit(resume_config(str(first.path), ["++trainer.max_epochs=2"]))
    assert saved < json.loads(first.metrics.read_text())["seconds"] < saved + 300
    assert first.read_config().trainer.max_epochs == 2
    assert first.read_config().resume is None
    assert (first.path / "csv" / "metrics.csv").read_text() == rows
    assert (first.path / "csv" / f"from_step_{STEPS_AN_EPOCH}" / "metrics.csv").is_file()


def test_steps_after_a_resume_stand_in_tensorboard_once(tmp_path: Path, base: Path) -> None:
    settings = settings_of(
        tmp_path / "run", base={"checkpoint": str(base)}, trainer={"max_epochs": 1}, logger={"kinds": ["tensorboard"]}
    )
    run = fit(settings).run
    after_first_epoch = run.checkpoint("last").read_bytes()
    for _ in range(2):  # as if the run had been killed in its second epoch
        time.sleep(1.1)  # event files are put in order by the second they were made
        run.checkpoint("last").write_bytes(after_first_epoch)
        fit(resume_config(str(run.path), ["trainer.max_epochs=2"]))
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = module.EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    steps = [event.step for event in accumulator.Scalars("train/loss")]
    assert steps == list(range(2 * STEPS_AN_EPOCH))
