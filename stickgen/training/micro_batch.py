"""Choosing how an optimizer step's clips are divided into forward passes: by measuring."""

import time
from collections.abc import Callable, Sequence

import torch
from lightning import Trainer

from stickgen.config import TrainConfig
from stickgen.data.batch import Batch
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.loader import MicroBatch
from stickgen.training.module import MotionModule

TOLERANCE = 1.03
"""A larger micro-batch must be faster than a smaller one by more than this, since it needs more memory."""

HOPELESS = 1.25
"""Once a size takes this much longer a clip than the best so far, larger ones are not tried."""

AGAIN = 2
"""How often the sizes near the best are measured again."""


def seconds_by_micro_batch(
    module: MotionModule, data: ClipDataModule, config: TrainConfig, trainer: Trainer
) -> dict[int, float]:
    """Measure training passes on micro-batches of every size that divides a step evenly, smallest first.

    Each size is tried on the clips in the middle of the run's own first step, after one pass on its longest clips,
    which must fit into the memory too. Where the module lies, its gradients and the random numbers of the run are
    afterwards as they were.

    Args:
        module: what is to be trained.
        data: its clips; their division is left at the last size tried.
        config: the run's settings.
        trainer: of the run's accelerator and precision.

    Returns:
        seconds a clip by clips of a micro-batch; see :func:`search`.
    """
    clips = min(config.step_size, len(data.split.train))
    home = module.device
    module.to(trainer.strategy.root_device)
    with torch.random.fork_rng():
        seconds = search(
            [size for size in range(1, clips + 1) if config.step_size % (size * config.trainer.devices) == 0],
            lambda size: _seconds(module, data, size, config, trainer),
        )
    module.zero_grad(set_to_none=True)
    module.to(home)
    return seconds


def seconds_a_clip(module: MotionModule, data: ClipDataModule, config: TrainConfig, trainer: Trainer) -> float:
    """Measure the training passes of the run's own micro-batch, as :func:`seconds_by_micro_batch` does of all sizes.

    Args:
        module: what is to be trained.
        data: its clips.
        config: the run's settings; ``trainer.micro_batch`` is no "auto".
        trainer: of the run's accelerator and precision.
    """
    module.to(trainer.strategy.root_device)
    with torch.random.fork_rng():
        return _seconds(module, data, min(config.micro_batch, len(data.split.train)), config, trainer)


def search(sizes: Sequence[int], measure: Callable[[int], float]) -> dict[int, float]:
    """Measure the seconds a clip of sizes, smallest first, and those near the best again, in turn.

    A busy machine can slow any single measurement; what a size takes is the least of its measurements.

    Args:
        sizes: in rising order.
        measure: returns the seconds a clip at a size.

    Returns:
        seconds a clip by size, up to the size at which it gets hopeless or the GPU's memory runs out.
    """
    seconds: dict[int, float] = {}
    for size in sizes:
        try:
            seconds[size] = measure(size)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        if seconds[size] > HOPELESS * min(seconds.values()):
            break
    for _ in range(AGAIN):
        for size in [size for size, taken in seconds.items() if taken < HOPELESS * min(seconds.values())]:
            seconds[size] = min(seconds[size], measure(size))
    return seconds


def fastest(seconds: dict[int, float]) -> int:
    """Return the size that takes the least time a clip, of those that hardly differ the smallest."""
    least = min(seconds.values())
    return min(size for size, taken in seconds.items() if taken <= TOLERANCE * least)


def _seconds(module: MotionModule, data: ClipDataModule, size: int, config: TrainConfig, trainer: Trainer) -> float:
    """Return the seconds a clip of a pass forward and backward, the lesser of two after one that warms up."""
    data.divide(size, config.step_size // size)
    full: list[MicroBatch] = []
    for micro_batch in data.train_plan():
        if len(micro_batch.clips) == size:  # a step of few clips ends with a smaller one
            full.append(micro_batch)
        if micro_batch.ends_step:
            break
    clips = data.train_batches()
    middle, longest = (clips[chosen].to(module.device) for chosen in (full[len(full) // 2], full[-1]))

    def pass_on(batch: Batch) -> float:
        started = time.perf_counter()
        with trainer.precision_plugin.forward_context():
            loss = module.step_loss(batch)[0]
        loss.backward()
        if module.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    pass_on(longest)
    return min(pass_on(middle), pass_on(middle)) / size
