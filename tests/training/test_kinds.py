"""Runs that train each kind of adapter."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from stickgen.artifacts.adapter import load_adapter
from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.model import load_model, read_adapter
from stickgen.artifacts.record import BaseRecord
from stickgen.config import (
    BaseConfig,
    CallbacksConfig,
    DataConfig,
    LoggerConfig,
    LoRAConfig,
    OptimizerConfig,
    SampleConfig,
    TrainConfig,
    TrainerConfig,
)
from stickgen.errors import InterruptedRunError
from stickgen.lora import KINDS
from stickgen.model import StickFigureTransformer
from stickgen.sample import SAMPLE_INFO
from stickgen.training import fit, resume_config
from stickgen.training.module import MotionModule


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = StickFigureTransformer(
        d_model=48, nhead=4, num_layers=2, causal=True, pose_output="residual", pose_scale=0.05
    )
    record = BaseRecord(settings={}, objective="causal", text_encoder=SAMPLE_INFO["text_encoder"], origin={"seed": 0})
    path = tmp_path_factory.mktemp("base") / "base.safetensors"
    save_base(model, record, path)
    return path


def settings_of(run_dir: Path, base: Path, kind: str) -> TrainConfig:
    return TrainConfig(
        base=BaseConfig(checkpoint=str(base)),
        lora=LoRAConfig(2, 4.0, 0.1, kind=kind, targets={"attention": ["self_attn"], "pose": ["pose_decoder"]}),
        data=DataConfig(sample=SampleConfig(clips=30, actions=["walk", "jump", "wave"]), batch_size=8),
        optimizer=OptimizerConfig(lr=1e-2),
        trainer=TrainerConfig(max_epochs=2, accumulate_grad_batches=1, accelerator="cpu", threads=1),
        callbacks=CallbacksConfig(progress_bar=False, checkpoint_every_n_steps=1),
        logger=LoggerConfig(kinds=[]),
        run_dir=str(run_dir),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_was_stopped_equals_the_uninterrupted_one(
    kind: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    whole = fit(settings_of(tmp_path / "whole", base, kind)).run
    before_step = MotionModule.on_before_optimizer_step

    def interrupt(self: MotionModule, optimizer: Optimizer) -> None:
        before_step(self, optimizer)
        if self.global_step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(MotionModule, "on_before_optimizer_step", interrupt)
        with pytest.raises(InterruptedRunError, match="step 4"):
            fit(settings_of(tmp_path / "stopped", base, kind))
    with monkeypatch.context() as patched:
        # Another machine may find other directions; what the run began with is in its checkpoint.
        patched.setattr(torch.linalg, "svd", other_directions)
        resumed = fit(resume_config(str(tmp_path / "stopped"))).run
    torch.set_num_threads(threads)
    ours, theirs = load_adapter(resumed.adapter), load_adapter(whole.adapter)
    assert ours.settings == theirs.settings
    assert ours.state.keys() == theirs.state.keys()
    assert all(torch.equal(value, theirs.state[key]) for key, value in ours.state.items())

    # The checkpoint holds the same adapter as the folder.
    kept, _ = read_adapter(whole.kept())
    assert kept.settings.kind == theirs.settings.kind
    assert all(torch.equal(value, theirs.state[key]) for key, value in kept.state.items())
    models = [load_model(path).model for path in (whole.path, whole.kept())]
    plain = load_base(base).model
    motion, text = torch.randn(5, 2, 20), torch.randn(2, plain.settings["embedding_dim"])
    with torch.no_grad():
        of_folder, of_checkpoint, of_base = (model(motion, text) for model in (*models, plain))
    assert torch.equal(of_folder, of_checkpoint)
    assert not torch.allclose(of_folder, of_base, atol=1e-4)


def other_directions(matrix: Tensor, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    left, values, right = torch.svd(matrix)
    return left.flip(1), values, right.T.flip(0)
