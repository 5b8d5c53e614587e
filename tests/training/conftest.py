from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stickgen.artifacts.base import save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.config import (
    BaseConfig,
    DataConfig,
    LoRAConfig,
    LossWeights,
    ObjectiveConfig,
    TrainConfig,
)
from stickgen.lora import adapted_layers, inject_lora_adapters
from stickgen.model import StickFigureTransformer
from stickgen.sample import SAMPLE_INFO
from stickgen.training import FitResult, fit
from stickgen.training.module import MotionModule
from tests.random_clips import EMBEDDING_DIM
from tests.training.short_runs import settings_of

SMALL = {"d_model": 48, "nhead": 4, "num_layers": 2, "embedding_dim": EMBEDDING_DIM, "dropout": 0.0}

Build = Callable[..., MotionModule]


@pytest.fixture(scope="session")
def model() -> Callable[..., StickFigureTransformer]:
    """A small seeded base; keyword arguments change its settings."""

    def make(seed: int = 0, **settings: Any) -> StickFigureTransformer:
        torch.manual_seed(seed)
        given = {**SMALL, "causal": True, "pose_output": "residual", "pose_scale": 0.1, **settings}
        return StickFigureTransformer(**given).eval()

    return make


@pytest.fixture(scope="session")
def module(model: Callable[..., StickFigureTransformer]) -> Build:
    """A module in training mode that needs no Trainer: ``module.steps`` collects what it logs, step by step.

    Args of the builder: ``lora`` (False trains every weight), ``accumulate``, ``objective`` and ``model`` settings.
    """

    def make(
        *,
        lora: bool = True,
        accumulate: int = 1,
        objective: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        **config: Any,
    ) -> MotionModule:
        made = model(**(settings or {}))
        if lora:
            inject_lora_adapters(made, ["transformer_encoder", "pose_decoder"], 4, 8.0, 0.0)
            with torch.no_grad():  # as if after some training: at its start half of an adapter's gradients are zero
                for layer in adapted_layers(made).values():
                    layer.lora_B.normal_(std=0.05)
        else:
            made.requires_grad_(True)
        train_config = TrainConfig(
            base=BaseConfig(checkpoint="base.safetensors"),
            lora=LoRAConfig(enabled=lora, targets={"all": ["transformer_encoder", "pose_decoder"]}),
            objective=ObjectiveConfig(**{"causal": made.causal, "weights": LossWeights(), **(objective or {})}),
            data=DataConfig(),
            run_dir="run",
            **config,
        )
        motion_module = MotionModule(made, train_config, "f" * 32 if lora else None)
        motion_module._trainer = SimpleNamespace(accumulate_grad_batches=accumulate, world_size=1, global_rank=0)
        steps: list[dict[str, float]] = []
        motion_module.steps = steps
        motion_module.log = lambda *args, **kwargs: None
        motion_module.log_dict = lambda values, **kwargs: steps.append({k: float(v) for k, v in values.items()})
        return motion_module.train()

    return make


@pytest.fixture
def one_thread() -> Any:
    """Sums in the same order from run to run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def gradients() -> Callable[[MotionModule], dict[str, torch.Tensor]]:
    """The gradients of a module's trained parameters, by name."""

    def read(motion_module: MotionModule) -> dict[str, torch.Tensor]:
        return {n: p.grad.clone() for n, p in motion_module.named_parameters() if p.grad is not None}

    return read


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    threads = torch.get_num_threads()
    yield tmp_path_factory.mktemp("fit")
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def base(folder: Path) -> Path:
    torch.manual_seed(0)
    model = StickFigureTransformer(
        d_model=48, nhead=4, num_layers=2, causal=True, pose_output="residual", pose_scale=0.05
    )
    record = BaseRecord(settings={}, objective="causal", text_encoder=SAMPLE_INFO["text_encoder"], origin={"seed": 0})
    save_base(model, record, folder / "base.safetensors")
    return folder / "base.safetensors"


@pytest.fixture(scope="session")
def base_bytes(base: Path) -> bytes:
    return base.read_bytes()


@pytest.fixture(scope="session")
def run(folder: Path, base: Path, base_bytes: bytes) -> FitResult:
    """The run that most tests look at, with TensorBoard."""
    return fit(settings_of(folder / "run", base={"checkpoint": str(base)}, logger={"kinds": ["tensorboard"]}))


@pytest.fixture(scope="session")
def scratch(folder: Path) -> FitResult:
    """A run that trains a new base."""
    sizes = {"d_model": 48, "nhead": 4, "num_layers": 2, "causal": True, "pose_output": "velocity", "pose_scale": 0.02}
    return fit(settings_of(folder / "scratch", base={"from_scratch": True, **sizes}, lora={"enabled": False}, seed=3))
