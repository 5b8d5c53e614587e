"""How a run divides its steps into micro-batches, and the search for the fastest division."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor

from stickgen.config import (
    TrainConfig,
)
from stickgen.data.batch import Batch
from stickgen.data.datamodule import ClipDataModule
from stickgen.errors import ConfigError
from stickgen.training import FitResult, fit, micro_batch, resume_config
from stickgen.training.module import MotionModule
from stickgen.training.setup import build_model
from tests.training.short_runs import adapter_of, same, settings_of


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
