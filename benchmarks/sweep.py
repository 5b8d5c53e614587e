"""A rank × alpha sweep on the sample data: its jobs beside each other (launcher=joblib), and one after the other.

    python benchmarks/sweep.py --runs 3
    python benchmarks/sweep.py --runs 1 --report docs/images   # also `stickgen sweep-report` of the last sweep
    python benchmarks/sweep.py --runs 1 --store --experiment style 'lora.layers=[6,7]' data.augment.variants=2

Both sweeps are `python train.py sweep=grid experiment=sample`, twelve jobs of one thread each, in a fresh process
and timed from the shell, imports and tables included; they take turns. Their adapters are compared: a job must not
depend on what runs beside it. The ratio of the two is what counts: on a busy machine both get slower. With --store,
the jobs beside each other train from what the frozen layers give, which the first job stores for all
(docs/adapters.md), and the jobs in turn compute it in every step, with as many threads as jobs run at once.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
QUIET = "callbacks.progress_bar=false"


def time_sweep(folder: Path, overrides: list[str]) -> float:
    """Return the seconds that a sweep takes."""
    command = [sys.executable, str(ROOT / "train.py"), "sweep=grid", *overrides]
    started = time.perf_counter()
    command.append(f"hydra.sweep.dir='{folder}'")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds


def same_adapters(one: Path, two: Path) -> bool:
    """Return whether the jobs of two sweeps came to the same adapters, bit for bit."""
    ours, theirs = (
        {path.relative_to(sweep): load_file(path) for path in sweep.glob("*/adapter/*.safetensors")}
        for sweep in (one, two)
    )
    return ours.keys() == theirs.keys() and all(
        bool((value == theirs[path][key]).all()) for path, state in ours.items() for key, value in state.items()
    )


def main() -> None:
    """Time both ways and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="jobs at once")
    parser.add_argument("--experiment", default="sample", help="preset of conf/experiment that the jobs train")
    parser.add_argument("--store", action="store_true", help="jobs at once share a store, jobs in turn have none")
    parser.add_argument("--report", type=Path, help="folder for the report on the last sweep")
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", help="of train.py, as trainer.max_epochs=2")
    arguments = parser.parse_args()
    beside = ["launcher=joblib", f"hydra.launcher.n_jobs={arguments.jobs}"]
    in_turn = ["trainer.threads=1", QUIET]
    if arguments.store:
        in_turn = [f"trainer.threads={arguments.jobs}", "trainer.cache_frozen=null", QUIET]
    ways = {"one after the other": in_turn, f"{arguments.jobs} at once": beside}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for run in range(arguments.runs):
        with tempfile.TemporaryDirectory() as folder:
            order = list(ways)[:: 1 if run % 2 == 0 else -1]
            for way in order:
                settings = [f"experiment={arguments.experiment}", *ways[way], *arguments.overrides]
                seconds[way].append(time_sweep(Path(folder) / way, settings))
                print(f"run {run + 1}: {way}: {seconds[way][-1]:.1f} s", flush=True)
            sweeps = [Path(folder) / way for way in ways]
            if not arguments.store:
                print(f"run {run + 1}: the same adapters: {same_adapters(*sweeps)}", flush=True)
            if arguments.report and run == arguments.runs - 1:
                report = [sys.executable, "-m", "stickgen", "sweep-report", str(sweeps[1]), "--overwrite"]
                subprocess.run([*report, "--out", str(arguments.report.resolve())], cwd=ROOT, check=True)
    ratios = [after / before for before, after in zip(*seconds.values(), strict=True)]
    for way, times in seconds.items():
        print(f"{way:>20}  {statistics.median(times):8.1f} s")
    print(f"{'ratio':>20}  {statistics.median(ratios):8.2f}   ({min(ratios):.2f}-{max(ratios):.2f})")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": seconds, "ratios": ratios}, indent=2) + "\n")


if __name__ == "__main__":
    main()
