"""Loggers besides TensorBoard and CSV; those two are tested with whole runs."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stickgen.artifacts.run import RunFolder
from stickgen.config import BaseConfig, LoggerConfig, LoRAConfig, TrainConfig
from stickgen.config.running import LOGGERS
from stickgen.errors import ConfigError
from stickgen.training import loggers


def settings(run: Path, *kinds: str) -> TrainConfig:
    lora = LoRAConfig(targets={"attention": ["self_attn"]})
    return TrainConfig(
        base=BaseConfig(checkpoint="base.pth"), lora=lora, logger=LoggerConfig(kinds=[*kinds]), run_dir=str(run)
    )


def test_every_kind_of_the_settings_has_a_maker() -> None:
    assert tuple(loggers._MAKERS) == LOGGERS


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
@pytest.mark.skipif(
    any(importlib.util.find_spec(name) for name in ("wandb", "mlflow")), reason="the packages are installed"
)
def test_a_package_that_is_not_installed(tmp_path: Path, package: str) -> None:
    with pytest.raises(ConfigError) as raised:
        loggers.make_loggers(settings(tmp_path, package), RunFolder(tmp_path), None)
    assert str(raised.value) == f"logger.kinds: {package} is not installed; pip install 'stickgen[{package}]'"


def test_a_service_that_does_not_answer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("api_key not configured (no-tty). call wandb.login()\nmore\nlines")

    monkeypatch.setattr(loggers, "WandbLogger", refuse)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(ConfigError) as raised:
        loggers.make_loggers(settings(tmp_path, "wandb"), RunFolder(tmp_path), None)
    assert str(raised.value) == "logger.kinds: wandb: api_key not configured (no-tty). call wandb.login()"


@pytest.mark.parametrize(("step", "expected"), [(None, None), (0, "0kme6f1z"), (6, "0kme6f1z")])
def test_a_continued_run_adds_to_its_run_of_wandb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int | None, expected: str | None
) -> None:
    for name in ("offline-run-20261129_131651-0kme6f1z", "run-20261129_131836-0kme6f1z"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    given = {}

    def make(name: str, folder: Path, **settings: Any) -> SimpleNamespace:
        given.update(settings, name=name, folder=folder)
        return SimpleNamespace(experiment=None)

    monkeypatch.setattr(loggers, "WandbLogger", make)
    loggers._wandb(RunFolder(tmp_path), step)
    assert given == {"name": tmp_path.name, "folder": tmp_path, "id": expected, "project": "stickgen"}
