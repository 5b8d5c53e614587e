"""What a user waits for: imports, `--help`, and the first optimizer step of a default `python train.py`.

    python benchmarks/startup.py --runs 5

Every measurement is a fresh process, timed from its start in the shell; files are in the system's cache, since a first
round is not counted. The first step's end is seen from outside: the run is asked for a checkpoint after every step
(callbacks.checkpoint_every_n_steps=1, otherwise the defaults), and the clock stops where the first lies on the disk.
The run's other landmarks are told by the files it writes on its way: config.yaml once settings, data and base are read
and checked, tensorboard/ once the frozen base is evaluated. The processor's seconds beside the clock's tell, on a busy
machine, how much of the time was other programs'; those of the first step are of all cores, until the run is ended.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "import stickgen": ["-c", "import stickgen"],
    "import torch": ["-c", "import torch"],
    "import lightning": ["-c", "import lightning"],
    "import stickgen.training": ["-c", "import stickgen.training"],
    "stickgen --help": ["-m", "stickgen", "--help"],
    "train.py --help": ["train.py", "--help"],
}
LANDMARKS = {
    "train.py: settings, data, base": "config.yaml",
    "train.py: frozen base evaluated": "tensorboard",
    "train.py: first optimizer step": "checkpoints/last.ckpt",
}


def processor_seconds() -> float:
    """Return the time that ended child processes have spent on processors."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def time_command(arguments: list[str]) -> float:
    """Return the seconds that Python takes for a command line."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def time_first_step(overrides: list[str]) -> dict[str, float]:
    """Return the seconds from the start of a run to each landmark; the run is ended at the last."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        settings = [f"run_dir={run}", "callbacks.checkpoint_every_n_steps=1", *overrides]
        reached: dict[str, float] = {}
        started = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "train.py", *settings], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while len(reached) < len(LANDMARKS):
                ended = process.poll() is not None
                for name, file in LANDMARKS.items():
                    if name not in reached and (run / file).exists():
                        reached[name] = time.perf_counter() - started
                if ended and len(reached) < len(LANDMARKS):
                    raise SystemExit(f"train.py {' '.join(settings)}: ended before its first step")
                time.sleep(0.005)
            process.kill()
    return reached


def main() -> None:
    """Parse the command line, run, print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("overrides", nargs="*", help="settings of the run, as data.path=…; default: the defaults")
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in (*COMMANDS, *LANDMARKS)}
    processor: dict[str, list[float]] = {name: [] for name in (*COMMANDS, list(LANDMARKS)[-1])}
    for _ in range(1 + given.runs):
        for name, arguments in COMMANDS.items():
            before = processor_seconds()
            seconds[name].append(time_command(arguments))
            processor[name].append(processor_seconds() - before)
        before = processor_seconds()
        for name, taken in time_first_step(given.overrides).items():
            seconds[name].append(taken)
        processor[list(LANDMARKS)[-1]].append(processor_seconds() - before)
    rows: dict[str, Any] = {}
    print(f"{'':34}{'median s':>10}{'range':>14}{'processor s':>13}   of {given.runs}")
    for name, (_, *counted) in seconds.items():
        rows[name] = {"median_s": statistics.median(counted), "range": [min(counted), max(counted)]}
        low, high = rows[name]["range"]
        rows[name]["processor_s"] = statistics.median(processor[name][1:]) if name in processor else None
        spent = f"{rows[name]['processor_s']:13.2f}" if name in processor else ""
        print(f"{name:34}{rows[name]['median_s']:10.2f}{f'{low:.2f}-{high:.2f}':>14}{spent}")
    if given.json:
        result = {"runs": given.runs, "overrides": given.overrides, "times": rows}
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
