"""What each operation of stickgen is worth: a training step without it, beside the step with all of them.

    python benchmarks/lean_operations.py --batch 2 8 --dtype float32 bf16 --base-dropout 0 0.1 --cpu-time --threads 1

Each row replaces one operation by PyTorch's own: "norm" and "attention" of the base, "masks" (dropout masks), and
"adapters" (the formula of LoRA as it is usually written). "every one" replaces all. Rows have processes of their own
and take steps in turn.
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path
from typing import Any

import train_step

OPERATIONS = ("norm", "attention", "masks", "adapters")


def replace(operations: list[str]) -> None:
    """Put PyTorch's own operations in the place of stickgen's."""
    import torch
    import torch.nn.functional as F

    import stickgen.lora.layer
    from stickgen.model import layers

    def norm(x: Any, weight: Any, eps: float) -> Any:
        return F.rms_norm(x, (x.shape[-1],), weight, eps)

    def attended(query: Any, key: Any, value: Any, visible: Any, causal: bool, dropout: float) -> Any:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout, is_causal=causal)

    def masks(shape: Any, probability: float, device: Any, dtype: Any = None) -> tuple[Any, float]:
        if probability == 0:
            return None, 1.0
        return torch.empty(shape, dtype=torch.bool, device=device).bernoulli_(1 - probability), 1 / (1 - probability)

    def adapters(x: Any, parts: Any, scaling: float, dropout: float) -> Any:
        dropped = F.dropout(x, dropout)
        outputs = []
        for weight, bias, down, up in parts:
            update = F.linear(F.linear(dropped, down.to(x.dtype)), up.to(x.dtype))
            outputs.append(F.linear(x, weight, bias) + update * scaling)
        return tuple(outputs)

    if "norm" in operations:
        layers.rms_norm = norm
    if "attention" in operations:
        layers.attention = attended
    if "masks" in operations:
        train_step.draw_masks_by(masks)
    if "adapters" in operations:
        stickgen.lora.layer.lora_linears = adapters


def without(row: str) -> list[str]:
    """Return the operations that a row replaces."""
    return {"stickgen": [], "every one": list(OPERATIONS)}.get(row, [row])


def start(row: str, task: train_step.Task, **env: str) -> "subprocess.Popen[str]":
    """Start the process of a row; it answers as the workers of train_step.py do."""
    return train_step.start_worker(task, __file__, "--without", ",".join(without(row)), **env)


def main() -> None:
    """Parse the command line, run, print tables and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[8])
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bf16"), default=["float32"])
    parser.add_argument("--base-dropout", type=float, nargs="+", default=[0.0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="measure the processor's time, on a busy machine")
    parser.add_argument("--rows", nargs="+", default=["stickgen", *OPERATIONS, "every one"])
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--without", help=argparse.SUPPRESS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        replace(given.without.split(","))
        train_step.work(train_step.Task(**json.loads(given.worker)))
        return
    results = []
    for dtype in given.dtype:
        for dropout in given.base_dropout:
            for batch in given.batch:
                results.append(table(given, dtype, dropout, batch))
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def table(given: argparse.Namespace, dtype: str, dropout: float, batch: int) -> dict[str, Any]:
    """Measure the rows in turn and print them."""
    task = train_step.Task("stickgen", batch, batch, dtype, dropout, given.threads, cpu_time=given.cpu_time)
    workers = {row: start(row, task) for row in given.rows}
    seconds = train_step.take_turns(workers, given.runs)
    for worker in workers.values():
        worker.communicate("end\n")
    peaks = {row: train_step.peak_mib(start(row, task, **train_step.PINNED)) for row in given.rows}
    print(f"\nbatch {batch}, {dtype}, base dropout {dropout:g}: median of {given.runs}")
    print(f"{'without':12}{'ms/step':>9}{'x stickgen':>12}{'range':>12}{'pinned MiB':>12}")
    rows = {}
    for row in given.rows:
        pairs = [other / own for own, other in zip(seconds[given.rows[0]], seconds[row], strict=True)]
        rows[row] = {"seconds": statistics.median(seconds[row]), "pairs": pairs, "pinned_peak_mib": peaks[row]}
        print(
            f"{row:12}{1000 * rows[row]['seconds']:9.0f}{statistics.median(pairs):12.2f}"
            f"{f'{min(pairs):.2f}-{max(pairs):.2f}':>12}{peaks[row]:12.0f}",
            flush=True,
        )
    return {"batch": batch, "dtype": dtype, "base_dropout": dropout, "rows": rows}


if __name__ == "__main__":
    main()
