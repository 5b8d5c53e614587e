"""A training step by operation: its time, and what its products and bytes would take at this machine's best rates.

    python benchmarks/profile_step.py --dtype float32 bf16 --contender stickgen_whole

Products are counted from their shapes; bytes are those of an operation's inputs and its result, each read or written
once, in the width of the encoder. *Roof* is the time of the products at the machine's best rate, or of the bytes at the
rate of a copy that fits no cache, whichever is longer. Less time than the roof means that a cache held the numbers.
Products inside PyTorch's attention are not counted.
"""

import argparse
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
import train_step
from torch.profiler import profile

PRODUCTS = {"aten::mm": 0, "aten::bmm": 0, "aten::addmm": 1, "aten::addmm_": 1, "aten::baddbmm": 1}
"""Operations that multiply matrices, and which of their inputs is the first factor."""

VIEWS = ("aten::slice", "aten::view", "aten::as_strided", "aten::empty_strided")
"""Operations that read and write no numbers."""

SHOWN = 0.01
"""Operations with less than this share of the time are summed up."""


def copy_rate() -> float:
    """Return the bytes a second, read and written, of a copy of 128 MiB."""
    source, target = torch.ones(2, 2**25).unbind()
    best = math.inf
    for _ in range(5):
        started = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - started)
    return 2 * source.nbytes / best


def counted(name: str, shapes: Sequence[Sequence[int]], width: int) -> tuple[float, float]:
    """Return the floating-point operations and the bytes of one call."""
    sizes = [math.prod(shape) for shape in shapes if shape]
    if name in PRODUCTS:
        first, second = shapes[PRODUCTS[name] : PRODUCTS[name] + 2]
        result = math.prod(first) // first[-1] * second[-1]
        return 2.0 * result * first[-1], float(width * (math.prod(first) + math.prod(second) + result))
    if name in VIEWS:
        return 0.0, 0.0
    return 0.0, float(width * (sum(sizes) + max(sizes, default=0)))


def rows(task: train_step.Task) -> list[tuple[str, float, float, float]]:
    """Profile a step; return name, seconds, operations and bytes of each kind of operation, the longest first."""
    torch.set_num_threads(task.threads)
    model = train_step.build(task.contender, task.base_dropout, task.dtype)
    motion, text = torch.randn(task.frames, task.batch, train_step.DIM), torch.randn(task.batch, train_step.EMBEDDING)

    def step() -> None:
        train_step.loss_of(model, task, motion, text).backward()

    step()
    step()
    with profile(record_shapes=True) as profiled:
        step()
    width = 2 if task.dtype == "bf16" else 4
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for event in profiled.key_averages(group_by_input_shape=True):
        entry: Any = event
        operations, moved = counted(entry.key, entry.input_shapes, width)
        own = sums[entry.key]
        own[0] += entry.self_cpu_time_total / 1e6
        own[1] += operations * entry.count
        own[2] += moved * entry.count
    return sorted(((name, *own) for name, own in sums.items()), key=lambda row: -row[1])


def main() -> None:
    """Print a table for each dtype."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bf16"), default=["float32"])
    parser.add_argument("--contender", choices=train_step.CONTENDERS, default="stickgen_whole")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--base-dropout", type=float, default=0.0)
    given = parser.parse_args()
    bandwidth = copy_rate()
    for dtype in given.dtype:
        rate = train_step.matrix_rate(dtype, 1, "cpu") * 1e9
        task = train_step.Task(given.contender, given.batch, given.batch, dtype, given.base_dropout, threads=1)
        found = rows(task)
        total = sum(row[1] for row in found)
        print(f"\n{given.contender}, {dtype}, batch {given.batch}: {1000 * total:.0f} ms on one thread", end="; ")
        print(f"products at {rate / 1e9:.0f} GFLOP/s, copies at {bandwidth / 1e9:.1f} GB/s\n")
        print("| operation | ms | share | GFLOP | MB | roof, ms |\n| --- | ---: | ---: | ---: | ---: | ---: |")
        for name, seconds, operations, moved in found:
            if seconds > SHOWN * total and name.startswith("aten::"):
                roof = max(operations / rate, moved / bandwidth)
                products = f"{operations / 1e9:.1f}" if operations else "–"
                read = f"{moved / 1e6:,.0f} | {1000 * roof:.0f}" if moved else "– | –"
                of_all = f"{1000 * seconds:.0f} | {seconds / total:.0%}"
                print(f"| {name.removeprefix('aten::')} | {of_all} | {products} | {read} |")
        rest = total - sum(row[1] for row in found if row[1] > SHOWN * total and row[0].startswith("aten::"))
        print(f"| the rest, and what is between | {1000 * rest:.0f} | {rest / total:.0%} | | | |")


if __name__ == "__main__":
    main()
