"""Whole runs on the sample motion, each of a second or two: their folders, scores and seeds."""

import json
import math
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from stickgen.artifacts.adapter import attach_adapter, load_adapter
from stickgen.artifacts.base import load_base
from stickgen.artifacts.run import read_checkpoint
from stickgen.data.datamodule import ClipDataModule
from stickgen.evaluation.baselines import majority_action
from stickgen.training import FitResult, fit
from tests.training.short_runs import (
    EPOCHS,
    METRICS,
    STEPS_AN_EPOCH,
    adapter_of,
    data_file,
    same,
    scores_of,
    settings_of,
)


def test_the_run_folder_is_complete(run: FitResult) -> None:
    found = {str(path.relative_to(run.run.path)) for path in run.run.path.rglob("*") if path.is_file()}
    expected = {
        "config.yaml",
        "environment.json",
        "metrics.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "adapter/README.md",
    }
    assert expected <= found
    assert found > expected
    assert all(name.startswith("tensorboard/") for name in found - expected)


def test_the_settings_come_back_as_they_were(run: FitResult, base: Path) -> None:
    config = run.run.read_config()
    assert config == settings_of(run.run.path, base={"checkpoint": str(base)}, logger={"kinds": ["tensorboard"]})
    assert read_checkpoint(run.run.checkpoint("last")).config == config
    environment = json.loads((run.run.path / "environment.json").read_text())
    assert environment["packages"]["torch"] == version("torch")
    assert {"stickgen", "git_revision", "command", "python"} <= environment.keys()


def test_metrics_stand_beside_their_baselines(run: FitResult) -> None:
    written = json.loads(run.run.metrics.read_text())
    scores = written["scores"]
    assert scores == run.scores
    assert set(scores) == {
        "repeat last frame",
        "constant velocity",
        "most frequent action",
        "frozen base",
        "adapter",
    }
    for name, by_split in scores.items():
        assert set(by_split) == {"val", "test"}
        for values in by_split.values():
            assert all(math.isfinite(value) for value in values.values())
            if name in ("frozen base", "adapter"):
                assert set(values) == METRICS
    assert written["trained"] == "adapter"
    assert written["optimizer_steps"] == EPOCHS * STEPS_AN_EPOCH
    assert written["monitored"] == run.monitored == scores["adapter"]["val"]["pose_mse"]
    adapter = sum(value.numel() for value in adapter_of(run).values())
    assert written["parameters"]["trainable"] == adapter == 2 * 4 * (48 + 48) * 2


def test_training_helps(run: FitResult) -> None:
    frozen, trained = run.scores["frozen base"]["val"], run.scores["adapter"]["val"]
    assert trained["pose_mse"] < frozen["pose_mse"]
    assert trained["loss"] < frozen["loss"]


def test_checkpoints_hold_no_base(run: FitResult, base: Path) -> None:
    for name in ("best", "last"):
        path = run.run.checkpoint(name)
        assert path.stat().st_size < base.stat().st_size / 3
        content = torch.load(path, weights_only=True)
        assert content["state_dict"]
        assert all(key.endswith(("lora_A", "lora_B")) for key in content["state_dict"])
        assert read_checkpoint(path).base_fingerprint == load_base(base).fingerprint
        moments = content["optimizer_states"][0]["state"]
        assert len(moments) == len(content["state_dict"]), "the optimizer keeps moments of the adapters alone"


def test_the_base_is_not_touched(run: FitResult, base: Path, base_bytes: bytes) -> None:
    assert base.read_bytes() == base_bytes


def test_the_frozen_bases_score_is_that_of_the_bare_base(run: FitResult, base: Path) -> None:
    split = ClipDataModule(run.run.read_config().data).split
    model = load_base(base).model
    for name, clips in (("val", split.val), ("test", split.test)):
        found = {key: value for key, value in run.scores["frozen base"][name].items() if key != "loss"}
        assert found == pytest.approx(scores_of(model, clips), rel=1e-4)


def test_the_adapters_score_is_that_of_the_saved_adapter_on_the_base(run: FitResult, base: Path) -> None:
    split = ClipDataModule(run.run.read_config().data).split
    loaded = load_base(base)
    attach_adapter(loaded, load_adapter(run.run.adapter), "adapter")
    for name, clips in (("val", split.val), ("test", split.test)):
        found = {key: value for key, value in run.scores["adapter"][name].items() if key != "loss"}
        assert found == pytest.approx(scores_of(loaded.model.eval(), clips), rel=1e-4)


def test_the_baselines_are_those_of_the_same_clips(run: FitResult) -> None:
    split = ClipDataModule(run.run.read_config().data).split
    motion = [clip.motion for clip in split.val]
    still = torch.cat([(m[:-1] - m[1:]).double().square().flatten() for m in motion]).mean()
    assert run.scores["repeat last frame"]["val"]["pose_mse"] == pytest.approx(float(still), rel=1e-5)
    majority = majority_action(split.train.infos)
    labels = torch.cat([clip.actions[1:] for clip in split.val if clip.actions is not None])
    share = float((labels == majority).double().mean())
    assert run.scores["most frequent action"]["val"]["action_accuracy"] == pytest.approx(share)


def test_the_saved_adapter_is_the_best_of_the_checkpoints(run: FitResult) -> None:
    best = read_checkpoint(run.run.checkpoint("best")).state
    saved = load_adapter(run.run.adapter).state
    assert same(best, saved)


def test_one_seed_makes_one_adapter_whatever_is_logged(run: FitResult, folder: Path, base: Path) -> None:
    again = fit(settings_of(folder / "again", base={"checkpoint": str(base)}, logger={"kinds": ["csv"]}))
    assert same(adapter_of(again), adapter_of(run))
    assert again.scores == run.scores
    lines = (again.run.path / "csv" / "metrics.csv").read_text().splitlines()
    assert "val/pose_mse" in lines[0]


def test_another_seed_makes_another_adapter(run: FitResult, folder: Path, base: Path) -> None:
    other = fit(settings_of(folder / "other", base={"checkpoint": str(base)}, seed=1))
    theirs, ours = adapter_of(other), adapter_of(run)
    assert theirs.keys() == ours.keys()
    assert not same(theirs, ours)
    assert other.scores["frozen base"] == run.scores["frozen base"], "the split has a seed of its own"


def test_feeding_actions_and_conditions_train_too(tmp_path: Path) -> None:
    sizes = {"d_model": 48, "nhead": 4, "num_layers": 2, "causal": True, "pose_output": "residual", "pose_scale": 0.02}
    result = fit(
        settings_of(
            tmp_path / "run",
            base={"from_scratch": True, **sizes},
            lora={"enabled": False},
            data={"conditions": ["camera", "partner"]},
            objective={"feed_actions": 0.5},
            trainer={"max_epochs": 1},
        )
    )
    assert math.isfinite(result.monitored)
    assert load_base(result.run.path).record.conditions == ["camera", "partner"]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_may_lack_action_labels(tmp_path: Path, base: Path, split: str) -> None:
    path = data_file(tmp_path / "data.pt", without_actions=split)
    result = fit(
        settings_of(
            tmp_path / "run",
            base={"checkpoint": str(base)},
            data={"path": str(path)},
            trainer={"max_epochs": 1},
            logger={"kinds": ["tensorboard"]},
        )
    )
    metrics = json.loads(result.run.metrics.read_text(), parse_constant=lambda constant: pytest.fail(constant))
    for scored in ("val", "test"):
        accuracy = metrics["scores"]["adapter"][scored]["action_accuracy"]
        assert (accuracy is None) == (scored == split)
