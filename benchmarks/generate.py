"""Time of generating motion from text: through the key/value cache beside reading the whole sequence for every frame.

    python benchmarks/generate.py --batch 1 8 --json generate.json

Contenders, all of the same weights, with random ones since the arithmetic does not depend on them:

    rollout         stickgen.generation.rollout, as it is called: the copy for stepping is part of the time
    rollout, LoRA   the same with rank-8 adapters on the encoder and the pose decoder, which it merges first
    cached          a loop over the model with a cache, without the copy for stepping
    cached, LoRA    likewise with adapters, unmerged
    uncached        the whole sequence again for every frame; --uncached-frames makes it fewer

They take turns, A B C A B C …, so that the machine's drift meets all of them alike. CPU seconds are those of the
process, all threads together: on a busy machine, with --threads 1, they say more than the clock.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stickgen.generation import rollout
from stickgen.lora import inject_lora_adapters
from stickgen.model import KeyValueCache, StickFigureTransformer

VARIANTS = {"small": (256, 8, 6), "medium": (384, 12, 8), "large": (512, 16, 10)}
GIVEN = 1


def build(variant: str, device: str, *, adapters: bool = False) -> StickFigureTransformer:
    """Return a causal model of random weights whose motion stays near where it starts."""
    d_model, nhead, layers = VARIANTS[variant]
    torch.manual_seed(0)
    model = StickFigureTransformer(20, d_model, nhead, layers, causal=True, pose_output="residual", pose_scale=1e-3)
    if adapters:
        inject_lora_adapters(model, rank=8)
    return model.to(device).eval()


@torch.inference_mode()
def cached_loop(model: StickFigureTransformer, text: Tensor, given: Tensor, frames: int) -> Tensor:
    """Return the generated frames, a frame a call."""
    cache = KeyValueCache(capacity=len(given) + frames)
    made = [model(given, text, cache=cache)[-1:]]
    for _ in range(frames - 1):
        made.append(model(made[-1], text, cache=cache))
    return torch.cat(made)


@torch.inference_mode()
def uncached_loop(model: StickFigureTransformer, text: Tensor, given: Tensor, frames: int) -> Tensor:
    """Return the generated frames, the whole sequence a call."""
    motion = given
    for _ in range(frames):
        motion = torch.cat((motion, model(motion, text)[-1:]))
    return motion[len(given) :]


def compare(given: argparse.Namespace, batch: int) -> dict[str, Any]:
    """Let the contenders generate in turn; return the figures of each."""
    plain, adapted = (build(given.variant, given.device, adapters=adapters) for adapters in (False, True))
    torch.manual_seed(1)
    text = torch.randn(batch, 1024, device=given.device)
    start = 0.3 * torch.randn(GIVEN, batch, 20, device=given.device)
    frames, fewer = given.frames, min(given.uncached_frames, given.frames)
    contenders: dict[str, tuple[int, Callable[[], Tensor]]] = {
        "rollout": (frames, lambda: rollout(plain, text, frames, start)),
        "rollout, LoRA": (frames, lambda: rollout(adapted, text, frames, start)),
        "cached": (frames, lambda: cached_loop(plain, text, start, frames)),
        "cached, LoRA": (frames, lambda: cached_loop(adapted, text, start, frames)),
        "uncached": (fewer, lambda: uncached_loop(plain, text, start, fewer)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, Tensor] = {}
    for _ in range(1 + given.runs):  # the first round, which warms up, is not counted
        for name, (_, generate) in contenders.items():
            started, cpu_started = time.perf_counter(), time.process_time()
            results[name] = generate()
            if given.device != "cpu":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - started)
            cpu_seconds[name].append(time.process_time() - cpu_started)
    rows = {}
    for name, (count, _) in contenders.items():
        taken = seconds[name][1:]
        rows[name] = {
            "frames": count,
            "seconds": statistics.median(taken),
            "range": [min(taken), max(taken)],
            "cpu_seconds": statistics.median(cpu_seconds[name][1:]),
            "ms_per_frame": 1000 * statistics.median(taken) / count,
            "largest_difference": float((results[name] - results["rollout"][:count]).abs().max()),
        }
    return {"variant": given.variant, "batch": batch, "threads": given.threads, "device": given.device, "rows": rows}


def main() -> None:
    """Parse the command line, run, print tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=VARIANTS, default="medium")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--uncached-frames", type=int, default=250)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = []
    for batch in given.batch:
        result = compare(given, batch)
        results.append(result)
        print(f"\n{given.variant} base, batch {batch}, {given.device}, {given.threads} threads: median of {given.runs}")
        print(f"{'':14}{'frames':>7}{'seconds':>9}{'range':>14}{'CPU s':>8}{'ms/frame':>10}{'difference':>12}")
        for name, row in result["rows"].items():
            low, high = row["range"]
            print(
                f"{name:14}{row['frames']:7}{row['seconds']:9.2f}{f'{low:.2f}-{high:.2f}':>14}"
                f"{row['cpu_seconds']:8.2f}{row['ms_per_frame']:10.2f}{row['largest_difference']:12.1e}"
            )
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
