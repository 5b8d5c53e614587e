"""What a GPU computes is what the CPU does; skipped without one. benchmarks/gpu.sh runs it where one is lent."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.artifacts.base import load_base
from stickgen.generation import rollout
from stickgen.training import FitResult, fit, resume_config
from stickgen.training.module import MotionModule
from tests.runs import make_base
from tests.training.short_runs import adapter_of, settings_of

FOUND = [name for name, module in {"cuda": torch.cuda, "mps": torch.backends.mps}.items() if module.is_available()]
"""Kinds of accelerators that this machine has."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base.safetensors")


def trained(folder: Path, base: Path, accelerator: str, dtype: str = "float32", **trainer: Any) -> FitResult:
    """Return a short run without dropout, whose masks no two devices draw alike."""
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": {"attention": ["self_attn"]}}
    limits = {"accumulate_grad_batches": 2, "max_epochs": 2, "threads": 1, "accelerator": accelerator, **trainer}
    return fit(settings_of(folder, base={"checkpoint": str(base), "dtype": dtype}, lora=lora, trainer=limits))


@pytest.fixture(scope="module")
def on_cpu(base: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return trained(tmp_path_factory.mktemp("cpu") / "run", base, "cpu")


@pytest.fixture(scope="module", params=FOUND or [pytest.param("", marks=pytest.mark.skip("no GPU on this machine"))])
def accelerator(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def on_gpu(accelerator: str, base: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return trained(tmp_path_factory.mktemp(accelerator) / "run", base, accelerator)


def test_it_trains_the_adapter_that_the_cpu_trains(on_cpu: FitResult, on_gpu: FitResult) -> None:
    expected, found = adapter_of(on_cpu), adapter_of(on_gpu)
    assert expected.keys() == found.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-2, atol=1e-4)


def test_it_reports_the_scores_that_the_cpu_reports(on_cpu: FitResult, on_gpu: FitResult) -> None:
    expected, found = (json.loads(result.run.metrics.read_text())["scores"] for result in (on_cpu, on_gpu))
    for predictor, splits in expected.items():
        for split, metrics in splits.items():
            assert found[predictor][split] == pytest.approx(metrics, rel=1e-3, abs=1e-9)


def test_a_stopped_run_continues(
    on_gpu: FitResult, accelerator: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, steps = MotionModule.step_loss, []

    def stopping(self: MotionModule, *batch: Any) -> Any:
        steps.append(self.device.type)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, *batch)

    monkeypatch.setattr(MotionModule, "step_loss", stopping)
    with pytest.raises(Exception, match="saved at step"):
        trained(tmp_path / "run", base, accelerator)
    resumed = fit(resume_config(str(tmp_path / "run"), []))
    assert set(steps) == {accelerator}
    for key, value in adapter_of(on_gpu).items():
        torch.testing.assert_close(adapter_of(resumed)[key], value, rtol=1e-4, atol=1e-6)


def test_bfloat16_and_the_search_for_a_micro_batch(
    on_gpu: FitResult, accelerator: str, base: Path, tmp_path: Path
) -> None:
    result = trained(tmp_path / "run", base, accelerator, dtype="auto", micro_batch="auto", precision="auto")
    losses = [json.loads(r.run.metrics.read_text())["scores"]["adapter"]["test"]["pose_mse"] for r in (on_gpu, result)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_it_generates_what_the_cpu_generates(accelerator: str, base: Path) -> None:
    model = load_base(base).model.eval()
    torch.manual_seed(0)
    text, start = torch.randn(3, model.settings["embedding_dim"]), 0.3 * torch.randn(4, 3, 20)
    expected = rollout(model, text, 12, start)
    model.to(accelerator)
    found = rollout(model, text.to(accelerator), 12, start.to(accelerator))
    assert found.device.type == accelerator
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)
