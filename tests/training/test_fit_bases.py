"""Runs on bases of their own: new ones, without a record, in bfloat16, with conditions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stickgen.artifacts.adapter import load_adapter, save_adapter
from stickgen.artifacts.base import load_base
from stickgen.config import (
    MergeConfig,
)
from stickgen.data.datamodule import ClipDataModule
from stickgen.errors import CheckpointError, ConfigError
from stickgen.export.merge import merge
from stickgen.model import StickFigureTransformer
from stickgen.sample import SAMPLE_INFO
from stickgen.training import FitResult, fit
from tests.training.short_runs import adapter_of, data_file, same, scores_of, settings_of


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


def test_what_a_bases_file_does_not_tell_travels_on_with_what_is_made_of_it(tmp_path: Path) -> None:
    bare = StickFigureTransformer(d_model=48, nhead=4, num_layers=2)
    torch.save(bare.state_dict(), tmp_path / "reference.pth")
    path = data_file(tmp_path / "data.pt", camera=True)
    settings: dict[str, Any] = {
        "data": {"path": str(path), "conditions": ["camera"]},
        "trainer": {"max_epochs": 1},
        "objective": {"causal": False},
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
            objective={"causal": False},
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
        trainer={
            "max_epochs": 1,
            "max_steps": 1,
            "accumulate_grad_batches": 2,
            "accelerator": "cpu",
            "threads": 1,
            "precision": "auto",
        },
    )
    kept = fit(config).run.read_config()
    assert (kept.base.dtype, kept.trainer.precision) == ("float32", "32-true")


def test_weights_in_training_stay_in_float32(tmp_path: Path, base: Path) -> None:
    with pytest.raises(ConfigError, match="is for a frozen base"):
        settings_of(tmp_path, base={"checkpoint": str(base), "dtype": "bfloat16"}, lora={"enabled": False})
