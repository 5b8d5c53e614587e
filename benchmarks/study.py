"""Which settings matter: small studies of adapters on a target style, scored there and on the base's own data.

    python benchmarks/study.py rank --data data/salsa.pt --own data/cmu_sample.pt --out outputs/study

trains every case of a study with every seed through train.py, scores them together with `stickgen evaluate`, prints a
table, and writes all figures to <out>/<study>.json and .png, those of a part of its cases to a file that names them.
Finished runs of the same settings are kept: an interrupted study goes on. With --times, it prints the seconds of each
case's fastest run and the errors in its metrics.json instead, which needs no scoring.

    full        an adapter beside full fine-tuning at equal steps, each at two learning rates, and at the better one in
                equal time
    rank        rank 2 to 32, alpha twice the rank
    alpha       alpha 4 to 64 at rank 8
    targets     which layers are adapted
    top         adapters in the last layers, trained from what the layers below give for four variants of each clip,
                beside the same adapter trained by PEFT on PyTorch's own operations (peft_run.py; `pip install peft`)
    dropout     of the frozen base while the adapter trains
    shots       how many clips there are to train on
    forgetting  what is gained against what is forgotten, by rate and scale, of adapters and of full fine-tuning
    drift       the disturbed input, and the places, of pretraining while the adapter trains
    style       what each part of experiment=style does, by leaving it out; with --set experiment=style
"""

import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from stickgen.artifacts.run import RunFolder
from stickgen.console import report_errors
from stickgen.errors import StickgenError
from stickgen.evaluation.evaluate import evaluate
from stickgen.evaluation.plot import save_plot
from stickgen.evaluation.scores import Report
from stickgen.evaluation.table import summary_text
from stickgen.metrics import FROZEN_BASE

ROOT = Path(__file__).resolve().parents[1]

SHOWN = {
    "pose_mse": "next-frame pose MSE",
    "rollout_mse_400ms": "rollout MSE 0.4 s",
    "rollout_mse_1000ms": "1 s",
    "speed_ratio": "speed ÷ real",
    "foot_skating": "foot skating",
    "bone_length_error": "bone-length error",
    "frechet_distance": "Fréchet distance",
}

SHOWN_OF_STYLE = {
    "pose_mse": "next-frame pose MSE",
    "rollout_mse_2000ms": "rollout MSE 2 s",
    "speed_ratio": "speed ÷ real",
    "rest_speed_ratio": "the same from rest",
    "foot_skating": "foot skating",
    "style_recognised": "style recognised",
    "switch_style_recognised": "after a switch",
    "rest_style_recognised": "from rest",
    "rest_action_recognised": "action from rest",
    "rest_frechet_distance": "Fréchet distance from rest",
}
"""The columns of the study "style"."""

STEP_RATIO = 0.85
"""Time of an adapter's step over that of a full fine-tuning step, as docs/performance.md has it for these settings."""

VARIANTS = "data.augment.variants=4"
"""Of a clip, where only the last layers are adapted."""

PEFT = "PEFT, all layers"
"""Trained by peft_run.py."""

SECONDS = "process_seconds.txt"
"""In the folder of a run that a study trained: what its process took, imports, stores and scores included."""

ADAPTER_POINTS = [(16, "1e-3"), (16, "3e-3"), (64, "1e-3"), (64, "2e-3"), (64, "3e-3")]


def studies(steps: int, step_ratio: float = STEP_RATIO) -> dict[str, dict[str, list[str]]]:
    """Return study → label → settings of train.py beside the common ones.

    Args:
        steps: optimizer steps of every case.
        step_ratio: time of an adapter's step over that of a full fine-tuning step.
    """
    full = ["lora.enabled=false"]
    fewer = f"trainer.max_steps={max(1, round(steps * step_ratio))}"
    drift = ["objective.input_noise=0.004", "objective.input_drift=0.04"]
    groups = {
        "attention": "[attention]",
        "ffn": "[ffn]",
        "compact": "[compact]",
        "all (the card's)": "[transformer_encoder,pose_decoder]",
    }
    return {
        "full": {
            "adapter": [],
            "adapter, lr 3e-3": ["optimizer.lr=3e-3"],
            "full": [*full, "optimizer.lr=1e-4"],
            "full, lr 3e-4": [*full, "optimizer.lr=3e-4"],
            "full, equal time": [*full, "optimizer.lr=3e-4", fewer],
        },
        "rank": {f"rank {rank}": [f"lora.rank={rank}", f"lora.alpha={2 * rank}"] for rank in (2, 4, 8, 16, 32)},
        "alpha": {f"alpha {alpha}": [f"lora.alpha={alpha}"] for alpha in (4, 8, 16, 32, 64)},
        "targets": {name: [f"lora/targets={group}"] for name, group in groups.items()},
        "top": {
            "all layers": [VARIANTS],
            **{f"last {k}": [_last_layers(k), VARIANTS] for k in (6, 4, 2, 1)},
            "decoder": ["lora/targets=[pose_decoder]", VARIANTS],
            # In bfloat16 under autocast: the base's own bfloat16 is stickgen's.
            PEFT: [VARIANTS, "base.dtype=float32"],
        },
        "dropout": {f"base dropout {p}": [f"base.dropout={p}"] for p in (0, 0.1)},
        "shots": {
            "5 clips": ["data.train_clips=5"],
            "20 clips": ["data.train_clips=20"],
            "all clips": [],
        },
        "forgetting": {
            **{f"adapter, alpha {a}, lr {lr}": [f"lora.alpha={a}", f"optimizer.lr={lr}"] for a, lr in ADAPTER_POINTS},
            **{f"full, lr {lr}": [*full, f"optimizer.lr={lr}"] for lr in ("1e-4", "2e-4", "3e-4", "6e-4")},
        },
        "style": {
            "whole recipe": [],
            "last four layers": [_last_layers(4)],
            "last four layers, four variations": [_last_layers(4), VARIANTS],
            "even pace": ["objective.input_pace=0"],
            "no prior clips": ["objective.prior_clips=0"],
            "no starts from rest": ["data.augment.rest_start=0"],
            "no mirrored clips": ["data.augment.mirror=0"],
            "no noise, no drift": ["objective.input_noise=0", "objective.input_drift=0"],
            "no contact": ["objective.weights.contact=0"],
        },
        "drift": {"input drifts": drift, "input drifts, clips shifted": [*drift, "data.augment.shift=8"]},
    }


def _last_layers(count: int) -> str:
    return f"lora.layers=[{','.join(map(str, range(-count, 0)))}]"


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=list(studies(1)))
    parser.add_argument("--data", required=True, help="data file of the target style")
    parser.add_argument("--own", help="data file of the base's own motion, for what is forgotten")
    parser.add_argument("--base", help="[default: the one that train.py adapts]")
    parser.add_argument("--out", type=Path, default=Path("outputs/study"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--step-ratio", type=float, default=STEP_RATIO, help="see benchmarks/train_step.py")
    parser.add_argument("--only", nargs="+", help="cases, by label")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--set", nargs="+", default=[], help="settings of train.py for every case")
    args = parser.parse_args()
    with report_errors():
        _study(args)


def _study(args: argparse.Namespace) -> None:
    common = [
        f"data.path={args.data}",
        f"data.batch_size={args.batch}",
        "trainer.accumulate_grad_batches=1",
        "trainer.max_epochs=10000",
        f"trainer.max_steps={args.steps}",
        # One validation at the end: which step is the best is not chosen on so few clips.
        f"trainer.val_every_n_epochs={10000}",
        f"optimizer.lr={args.lr}",
        "trainer.precision=auto",
        "callbacks.progress_bar=false",
        "callbacks.show_motion.every_n_epochs=null",
        "logger=csv",
        *([f"base.checkpoint={args.base}"] if args.base else []),
        *args.set,
    ]
    cases = studies(args.steps, args.step_ratio)[args.study]
    if args.own and Path(args.own).resolve() == Path(args.data).resolve():
        raise StickgenError(f"--own {args.own}: another file than --data expected")
    if unknown := set(args.only or ()) - set(cases):
        raise StickgenError(f"--only {', '.join(unknown)}: {', '.join(cases)} expected")
    cases = {label: settings for label, settings in cases.items() if not args.only or label in args.only}
    folders: dict[str, list[RunFolder]] = {label: [] for label in cases}
    for seed in args.seeds:
        for label, settings in cases.items():
            all_settings = [*common, *settings, f"seed={seed}", f"name={args.study}"]
            digest = hashlib.sha256("\n".join(all_settings).encode()).hexdigest()[:8]
            folder = args.out / args.study / f"{_plain(label)}-{seed}-{digest}"
            _train("benchmarks/peft_run.py" if label == PEFT else "train.py", folder, all_settings)
            folders[label].append(RunFolder(folder))
    if args.times:
        _print_times(folders)
        return
    models = [f"{label}={run.path}" for label, runs in folders.items() for run in runs]
    files = [args.data, *([args.own] if args.own else [])]
    scores = evaluate(models, files)
    report = scores.report
    target = args.out / f"{'-'.join([args.study, *map(_plain, args.only or ())])}.json"
    scores.write(target)
    save_plot(report, target.with_suffix(".png"), overwrite=True)
    _print(report, SHOWN_OF_STYLE if args.study == "style" else SHOWN)
    if args.study == "forgetting" and args.own:
        _draw_tradeoff(report, target.with_name(f"{target.stem}-tradeoff.png"))
    print(f"\nall figures: {target}, and as a picture beside it")


def _plain(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", label)


def _print_times(folders: Mapping[str, Sequence[RunFolder]]) -> None:
    print("\n| | s a run | test pose MSE | val pose MSE |\n| --- | ---: | ---: | ---: |")
    for label, runs in folders.items():
        metrics = [json.loads(run.metrics.read_text(encoding="utf-8")) for run in runs]
        errors = []
        for split in ("test", "val"):
            values = [found["scores"][found["trained"]][split]["pose_mse"] for found in metrics]
            spread = f" ± {statistics.stdev(values):.2e}" if len(values) > 1 else ""
            errors.append(f"{statistics.mean(values):.3e}{spread}")
        seconds = min(float((run.path / SECONDS).read_text(encoding="utf-8")) for run in runs)
        print(f"| {label} | {seconds:.0f} | {' | '.join(errors)} |")


def _train(script: str, folder: Path, settings: list[str]) -> None:
    if RunFolder(folder).metrics.is_file():
        return
    command = [sys.executable, script, *settings, f"hydra.run.dir={folder.resolve()}"]
    print("$", "python", *command[1:], flush=True)
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "COLUMNS": "120"}, capture_output=True, text=True)
    if done.returncode:
        raise StickgenError(f"{folder}: {script} failed: {done.stderr.strip().splitlines()[-1]}")
    (folder / SECONDS).write_text(f"{time.perf_counter() - started:.1f}\n", encoding="utf-8")


def _draw_tradeoff(report: Report, path: Path) -> None:
    """Draw what is gained on the target against what is lost on the base's own data, a line for each kind of case."""
    target, own = report.values()
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for kind in dict.fromkeys(label.rpartition(", lr ")[0] for label in target if ", lr " in label):
        cases = [label for label in target if label.rpartition(", lr ")[0] == kind]
        x, y = ([rows[label]["pose_mse"] for label in cases] for rows in (own, target))
        axes.errorbar(
            [s.mean for s in x], [s.mean for s in y], [s.std or 0 for s in y], [s.std or 0 for s in x],
            marker="o", capsize=2, label=kind,
        )  # fmt: skip
        for label, here, there in zip(cases, x, y, strict=True):
            rate = label.rpartition(", lr ")[2]
            axes.annotate(rate, (here.mean, there.mean), xytext=(5, 4), textcoords="offset points", fontsize=8)
    if FROZEN_BASE in own:
        axes.plot(
            own[FROZEN_BASE]["pose_mse"].mean, target[FROZEN_BASE]["pose_mse"].mean, "k*", ms=10, label=FROZEN_BASE
        )
    axes.set_xlabel("next-frame pose MSE on the base's own motion: right is forgotten")
    axes.set_ylabel("on the target style: down is gained")
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, title="by learning rate")
    figure.savefig(path, dpi=110)


def _print(report: Report, shown: Mapping[str, str]) -> None:
    for source, rows in report.items():
        print(f"\n{source}\n")
        print("| |", " | ".join(shown.values()), "|")
        print("| --- |", " | ".join(["---:"] * len(shown)), "|")
        for name, metrics in rows.items():
            print(f"| {name} |", " | ".join(summary_text(metric, metrics.get(metric)) for metric in shown), "|")


if __name__ == "__main__":
    main()
