from pathlib import Path

import torch

from stickgen.config import BaseConfig, CallbacksConfig, LoRAConfig, TrainConfig
from stickgen.training.callbacks import RunCheckpoint, make_callbacks


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
