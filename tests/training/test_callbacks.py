from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import RichProgressBar

from stickgen.config import BaseConfig, CallbacksConfig, LoRAConfig, TrainConfig
from stickgen.training.callbacks import EpochBar, RunCheckpoint, make_callbacks


def best_of(folder: Path) -> RunCheckpoint:
    settings = TrainConfig(
        base=BaseConfig(checkpoint="base.pth"),
        lora=LoRAConfig(targets={"all": ["attention"]}),
        callbacks=CallbacksConfig(progress_bar=False),
    )
    callbacks = make_callbacks(settings, folder)
    return next(c for c in callbacks if isinstance(c, RunCheckpoint) and c.filename == "best")


def test_the_best_is_still_known_where_the_run_was_moved(tmp_path: Path) -> None:
    before, score = best_of(tmp_path / "here"), torch.tensor(0.5)
    path = str(tmp_path / "here" / "best.ckpt")
    before.best_model_path = before.kth_best_model_path = path
    before.best_model_score = before.kth_value = score
    before.best_k_models = {path: score}

    after = best_of(tmp_path / "there")
    after.load_state_dict(before.state_dict())
    moved = str(tmp_path / "there" / "best.ckpt")
    assert after.best_model_path == after.kth_best_model_path == moved
    assert after.best_model_score == score
    assert after.best_k_models == {moved: score}
    assert after.kth_value == score


def test_the_bar_counts_from_one_and_shows_the_mean_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = EpochBar()
    trainer = SimpleNamespace(max_epochs=5, max_steps=-1, global_step=0)
    bar._trainer = trainer  # type: ignore[assignment]
    assert bar._get_train_description(0) == "Epoch 1/5"
    trainer.max_steps = 160
    assert bar._get_train_description(1) == "Epoch 2", "the number of epochs is no limit then"

    latest = {"loss": 1.0}
    monkeypatch.setattr(RichProgressBar, "get_metrics", lambda *_: dict(latest))
    shown = []
    for step, latest["loss"] in enumerate([1.0, 3.0, 3.0]):
        trainer.global_step = step
        shown.append([bar.get_metrics(trainer, None)["loss"] for _ in range(2)])  # type: ignore[arg-type]
    assert all(first == again for first, again in shown), "the bar is drawn several times a step"
    # Weights 0.081, 0.09, 0.1 of the three steps, divided by their sum.
    assert [first for first, _ in shown] == pytest.approx([1.0, (0.09 + 0.3) / 0.19, (0.081 + 0.27 + 0.3) / 0.271])
