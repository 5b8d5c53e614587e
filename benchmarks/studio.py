"""Latency and memory of the studio's Generate tab, without the browser: what its handler yields, and when.

    python benchmarks/studio.py --seconds 5 --repeats 50 --json studio.json

Prints the time to the first frame that plays and to the whole clip, by the clock and in processor time of all threads,
when the model and the text encoder are read from the disk (cold) and when they are in memory (warm); and the memory of
the process after the first and the last generation.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import torch

from stickgen.artifacts.base_lookup import DEFAULT_BASE
from stickgen.artifacts.model import ModelOptions
from stickgen.artifacts.model_name import Weighted
from stickgen.render import Style
from stickgen.reports.page import page
from stickgen.studio.generating import Asked, Column, LoadedModels, make, scenes_of
from stickgen.studio.shelf import Shelf


def resident_mib() -> float:
    """Return the memory that the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measured(asked: Asked, models: LoadedModels, shelf: Shelf) -> dict[str, float]:
    """Return seconds to the first frame and to the whole clip of one generation, each as the page gets it."""
    begun = time.perf_counter(), time.process_time()
    seen: dict[str, float] = {}

    def show(name: str, panels: list) -> None:  # type: ignore[type-arg]
        shelf.put("motion.html", page(scenes_of(asked, panels), (), "motion", Style()))
        seen[name] = time.perf_counter() - begun[0]
        seen[f"{name}, processor"] = time.process_time() - begun[1]

    show("whole clip", make(asked, models, lambda panels: show("first frame", panels)))
    return seen


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--model", type=Path, default=DEFAULT_BASE)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    models, shelf = LoadedModels(ModelOptions()), Shelf()

    def asked(seed: int) -> Asked:
        return Asked(
            ["a person walks forward"],
            [Column("model", (Weighted(arguments.model),))],
            arguments.seconds,
            seed,
            options=models.options,
        )

    cold = measured(asked(0), models, shelf)
    after_first = resident_mib()
    warm, memory = [], []
    for seed in range(1, arguments.repeats + 1):
        warm.append(measured(asked(seed), models, shelf))
        memory.append(resident_mib())
    names = [name for name in cold if name in warm[0]]
    table = {name: {"cold": cold[name], "warm": statistics.median(one[name] for one in warm)} for name in names}
    print(f"{arguments.seconds:g} s of motion, {torch.get_num_threads()} threads, median of {arguments.repeats}")
    for name, row in table.items():
        print(f"{name:<25} cold {row['cold']:6.2f} s   warm {row['warm']:6.2f} s")
    shown = {count: memory[count - 1] for count in (10, 25, arguments.repeats) if count <= len(memory)}
    print(f"memory, MiB: after the first {after_first:.0f}; " + ", ".join(f"{n}: {m:.0f}" for n, m in shown.items()))
    if arguments.json:
        content = {"seconds": arguments.seconds, "times": table, "memory_mib": [after_first, *memory]}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
