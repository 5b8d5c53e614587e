"""How a step's time and memory grow with the clips' length and the batch.

    python benchmarks/scaling.py --frames 60 125 250 500 --batch 1 2 4 8 16

The medium base, rank 8 on the card's targets, all clips of a batch in one pass; each cell is a process of its own, and
the cells of a row of lengths take steps in turn. Peaks are with pinned allocator thresholds (train_step.py says why).
"""

import argparse
import json
import statistics
from pathlib import Path

from train_step import PINNED, Task, peak_mib, start_worker, take_turns


def row(frames: int, batches: list[int], given: argparse.Namespace) -> list[dict[str, float]]:
    """Return the figures of every batch size at one length."""

    def start(batch: int, **env: str):  # type: ignore[no-untyped-def]
        task = Task(
            "stickgen", batch, batch, given.dtype, threads=given.threads, frames=frames, cpu_time=given.cpu_time
        )
        return start_worker(task, **env)

    workers = {batch: start(batch) for batch in batches}
    seconds = take_turns(workers, given.runs)
    for worker in workers.values():
        worker.communicate("end\n")
    figures = []
    for batch in batches:
        median = statistics.median(seconds[batch])
        figures.append(
            {
                "frames": frames,
                "batch": batch,
                "seconds": median,
                "low": min(seconds[batch]),
                "high": max(seconds[batch]),
                "frames_per_second": frames * batch / median,
                "pinned_peak_mib": peak_mib(start(batch, **PINNED)),
            }
        )
    return figures


def main() -> None:
    """Parse the command line, run, print the table and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[60, 125, 250, 500])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--dtype", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="measure the processor's time, on a busy machine")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    results = []
    print(f"{'frames':>7}{'batch':>6}{'ms/step':>9}{'range':>13}{'frames/s':>10}{'peak MiB':>10}")
    for frames in given.frames:
        for cell in row(frames, given.batch, given):
            results.append(cell)
            spread = f"{1000 * cell['low']:.0f}-{1000 * cell['high']:.0f}"
            print(
                f"{cell['frames']:7}{cell['batch']:6}{1000 * cell['seconds']:9.0f}{spread:>13}"
                f"{cell['frames_per_second']:10.0f}{cell['pinned_peak_mib']:10.0f}",
                flush=True,
            )
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
