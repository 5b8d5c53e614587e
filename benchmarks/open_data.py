"""Time and private memory of opening a data file: one of torch's (.pt) beside the same clips packed (.safetensors).

    python benchmarks/open_data.py --clips 1000 10000 50000

Files are generated (60 to 250 frames, every label, embeddings of 1024) into a temporary folder and deleted afterwards.
Every measurement has a process of its own, which imports first and then opens, filters and splits as `train.py` does,
forms a batch of two, and reads every training clip once. Private memory is the process's anonymous memory (RssAnon):
pages of a mapped file belong to the system's cache, and are not counted. It includes torch and the interpreter, but not
Lightning, which opening does not need. Files are dropped from the system's cache before each opening, unless --warm.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FORMATS = ("pt", "safetensors")
EMBEDDING = 1024
BYTES_A_CLIP = 26_000
"""About what a clip takes in a file, for the check of free disk space."""

MEASURES = ("open_s", "open_processor_s", "batch_s", "all_s", "imports_mib", "open_mib", "end_mib")


def generate(path: Path, clips: int) -> None:
    """Write a file of torch's with clips of random motion, two a take."""
    import numpy as np
    import torch

    random = np.random.default_rng(0)

    def numbers(*shape: int) -> Any:
        return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))

    sequences = [
        {
            "description": f"A person moves in way {index}.",
            "motion": numbers(frames, 20),
            "embedding": numbers(EMBEDDING),
            "actions": torch.full((frames,), index % 46),
            "physics": numbers(frames, 6),
            "camera": numbers(frames, 3),
            "source": "benchmark",
            "quality_score": 0.9,
            "meta": {"take": str(index // 2)},
        }
        for index, frames in enumerate(random.integers(60, 251, clips).tolist())
    ]
    torch.save({"sequences": sequences, "info": {}}, path)


def private_mib() -> float:
    """Return this process's anonymous memory in MiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this benchmark reads /proc/self/status, which Linux has")


def measure(path: Path) -> dict[str, float]:
    """Open a file and use it; return seconds and MiB."""
    from stickgen.config import DataConfig
    from stickgen.data.dataset import open_dataset
    from stickgen.data.loader import StepPlan, make_loader

    imports = private_mib()
    started, spent = time.perf_counter(), time.process_time()
    clips = open_dataset(DataConfig(path=str(path)))[0].train
    opened, processor, open_mib = time.perf_counter(), time.process_time() - spent, private_mib()
    next(iter(make_loader(StepPlan(clips.infos, 2, shuffle=True), clips)))
    batched = time.perf_counter()
    for _ in clips:
        pass
    return {
        "open_s": opened - started,
        "open_processor_s": processor,
        "batch_s": batched - opened,
        "all_s": time.perf_counter() - batched,
        "imports_mib": imports,
        "open_mib": open_mib,
        "end_mib": private_mib(),
    }


def drop_from_cache(path: Path) -> None:
    """Ask the system to forget the pages it holds of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_a_process(*arguments: str) -> str:
    """Run this script with other arguments in a process of its own; return what it prints."""
    return subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def compare(clips: int, folder: Path, runs: int, *, warm: bool) -> dict[str, Any]:
    """Measure both formats in turn; return each one's medians, ranges and size, and the time to pack."""
    paths = {suffix: folder / f"{clips}.{suffix}" for suffix in FORMATS}
    in_a_process("--generate", str(paths["pt"]), "--clips", str(clips))
    started = time.perf_counter()
    command = ["-m", "stickgen", "pack", str(paths["pt"]), str(paths["safetensors"])]
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    pack_s = time.perf_counter() - started
    taken: dict[str, list[dict[str, float]]] = {suffix: [] for suffix in FORMATS}
    for _ in range(runs):
        for suffix, path in paths.items():
            if not warm:
                drop_from_cache(path)
            taken[suffix].append(json.loads(in_a_process("--measure", str(path))))
    rows = {}
    for suffix, path in paths.items():
        values = {name: [run[name] for run in taken[suffix]] for name in MEASURES}
        rows[suffix] = {
            **{name: statistics.median(of) for name, of in values.items()},
            "open_range": [min(values["open_s"]), max(values["open_s"])],
            "file_mib": path.stat().st_size / 2**20,
        }
        path.unlink()
    return {"clips": clips, "runs": runs, "warm": warm, "pack_s": pack_s, "formats": rows}


def main() -> None:
    """Parse the command line, run, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--warm", action="store_true", help="leave the files in the system's cache")
    parser.add_argument("--folder", type=Path, help="where the files are put meanwhile; default: the system's choice")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.generate:
        generate(given.generate, given.clips[0])
        return
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    results = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        needed, free = 3 * BYTES_A_CLIP * max(given.clips), shutil.disk_usage(folder).free
        if free < needed:
            raise SystemExit(f"{folder}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed; see --folder")
        print(
            f"{'clips':>7} {'file':12}{'MiB':>7}{'open s':>9}{'range':>14}{'processor s':>13}{'batch s':>9}{'all s':>8}"
            f"{'private MiB: imports':>22}{'opened':>8}{'end':>6}"
        )
        for clips in given.clips:
            result = compare(clips, Path(folder), given.runs, warm=given.warm)
            results.append(result)
            for suffix, row in result["formats"].items():
                low, high = row["open_range"]
                print(
                    f"{clips:7} .{suffix:11}{row['file_mib']:7.0f}{row['open_s']:9.2f}{f'{low:.2f}-{high:.2f}':>14}"
                    f"{row['open_processor_s']:13.2f}{row['batch_s']:9.3f}{row['all_s']:8.1f}"
                    f"{row['imports_mib']:22.0f}{row['open_mib']:8.0f}{row['end_mib']:6.0f}"
                )
            print(f"{clips:7} packed in {result['pack_s']:.1f} s", flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
