"""Whether a run computes in bfloat16: measured, since processors without it take hundreds of times as long."""

import functools
import time
from dataclasses import replace

import torch

from stickgen.config import TrainConfig
from stickgen.errors import ConfigError

WORTHWHILE = 1.2
"""``auto`` takes bfloat16 where its products are faster than float32's by more than this."""

HOPELESS = 0.25
"""bfloat16 is refused on a CPU whose products in it are slower than this share of float32's speed."""


def with_precision(config: TrainConfig) -> TrainConfig:
    """Return the settings with what this machine computes best in the place of "auto".

    A width that was asked for is never exchanged for another: a run would then not be the one that its settings
    describe, and one that is resumed not go on as it began.

    Raises:
        ConfigError: bfloat16 is asked for, and this CPU computes it much slower than float32.
    """
    base, trainer = config.base, config.trainer
    asked = [
        f"{key}={value}"
        for key, value, half in (
            ("base.dtype", base.dtype, "bfloat16"),
            ("trainer.precision", trainer.precision, "bf16-mixed"),
        )
        if value == half
    ]
    device = device_type(trainer.accelerator)
    if asked and device == "cpu" and bfloat16_speed(device) < HOPELESS:
        key = asked[0].partition("=")[0]
        raise ConfigError(
            f"{asked[0]}: this CPU multiplies in bfloat16 {1 / bfloat16_speed(device):.0f} times slower than in "
            f"float32; set {key}=auto or {key}={'float32' if key == 'base.dtype' else '32-true'}"
        )
    if base.dtype == "auto":
        # Weights in training stay in float32.
        half = config.lora.enabled and bfloat16_speed(device) > WORTHWHILE
        base = replace(base, dtype="bfloat16" if half else "float32")
    if trainer.precision == "auto":
        half = bfloat16_speed(device) > WORTHWHILE
        trainer = replace(trainer, precision="bf16-mixed" if half else "32-true")
    return replace(config, base=base, trainer=trainer)


def device_type(accelerator: str) -> str:
    """Return what ``trainer.accelerator`` computes on: cpu, or the kind of the machine's accelerator."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if accelerator == "cpu" or found is None else found.type


@functools.cache
def bfloat16_speed(device: str) -> float:
    """Return how many times faster a matrix product in bfloat16 is than one in float32 on a device."""
    # On the CPU as large as a layer's; an accelerator's own speed shows only in larger ones.
    size = 256 if device == "cpu" else 4096
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine, several wait for each other for longer than the product takes
    try:
        return _seconds(torch.float32, size, device) / _seconds(torch.bfloat16, size, device)
    finally:
        torch.set_num_threads(threads)


def _seconds(dtype: torch.dtype, size: int, device: str) -> float:
    """Return the least of a few measurements, since other work on the machine can slow any single one."""
    factors = [torch.ones(size, size, dtype=dtype, device=device) for _ in range(2)]
    least = float("inf")
    for _ in range(6):
        began = time.perf_counter()
        torch.mm(*factors)
        if device != "cpu":
            torch.accelerator.synchronize()
        least = min(least, time.perf_counter() - began)
    return least
