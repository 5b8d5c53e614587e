import errno
import os
from pathlib import Path

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from stickgen.artifacts.run import RunFolder
from stickgen.errors import OutputError
from stickgen.training.loggers import told_of_logs


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
