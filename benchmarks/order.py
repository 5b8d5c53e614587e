"""The order of training clips for several numbers of workers and devices, as a digest of the first steps of two epochs.

    python -m benchmarks.order --clips 1000000 --steps 2000
    python -m benchmarks.order --data shards/ --steps 2000

Without --data, a packed file of random clips (4 to 8 frames, embeddings of 16) is generated in a temporary folder, and
a folder of four shards of the same clips. A digest covers the numbers of every micro-batch in the order in which they
are trained on; those of two devices are taken in turn. It ends with status 1 where digests of one epoch differ.
"""

import argparse
import hashlib
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.open_data import generate_packed
from stickgen.config import DataConfig
from stickgen.data.batch import Batch
from stickgen.data.dataset import open_dataset
from stickgen.data.loader import StepPlan, make_loader
from stickgen.data.stores import ClipSet

BATCH, MICRO_BATCHES = 4, 2
"""Clips of a micro-batch, and micro-batches of a step."""


def digest(clips: ClipSet, epoch: int, steps: int, workers: int, devices: int) -> str:
    """Return the digest of the first steps of an epoch."""
    loaders = []
    for rank in range(devices):
        plan = StepPlan(clips.infos, BATCH, MICRO_BATCHES, shuffle=True, seed=1, rank=rank, processes=devices)
        plan.set_epoch(epoch)
        loaders.append(iter(make_loader(plan, clips, (), workers)))
    found = hashlib.sha256()
    for batch in itertools.islice(_in_turn(loaders), steps * MICRO_BATCHES):
        for track in (batch.motion, batch.embedding, batch.actions):
            found.update(track.numpy().tobytes())
    return found.hexdigest()[:16]


def _in_turn(loaders: list[Iterator[Batch]]) -> Iterator[Batch]:
    for batches in zip(*loaders, strict=True):
        yield from batches


def main() -> None:
    """Parse the command line, and print a line for every way to read each set of clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=2000, help="optimizer steps of each of two epochs")
    parser.add_argument("--data", type=Path, nargs="+", help="packed files, or folders of them, of the same clips")
    given = parser.parse_args()
    digests: dict[int, set[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = given.data or [Path(folder) / "one.safetensors", Path(folder) / "shards"]
        if not given.data:
            for path, shards in zip(paths, (1, 4), strict=True):
                generate_packed(path, given.clips, (4, 8), 16, shards)
        for path in paths:
            clips = open_dataset(DataConfig(path=str(path)))[0].train
            print(f"{path.name}: {len(clips):,} training clips, {given.steps:,} steps of {BATCH * MICRO_BATCHES}")
            for epoch, (workers, devices) in itertools.product((0, 1), ((0, 1), (2, 1), (4, 1), (0, 2), (2, 2))):
                started = time.perf_counter()
                value = digest(clips, epoch, given.steps, workers, devices)
                digests.setdefault(epoch, set()).add(value)
                seconds = time.perf_counter() - started
                print(f"  epoch {epoch}  workers {workers}  devices {devices}  {value}  {seconds:.0f} s", flush=True)
    equal = all(len(found) == 1 for found in digests.values()) and len(digests) == len(set.union(*digests.values()))
    print("equal in each epoch, and another from epoch to epoch" if equal else "NOT equal")
    raise SystemExit(not equal)


if __name__ == "__main__":
    main()
