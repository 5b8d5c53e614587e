"""Time and private memory of opening a data file: one of torch's (.pt) beside the same clips packed (.safetensors).

    python benchmarks/open_data.py --clips 1000 10000 50000
    python benchmarks/open_data.py --clips 1000000 --packed --frames 4 8 --embedding 16 --shards 1

Files are generated (60 to 250 frames, every label, embeddings of 1024) into a temporary folder and deleted afterwards.
--frames and --embedding make them smaller, for many clips; --packed leaves the .pt out, and the packed file is written
directly; --shards divides it into several files.
Every measurement has a process of its own, which imports first and then opens, filters and splits as `train.py` does,
forms a batch of two, and reads every training clip once. Private memory is the process's anonymous memory (RssAnon):
pages of a mapped file belong to the system's cache, and are not counted. Its peak is sampled while the file is opened,
and "resident" is the largest resident memory until then, pages of mapped files included. Both include torch and the
interpreter, but not Lightning, which opening does not need. Files are dropped from the system's cache before each
opening, unless --warm.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch

FORMATS = ("pt", "safetensors")
BYTES_A_FRAME = 117
"""What a frame takes in a packed file: 20 numbers, physics, camera and a label."""

BYTES_A_CLIP = 600
"""At most what a clip takes beside its frames and its embedding."""

MEASURES = (
    "open_s", "open_processor_s", "batch_s", "all_s", "imports_mib", "peak_mib", "open_mib", "resident_mib", "end_mib",
)  # fmt: skip


class GeneratedClips:
    """Clips of random motion, two a take, made when they are asked for.

    Args:
        clips: how many.
        frames: fewest and most frames.
        embedding: numbers of an embedding.
        first: number of the first clip.
    """

    def __init__(self, clips: int, frames: tuple[int, int], embedding: int, first: int) -> None:
        import numpy as np

        from stickgen.data.clips import ClipInfo
        from stickgen.data.table import ClipInfos

        self.sequences = clips
        lengths = np.random.default_rng(first).integers(frames[0], frames[1] + 1, clips).tolist()
        self.infos = ClipInfos.of(
            [
                ClipInfo(
                    position=index,
                    length=length,
                    dim=20,
                    width=embedding,
                    description=f"A person moves in way {first + index}.",
                    take=str((first + index) // 2),
                    source="benchmark",
                    action_counts={(first + index) % 46: length},
                    has_physics=True,
                    has_camera=True,
                    quality=0.9,
                    index=index,
                )
                for index, length in enumerate(lengths)
            ]
        )
        self._embedding = embedding
        self._numbers = torch.from_numpy(
            np.random.default_rng(0).standard_normal(40 * frames[1] + embedding + 1000, dtype=np.float32)
        )

    def load(self, position: int) -> Any:
        """Return a clip."""
        from stickgen.data.clips import Clip

        info, numbers = self.infos[position], self._numbers[position % 1000 :]
        return Clip(
            motion=numbers[: info.length * 20].view(-1, 20),
            embedding=numbers[: self._embedding],
            description=info.description,
            take=info.take,
            actions=torch.full((info.length,), next(iter(info.action_counts or {}))),
            physics=numbers[: info.length * 6].view(-1, 6),
            camera=numbers[: info.length * 3].view(-1, 3),
        )

    def digest(self, position: int) -> str:
        """Not needed."""
        raise NotImplementedError


def generate_packed(path: Path, clips: int, frames: tuple[int, int], embedding: int, shards: int) -> None:
    """Write a packed file, or a folder of several, clip by clip."""
    from stickgen.data.packed_writer import write_packed

    if shards == 1:
        write_packed(path, GeneratedClips(clips, frames, embedding, 0), {})
        return
    path.mkdir()
    for shard in range(shards):
        begin, end = (clips * at // shards for at in (shard, shard + 1))
        write_packed(path / f"{shard:04}.safetensors", GeneratedClips(end - begin, frames, embedding, begin), {})


def generate(path: Path, clips: int, frames_range: tuple[int, int], embedding: int) -> None:
    """Write a file of torch's with clips of random motion, two a take."""
    import numpy as np

    random = np.random.default_rng(0)

    def numbers(*shape: int) -> Any:
        return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))

    sequences = [
        {
            "description": f"A person moves in way {index}.",
            "motion": numbers(frames, 20),
            "embedding": numbers(embedding),
            "actions": torch.full((frames,), index % 46),
            "physics": numbers(frames, 6),
            "camera": numbers(frames, 3),
            "source": "benchmark",
            "quality_score": 0.9,
            "meta": {"take": str(index // 2)},
        }
        for index, frames in enumerate(random.integers(frames_range[0], frames_range[1] + 1, clips).tolist())
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
    with PeakOfMemory() as peak:
        started, spent = time.perf_counter(), time.process_time()
        clips = open_dataset(DataConfig(path=str(path)))[0].train
        opened, processor, open_mib = time.perf_counter(), time.process_time() - spent, private_mib()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
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
        "peak_mib": peak.mib,
        "open_mib": open_mib,
        "resident_mib": resident,
        "end_mib": private_mib(),
    }


class PeakOfMemory:
    """Samples the private memory every few milliseconds while its context lasts."""

    def __enter__(self) -> "PeakOfMemory":
        self.mib = private_mib()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(0.003):
            self.mib = max(self.mib, private_mib())


def files_of(path: Path) -> list[Path]:
    """Return a file, or those of a folder."""
    return sorted(path.iterdir()) if path.is_dir() else [path]


def drop_from_cache(path: Path) -> None:
    """Ask the system to forget the pages it holds of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def in_a_process(*arguments: str) -> str:
    """Run this script with other arguments in a process of its own; return what it prints."""
    return subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def compare(clips: int, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Measure both formats in turn; return each one's medians, ranges and size, and the time to pack."""
    packed = folder / (f"{clips}.safetensors" if given.shards == 1 else f"{clips}")
    paths = {"safetensors": packed} if given.packed else {"pt": folder / f"{clips}.pt", "safetensors": packed}
    sizes = ["--clips", str(clips), "--frames", *map(str, given.frames), "--embedding", str(given.embedding)]
    sizes += ["--shards", str(given.shards)]
    in_a_process("--generate", str(next(iter(paths.values()))), *sizes, *["--packed"] * given.packed)
    started = time.perf_counter()
    if not given.packed:
        command = ["-m", "stickgen", "pack", str(paths["pt"]), str(packed)]
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    pack_s = time.perf_counter() - started
    taken: dict[str, list[dict[str, float]]] = {suffix: [] for suffix in paths}
    for _ in range(given.runs):
        for suffix, path in paths.items():
            if not given.warm:
                for file in files_of(path):
                    drop_from_cache(file)
            taken[suffix].append(json.loads(in_a_process("--measure", str(path))))
    rows = {}
    for suffix, path in paths.items():
        values = {name: [run[name] for run in taken[suffix]] for name in MEASURES}
        rows[suffix] = {
            **{name: statistics.median(of) for name, of in values.items()},
            "open_range": [min(values["open_s"]), max(values["open_s"])],
            "file_mib": sum(file.stat().st_size for file in files_of(path)) / 2**20,
        }
        for file in files_of(path):
            file.unlink()
    return {"clips": clips, "runs": given.runs, "warm": given.warm, "pack_s": pack_s, "formats": rows}


def _bytes_needed(given: argparse.Namespace) -> int:
    """Return how much free space the files of the most clips need: both formats, and one more while it is written."""
    clip = BYTES_A_CLIP + 4 * given.embedding + BYTES_A_FRAME * sum(given.frames) // 2
    return int(max(given.clips) * clip * (1 if given.packed else 3))


def main() -> None:
    """Parse the command line, run, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--warm", action="store_true", help="leave the files in the system's cache")
    parser.add_argument("--packed", action="store_true", help="only packed files, without a .pt beside them")
    parser.add_argument("--frames", type=int, nargs=2, default=[60, 250], help="fewest and most frames of a clip")
    parser.add_argument("--embedding", type=int, default=1024, help="numbers of an embedding")
    parser.add_argument("--shards", type=int, default=1, help="files that a packed set is divided into")
    parser.add_argument("--folder", type=Path, help="where the files are put meanwhile; default: the system's choice")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.generate:
        sizes = given.clips[0], tuple(given.frames), given.embedding
        generate_packed(given.generate, *sizes, given.shards) if given.packed else generate(given.generate, *sizes)
        return
    if given.measure:
        print(json.dumps(measure(given.measure)))
        return
    if given.shards > 1 and not given.packed:
        raise SystemExit("--shards needs --packed")
    results = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        needed, free = _bytes_needed(given), shutil.disk_usage(folder).free
        if free < needed:
            raise SystemExit(f"{folder}: {free / 1e9:.1f} GB free, {needed / 1e9:.1f} GB needed; see --folder")
        print(
            f"{'clips':>7} {'file':12}{'MiB':>7}{'open s':>9}{'range':>14}{'processor s':>13}{'batch s':>9}{'all s':>8}"
            f"{'private MiB: imports':>22}{'peak':>7}{'opened':>8}{'end':>6}{'resident MiB':>14}"
        )
        for clips in given.clips:
            result = compare(clips, Path(folder), given)
            results.append(result)
            for suffix, row in result["formats"].items():
                low, high = row["open_range"]
                print(
                    f"{clips:7} .{suffix:11}{row['file_mib']:7.0f}{row['open_s']:9.2f}{f'{low:.2f}-{high:.2f}':>14}"
                    f"{row['open_processor_s']:13.2f}{row['batch_s']:9.3f}{row['all_s']:8.1f}"
                    f"{row['imports_mib']:22.0f}{row['peak_mib']:7.0f}{row['open_mib']:8.0f}{row['end_mib']:6.0f}"
                    f"{row['resident_mib']:14.0f}"
                )
            if not given.packed:
                print(f"{clips:7} packed in {result['pack_s']:.1f} s", flush=True)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
