"""Choosing how an optimizer step's clips are divided into forward passes: by measuring."""

import time

import torch
from torch import Tensor

from stickgen.config import TrainConfig
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.loader import MicroBatch, MicroBatches
from stickgen.training.module import MotionModule

TOLERANCE = 1.03
"""A larger micro-batch must be faster than a smaller one by more than this, since it needs more memory."""

HOPELESS = 1.25
"""Once a size takes this much longer a clip than the best so far, larger ones are not tried."""

PRECISIONS = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def seconds_by_micro_batch(module: MotionModule, data: ClipDataModule, config: TrainConfig) -> dict[int, float]:
    """Measure training passes on micro-batches of every size that divides a step evenly, smallest first.

    Each size is tried on the clips in the middle of the run's own first step. The module's gradients and the random
    numbers of the run are left as they were.

    Returns:
        seconds a clip by clips of a micro-batch, up to the size at which it gets hopeless or the memory runs out.
    """
    device = torch.device(_accelerator(config.trainer.accelerator))
    step_size = config.step_size
    seconds: dict[int, float] = {}
    module.to(device)
    with torch.random.fork_rng():
        for size in (n for n in range(1, step_size + 1) if step_size % n == 0):
            try:
                seconds[size] = _seconds(module, data, size, config) / size
            except torch.cuda.OutOfMemoryError:
                torch.cuda.empty_cache()
                break
            if seconds[size] > HOPELESS * min(seconds.values()):
                break
    module.zero_grad(set_to_none=True)
    return seconds


def fastest(seconds: dict[int, float]) -> int:
    """Return the size that takes the least time a clip, of those that hardly differ the smallest."""
    least = min(seconds.values())
    return min(size for size, taken in seconds.items() if taken <= TOLERANCE * least)


def _seconds(module: MotionModule, data: ClipDataModule, size: int, config: TrainConfig) -> float:
    """Return the seconds of a pass forward and backward, the lesser of two after one that warms up."""
    data.divide(size, config.step_size // size)
    step: list[MicroBatch] = []
    for micro_batch in data.train_plan():
        step.append(micro_batch)
        if micro_batch.ends_step:
            break
    clips = MicroBatches(data.split.train, config.data.conditions)
    batch = clips[step[len(step) // 2]].to(module.device)

    def once() -> float:
        started = time.perf_counter()
        dtype = PRECISIONS[config.trainer.precision]
        with torch.autocast(module.device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss: Tensor = module.step_loss(batch)[0]
        loss.backward()
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    once()
    return min(once(), once())


def _accelerator(name: str) -> str:
    """Return the kind of device that Lightning takes for ``trainer.accelerator``."""
    if name in ("auto", "gpu", "cuda"):
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name
