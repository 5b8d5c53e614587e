"""Whole runs on the sample motion, each of a second or two; their folders are shared by the tests."""

import csv
import json
import math
import time
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from safetensors.torch import load_file
from torch import Tensor
from torch.optim import Optimizer

from stickgen.artifacts.adapter import attach_adapter, load_adapter, save_adapter
from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.artifacts.run import CHECKPOINT_KEY, read_checkpoint
from stickgen.config import (
    BaseConfig,
    CallbacksConfig,
    DataConfig,
    LoggerConfig,
    LoRAConfig,
    MergeConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SampleConfig,
    TrainConfig,
    TrainerConfig,
)
from stickgen.data.batch import Batch
from stickgen.data.clips import Clip
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.file import write_sequences
from stickgen.errors import CheckpointError, ConfigError, InterruptedRunError, OutputExistsError, TrainingError
from stickgen.evaluation.baselines import majority_action
from stickgen.export.merge import merge
from stickgen.model import StickFigureTransformer
from stickgen.sample import SAMPLE_INFO, sample_sequences
from stickgen.training import FitResult, fit, micro_batch, resume_config
from stickgen.training.module import MotionModule
from stickgen.training.setup import build_model

METRICS = {"pose_mse", "action_accuracy", "temporal_consistency_error", "loss"}
DATA = {"sample": {"clips": 30, "actions": ["walk", "jump", "wave"]}, "batch_size": 4}
EPOCHS, STEPS_AN_EPOCH = 2, 3  # 24 training clips, 4 × 2 a step


def settings_of(run_dir: Path, **groups: dict[str, Any]) -> TrainConfig:
    """Settings of a short run; a dict for a group, or a value for a key, changes them."""
    data = {**DATA, **groups.pop("data", {})}
    defaults: dict[str, tuple[type, dict[str, Any]]] = {
        "base": (BaseConfig, {}),
        "lora": (LoRAConfig, {"rank": 2, "alpha": 4.0, "targets": {"attention": ["self_attn"]}}),
        "objective": (ObjectiveConfig, {}),
        "optimizer": (OptimizerConfig, {"lr": 1e-2}),
        "trainer": (
            TrainerConfig,
            {"max_epochs": EPOCHS, "accumulate_grad_batches": 2, "accelerator": "cpu", "threads": 1},
        ),
        "callbacks": (CallbacksConfig, {"progress_bar": False}),
        "logger": (LoggerConfig, {"kinds": []}),
    }
    made = {name: kind(**{**values, **groups.pop(name, {})}) for name, (kind, values) in defaults.items()}
    sample = SampleConfig(**data.pop("sample"))
    return TrainConfig(**made, data=DataConfig(sample=sample, **data), run_dir=str(run_dir), **groups)


def adapter_of(result: FitResult) -> dict[str, Tensor]:
    return load_file(result.run.adapter / "adapter_model.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    threads = torch.get_num_threads()
    yield tmp_path_factory.mktemp("fit")
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    torch.manual_seed(0)
    model = StickFigureTransformer(
        d_model=48, nhead=4, num_layers=2, causal=True, pose_output="residual", pose_scale=0.05
    )
    record = BaseRecord(settings={}, objective="causal", text_encoder=SAMPLE_INFO["text_encoder"], origin={"seed": 0})
    save_base(model, record, folder / "base.safetensors")
    return folder / "base.safetensors"


@pytest.fixture(scope="module")
def base_bytes(base: Path) -> bytes:
    return base.read_bytes()


@pytest.fixture(scope="module")
def run(folder: Path, base: Path, base_bytes: bytes) -> FitResult:
    """The run that most tests look at, with TensorBoard."""
    return fit(settings_of(folder / "run", base={"checkpoint": str(base)}, logger={"kinds": ["tensorboard"]}))


@pytest.fixture(scope="module")
def scratch(folder: Path) -> FitResult:
    """A run that trains a new base."""
    sizes = {"d_model": 48, "nhead": 4, "num_layers": 2, "causal": True, "pose_output": "velocity", "pose_scale": 0.02}
    return fit(settings_of(folder / "scratch", base={"from_scratch": True, **sizes}, lora={"enabled": False}, seed=3))


def scores_of(model: StickFigureTransformer, clips: list[Clip]) -> dict[str, float]:
    """Metrics of a model, computed clip by clip, without padding, batches or Lightning."""
    squares, steps, hits = [], [], []
    with torch.no_grad():
        for clip in clips:
            given, asked = clip.motion[:-1].unsqueeze(1), clip.motion[1:]
            outputs = model(given, clip.embedding.unsqueeze(0), return_all_outputs=True)
            pose = outputs["pose"][:, 0]
            squares.append((pose - asked).double().square().flatten())
            steps.append((pose.diff(dim=0) - asked.diff(dim=0)).double().square().flatten())
            assert clip.actions is not None
            hits.append((outputs["action_logits"][:, 0].argmax(-1) == clip.actions[1:]).double())
    means = (float(torch.cat(values).mean()) for values in (squares, steps, hits))
    return dict(zip(("pose_mse", "temporal_consistency_error", "action_accuracy"), means, strict=True))


# The folder.


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


# Its numbers.


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


# TensorBoard.


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
    started = plugin.HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    assert started.hparams["lora.rank"].number_value == 2
    assert started.hparams["optimizer.lr"].number_value == 1e-2
    assert "data.batch_size" in started.hparams, "this run has another"
    assert "optimizer.weight_decay" not in started.hparams


# Repeatability.


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


# Bases.


def test_a_run_from_scratch_leaves_a_base_with_its_record(scratch: FitResult) -> None:
    assert not scratch.run.adapter.exists()
    assert set(scratch.scores) >= {"trained model", "constant velocity"}
    assert "frozen base" not in scratch.scores
    loaded = load_base(scratch.run.path)
    assert loaded.path == scratch.run.path / "model.safetensors"
    assert loaded.record.objective == "causal"
    assert loaded.record.settings["causal"] is True
    assert loaded.record.settings["pose_output"] == "velocity"
    assert loaded.record.settings["pose_scale"] == 0.02
    assert loaded.record.text_encoder == SAMPLE_INFO["text_encoder"]
    assert loaded.record.conditions == []
    assert loaded.record.origin["seed"] == 3
    assert loaded.record.origin["data"] == "sample"
    split = ClipDataModule(scratch.run.read_config().data).split
    found = {key: value for key, value in scratch.scores["trained model"]["val"].items() if key != "loss"}
    assert found == pytest.approx(scores_of(loaded.model, split.val), rel=1e-4)


def test_a_new_base_can_be_adapted(scratch: FitResult, folder: Path) -> None:
    result = fit(settings_of(folder / "adapted", base={"checkpoint": str(scratch.run.path)}))
    adapter = load_adapter(result.run.adapter)
    assert adapter.base_fingerprint == load_base(scratch.run.path).fingerprint
    for split in ("val", "test"):
        trained, frozen = scratch.scores["trained model"][split], result.scores["frozen base"][split]
        assert frozen == pytest.approx(trained, rel=1e-4)


def test_training_every_weight_of_a_base_leaves_its_file_alone(folder: Path, base: Path, base_bytes: bytes) -> None:
    result = fit(
        settings_of(
            folder / "whole",
            base={"checkpoint": str(base), "save_dtype": "bfloat16"},
            lora={"enabled": False},
            trainer={"max_epochs": 1},
        )
    )
    assert base.read_bytes() == base_bytes
    stored = load_file(result.run.path / "model.safetensors")
    assert stored["pose_decoder.3.weight"].dtype == torch.bfloat16
    assert not torch.equal(stored["pose_decoder.3.weight"].float(), load_base(base).model.pose_decoder[3].weight)
    loaded = load_base(result.run.path)
    assert loaded.record.settings["pose_output"] == "residual"
    assert loaded.record.origin["from"] == str(base)
    assert set(result.scores) >= {"frozen base", "trained model"}


# Lengths of a run.


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


# Refusals.


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


# What an optional key, a resumed run or a file without a record must not break


def data_file(path: Path, *, without_actions: str = "", camera: bool = False) -> Path:
    """Write sample clips of ten takes with fixed splits, one of which may lack action labels."""
    sequences = sample_sequences(30, actions=["walk", "jump", "wave"])
    for index, sequence in enumerate(sequences):
        split = ("train", "val", "test")[max(0, index // 3 - 7)]
        sequence["meta"] = {**sequence["meta"], "split": split}
        if split == without_actions:
            sequence["actions"] = None
        if camera:
            sequence["camera"] = torch.rand(len(sequence["motion"]), 3)
    write_sequences(path, sequences, SAMPLE_INFO)
    return path


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


def test_threads_of_one_job_do_not_stay_for_the_next(tmp_path: Path, base: Path) -> None:
    settings = settings_of(tmp_path / "one", base={"checkpoint": str(base)}, trainer={"max_epochs": 1, "threads": 2})
    fit(settings)
    assert torch.get_num_threads() == 2
    fit(settings_of(tmp_path / "two", base={"checkpoint": str(base)}, trainer={"max_epochs": 1, "threads": None}))
    assert torch.get_num_threads() == import_module("stickgen.training.fit")._THREADS


def test_what_a_bases_file_does_not_tell_travels_on_with_what_is_made_of_it(tmp_path: Path) -> None:
    bare = StickFigureTransformer(d_model=48, nhead=4, num_layers=2)
    torch.save(bare.state_dict(), tmp_path / "reference.pth")
    path = data_file(tmp_path / "data.pt", camera=True)
    settings: dict[str, Any] = {
        "data": {"path": str(path), "conditions": ["camera"]},
        "trainer": {"max_epochs": 1},
        "objective": {"name": "bidirectional", "causal": False},
    }
    adapted = fit(settings_of(tmp_path / "lora", base={"checkpoint": str(tmp_path / "reference.pth")}, **settings))
    record = load_adapter(adapted.run.adapter).base_record
    assert record is not None
    assert record.conditions == ["camera"]
    assert record.text_encoder == SAMPLE_INFO["text_encoder"]

    report = merge(MergeConfig(checkpoint=str(adapted.run.path), output=str(tmp_path / "merged.pth")))
    assert report.adapter_effect > 0
    merged = load_base(report.output).record
    assert (merged.conditions, merged.text_encoder) == (["camera"], SAMPLE_INFO["text_encoder"])
    # and is then taken for what it is
    fit(settings_of(tmp_path / "again", base={"checkpoint": str(report.output)}, **settings))
    with pytest.raises(ConfigError, match="trained without partner"):
        fit(
            settings_of(
                tmp_path / "refused",
                base={"checkpoint": str(report.output)},
                **{**settings, "data": {"path": str(path), "conditions": ["camera", "partner"]}},
            )
        )


def test_an_adapter_on_the_camera_path_is_verified_with_cameras(tmp_path: Path) -> None:
    torch.save(StickFigureTransformer(d_model=48, nhead=4, num_layers=2).state_dict(), tmp_path / "reference.pth")
    path = data_file(tmp_path / "data.pt", camera=True)
    result = fit(
        settings_of(
            tmp_path / "run",
            base={"checkpoint": str(tmp_path / "reference.pth")},
            lora={"rank": 2, "alpha": 4.0, "targets": {"camera": ["camera_projection"]}},
            data={"path": str(path), "conditions": ["camera"]},
            trainer={"max_epochs": 1},
            objective={"name": "bidirectional", "causal": False},
        )
    )
    report = merge(MergeConfig(checkpoint=str(result.run.path), output=str(tmp_path / "merged.safetensors")))
    assert report.adapter_effect > 0


def test_the_same_adapter_is_not_merged_twice_even_without_a_fingerprint(
    run: FitResult, base: Path, tmp_path: Path
) -> None:
    adapter = replace(load_adapter(run.run.adapter), base_fingerprint=None, base_path=None, base_record=None)
    save_adapter(adapter, tmp_path / "adapter")
    once = str(tmp_path / "once.safetensors")
    merge(MergeConfig(checkpoint=str(tmp_path / "adapter"), base_checkpoint=str(base), output=once))
    with pytest.raises(CheckpointError, match="has this adapter merged into it already"):
        merge(
            MergeConfig(checkpoint=str(tmp_path / "adapter"), base_checkpoint=once, output=str(tmp_path / "twice.pth"))
        )


# Micro-batches and the base's precision.


def test_the_measured_micro_batch_is_kept_and_makes_the_same_run_as_that_number(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def seconds(module: MotionModule, data: ClipDataModule, size: int, config: TrainConfig, trainer: Trainer) -> float:
        asked.append(size)
        torch.rand(3)  # measuring draws dropout masks
        module.step_loss(next(iter(data.train_dataloader())))[0].backward()
        return {1: 9.0, 2: 4.0, 4: 1.0, 8: 1.2}[size]

    monkeypatch.setattr(micro_batch, "_seconds", seconds)
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.2, "targets": {"attention": ["self_attn"]}}
    groups = {"base": {"checkpoint": str(base)}, "lora": lora}
    measured = fit(settings_of(tmp_path / "auto", trainer={"micro_batch": "auto"}, **groups))
    assert asked[:4] == [1, 2, 4, 8]
    assert measured.run.read_config().trainer.micro_batch == 4
    given = fit(settings_of(tmp_path / "four", trainer={"micro_batch": 4}, **groups))
    assert same(adapter_of(measured), adapter_of(given))
    other = fit(settings_of(tmp_path / "one", trainer={"micro_batch": 1}, **groups))
    assert not same(adapter_of(measured), adapter_of(other))  # dropout falls otherwise


def test_without_dropout_every_micro_batch_makes_the_same_adapter(tmp_path: Path, base: Path, run: FitResult) -> None:
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": {"attention": ["self_attn"]}}
    adapters = [
        adapter_of(
            fit(
                settings_of(
                    tmp_path / str(size), trainer={"micro_batch": size}, base={"checkpoint": str(base)}, lora=lora
                )
            )
        )
        for size in (None, 1, 8)
    ]
    for other in adapters[1:]:
        for key, value in adapters[0].items():
            torch.testing.assert_close(other[key], value, rtol=1e-3, atol=1e-5)


def test_the_search_measures_whole_micro_batches_and_leaves_nothing_behind(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(
        tmp_path / "run",
        base={"checkpoint": str(base)},
        data={"batch_size": 8},
        trainer={"accumulate_grad_batches": 8, "accelerator": "cpu"},
    )
    data = ClipDataModule(settings.data)  # 24 clips, steps of 64
    built = build_model(settings, data)
    module = MotionModule(built.model, settings, built.fingerprint).train()
    shown: list[tuple[int, int]] = []
    whole = MotionModule.step_loss

    def watched(self: MotionModule, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        shown.append((batch.embedding.shape[0], batch.motion.shape[0]))
        return whole(self, batch)

    monkeypatch.setattr(MotionModule, "step_loss", watched)
    monkeypatch.setattr(micro_batch, "HOPELESS", math.inf)
    random = torch.get_rng_state()
    seconds = micro_batch.seconds_by_micro_batch(module, data, settings, Trainer(accelerator="cpu", logger=False))
    assert list(seconds) == [1, 2, 4, 8, 16]
    assert all(taken > 0 for taken in seconds.values())
    assert [size for size, _ in shown[:15]] == [size for size in seconds for _ in range(3)]
    longest = max(clip.length for clip in data.split.train)
    assert shown[0][1] == longest  # of a step with all clips
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("accelerator", ["tpu", "mps"])
def test_the_search_on_a_device_that_is_not_there_is_one_line(tmp_path: Path, base: Path, accelerator: str) -> None:
    settings = settings_of(
        tmp_path / "run",
        base={"checkpoint": str(base)},
        trainer={"micro_batch": "auto", "accelerator": accelerator},
    )
    with pytest.raises(ConfigError, match=r"^trainer(: |\.accelerator=mps: )"):
        fit(settings)


def test_the_search_measures_real_passes(tmp_path: Path, base: Path) -> None:
    settings = settings_of(tmp_path / "run", trainer={"micro_batch": "auto"}, base={"checkpoint": str(base)})
    chosen = fit(settings).run.read_config().trainer.micro_batch
    assert isinstance(chosen, int)
    assert 8 % chosen == 0


@pytest.mark.parametrize(
    ("size", "message"), [(3, "does not divide the 8 clips"), (0, "auto or null"), ("fast", "auto")]
)
def test_an_impossible_micro_batch_is_refused(tmp_path: Path, size: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of(tmp_path, trainer={"micro_batch": size}, base={"checkpoint": "base.safetensors"})


@pytest.mark.parametrize("key", ["trainer.micro_batch=1", "trainer.accumulate_grad_batches=3"])
def test_a_resumed_run_keeps_its_division(run: FitResult, key: str) -> None:
    with pytest.raises(ConfigError, match="keeps its settings"):
        resume_config(str(run.run.path), [key])


def test_a_base_in_bfloat16_trains_as_well_and_is_scored_in_float32(
    tmp_path: Path, base: Path, run: FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So small a base is trained in it on any machine.
    monkeypatch.setattr("stickgen.training.precision.bfloat16_speed", lambda device: 1.0)
    coarse = fit(settings_of(tmp_path / "bf16", base={"checkpoint": str(base), "dtype": "bfloat16"}))
    assert coarse.scores["frozen base"] == run.scores["frozen base"]
    for split in ("val", "test"):
        exact = run.scores["adapter"][split]["loss"]
        assert coarse.scores["adapter"][split]["loss"] == pytest.approx(exact, rel=0.01)
    assert not same(adapter_of(coarse), adapter_of(run))
    assert merge(MergeConfig(str(coarse.run.path), str(tmp_path / "merged.safetensors"))).largest_difference < 1e-4


def test_what_auto_has_chosen_is_kept_in_the_settings(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stickgen.training.precision.bfloat16_speed", lambda device: 0.01)
    config = settings_of(
        tmp_path / "run",
        base={"checkpoint": str(base), "dtype": "auto"},
        trainer={**LIMITS, "max_steps": 1, "precision": "auto"},
    )
    kept = fit(config).run.read_config()
    assert (kept.base.dtype, kept.trainer.precision) == ("float32", "32-true")


def test_weights_in_training_stay_in_float32(tmp_path: Path, base: Path) -> None:
    with pytest.raises(ConfigError, match="is for a frozen base"):
        settings_of(tmp_path, base={"checkpoint": str(base), "dtype": "bfloat16"}, lora={"enabled": False})
