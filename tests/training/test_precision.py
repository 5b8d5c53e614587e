"""What a run computes in, on machines with and without bfloat16; how fast they are is told here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.config import BaseConfig, LoRAConfig, TrainConfig, TrainerConfig
from stickgen.errors import ConfigError
from stickgen.training import fit, precision
from stickgen.training.precision import bfloat16_speed, device_type, with_precision
from stickgen.training.processes import check_devices

Speed = Callable[[float], None]


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Speed:
    """Set how many times as fast as float32 this machine's bfloat16 is."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)

    def set_speed(value: float) -> None:
        monkeypatch.setattr(precision, "bfloat16_speed", lambda device: value)

    return set_speed


def settings(dtype: str = "float32", precision: str = "32-true", lora: bool = True, **trainer: Any) -> TrainConfig:
    return TrainConfig(
        base=BaseConfig(checkpoint="base.safetensors", dtype=dtype),
        lora=LoRAConfig(enabled=lora, targets={"all": ["transformer_encoder"]}),
        trainer=TrainerConfig(precision=precision, **trainer),
        run_dir="run",
    )


def chosen(config: TrainConfig) -> tuple[str, str]:
    made = with_precision(config)
    return made.base.dtype, made.trainer.precision


@pytest.mark.parametrize(
    ("value", "found"), [(0.01, ("float32", "32-true")), (1.1, ("float32", "32-true")), (2, ("bfloat16", "bf16-mixed"))]
)
def test_auto_takes_the_faster(speed: Speed, value: float, found: tuple[str, str]) -> None:
    speed(value)
    assert chosen(settings("auto", "auto")) == found


def test_weights_in_training_stay_in_float32(speed: Speed) -> None:
    speed(2.0)
    assert chosen(settings("auto", "auto", lora=False)) == ("float32", "bf16-mixed")


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"dtype": "bfloat16"}, r"^base\.dtype=bfloat16: .* 50 times slower .*; set base\.dtype=auto or .*=float32$"),
        (
            {"precision": "bf16-mixed"},
            r"^trainer\.precision=bf16-mixed: .*; set trainer\.precision=auto or .*=32-true$",
        ),
    ],
)
def test_what_a_cpu_has_no_instructions_for_is_refused(speed: Speed, asked: dict[str, str], line: str) -> None:
    speed(0.02)
    with pytest.raises(ConfigError, match=line):
        with_precision(settings(**asked))
    speed(0.9)
    assert with_precision(settings(**asked)) == settings(**asked)


def test_an_accelerator_is_asked_for_what_it_is_told(speed: Speed, monkeypatch: pytest.MonkeyPatch) -> None:
    speed(0.02)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    assert chosen(settings("bfloat16", "bf16-mixed")) == ("bfloat16", "bf16-mixed")
    assert device_type("cpu") == "cpu"
    with pytest.raises(ConfigError):
        with_precision(settings("bfloat16", accelerator="cpu"))


def test_other_settings_are_not_measured_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_seconds", None)
    assert with_precision(settings()) == settings()


def test_the_measurement_is_made_once_and_leaves_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    bfloat16_speed.cache_clear()
    threads = torch.get_num_threads()
    assert bfloat16_speed("cpu") > 0
    assert torch.get_num_threads() == threads
    monkeypatch.setattr(precision, "_seconds", None)
    assert bfloat16_speed("cpu") > 0


def test_a_run_is_refused_before_anything_is_written(speed: Speed, tmp_path: Path) -> None:
    speed(0.02)
    config = settings("bfloat16", accelerator="cpu")
    config.run_dir = str(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"base\.dtype=bfloat16"):
        fit(config)
    assert list(tmp_path.iterdir()) == []


def test_more_processes_than_processors_are_refused(speed: Speed, monkeypatch: pytest.MonkeyPatch) -> None:
    speed(1.0)
    for processors, most in ((1, 2), (8, 8)):
        monkeypatch.setattr("os.cpu_count", lambda n=processors: n)
        check_devices(settings(devices=most))
        with pytest.raises(ConfigError, match=rf"trainer\.devices=32: at most {most}, the processors here"):
            check_devices(settings(devices=32))


@pytest.mark.parametrize("threads", [0, 100_000])
def test_threads_are_bounded(threads: int) -> None:
    with pytest.raises(ConfigError, match=rf"trainer\.threads={threads}: 1 to 1024, or null expected"):
        TrainerConfig(threads=threads)
