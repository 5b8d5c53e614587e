"""`stickgen prepare` with one worker and with two, in turn.

    python -m benchmarks.prepare --sources path/to/bvh --files 286 --pairs 3

The BVH files of a folder are copied under other names until there are --files of them, each with a caption; four views
of each make 1,144 clips of 286 files. Before every run, a product of matrices shows how busy the machine is. Every run
has a process of its own, and the files that they write are compared.
"""

import argparse
import csv
import hashlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

OPTIONS = ("--view", "both", "--random-views", "2", "--name-views", "--overwrite")


def write_sources(folder: Path, files: list[Path], count: int) -> Path:
    """Copy files until there are enough; return a table of their captions."""
    folder.mkdir()
    table = folder.with_name("captions.csv")
    with table.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["file", "caption", "take"])
        for number in range(count):
            source = files[number % len(files)]
            name = f"{source.stem}_{number:05}{source.suffix}"
            shutil.copyfile(source, folder / name)
            writer.writerow([name, f"A person moves in way {number % 100}.", source.stem])
    return table


def gflops() -> float:
    """Return how fast this machine multiplies now, on one thread."""
    torch.set_num_threads(1)
    a = torch.randn(1024, 1024)
    started = time.perf_counter()
    for _ in range(5):
        a @ a
    return 5 * 2 * 1024**3 / (time.perf_counter() - started) / 1e9


def main() -> None:
    """Parse the command line, and print every run and the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="a folder of BVH files")
    parser.add_argument("--files", type=int, default=286)
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    files = sorted(given.sources.glob("*.bvh"))
    if not files:
        raise SystemExit(f"{given.sources}: no BVH files")
    taken: dict[int, list[float]] = {1: [], 2: []}
    digests = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = write_sources(folder / "sources", files, given.files)
        output = folder / "clips.pt"
        for pair in range(given.pairs):
            for workers in (1, 2) if pair % 2 == 0 else (2, 1):
                rate = gflops()
                command = [str(folder / "sources"), "-o", str(output), "--captions-file", str(table), *OPTIONS]
                started = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "stickgen", "prepare", *command, "--workers", str(workers)],
                    check=True,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
                taken[workers].append(time.perf_counter() - started)
                digests.add(hashlib.sha256(output.read_bytes()).hexdigest())
                print(f"{workers} workers: {taken[workers][-1]:.1f} s; matrices {rate:.0f} GFLOP/s", flush=True)
    medians = {workers: statistics.median(of) for workers, of in taken.items()}
    ratios = [one / two for one, two in zip(taken[1], taken[2], strict=True)]
    print(f"medians {medians[1]:.1f} s and {medians[2]:.1f} s; ratio {min(ratios):.2f} to {max(ratios):.2f}")
    print("identical files" if len(digests) == 1 else "the files DIFFER")


if __name__ == "__main__":
    main()
