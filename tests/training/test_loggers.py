import errno
import os
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from stickgen.artifacts.run import RunFolder
from stickgen.config import BaseConfig, LoRAConfig, TrainConfig, TrainerConfig
from stickgen.errors import OutputError
from stickgen.training.loggers import shown_settings, told_of_logs


def test_a_full_disk_under_a_log_is_told_with_the_run_and_what_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = TensorBoardLogger(tmp_path, name="tensorboard", version="")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(logger.experiment, "add_scalar", full)
    # Lightning puts an error of its own over the system's.
    expected = rf"{tmp_path}: its logs: No space left on device; nothing is saved yet, the same command starts anew"
    with pytest.raises(OutputError, match=expected), told_of_logs(RunFolder(tmp_path)):
        logger.log_metrics({"loss": 0.5}, step=1)


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="another"), told_of_logs(RunFolder(tmp_path)):
        raise ValueError("another")
    with pytest.raises(FileNotFoundError), told_of_logs(RunFolder(tmp_path)):
        (tmp_path / "missing").read_text()


def test_the_hparams_tab_shows_the_adapter_first_and_then_what_was_changed() -> None:
    lora = LoRAConfig(rank=4, targets={"attention": ["self_attn"], "ffn": ["linear1"]})
    config = TrainConfig(
        base=BaseConfig(checkpoint="base.pth"), lora=lora, trainer=TrainerConfig(max_steps=80), seed=3, name="mine"
    )
    assert list(shown_settings(config).items()) == [
        ("lora.rank", 4),
        ("lora.alpha", 16.0),
        ("optimizer.lr", config.optimizer.lr),
        ("lora.targets", "attention, ffn"),
        ("base.checkpoint", "base.pth"),
        ("trainer.max_steps", 80),
        ("seed", 3),
    ]
    whole = TrainConfig(base=BaseConfig(checkpoint="base.pth"), lora=LoRAConfig(enabled=False))
    assert list(shown_settings(whole)) == ["optimizer.lr", "base.checkpoint", "lora.enabled", "seed"]
