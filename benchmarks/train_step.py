"""Time and memory of a training step: stickgen's LoRA beside full fine-tuning, PEFT's LoRA and the plain formula.

    python benchmarks/train_step.py --batch 2 8 --dtype float32 --base-dropout 0 0.1

"x first" is the median of the pairwise ratios to stickgen, or to the first contender named where stickgen is not.
"floor" holds for adapters in all layers. "store, ms" is what it took to store the layers below for the step's clips,
once. On a busy machine, --cpu-time --threads 1 measures the processor's time instead of the clock's.

Every contender has a process of its own, so that its peak memory is its own; they take steps in turn, A B C A B C …,
so that the machine's drift meets all of them alike. All train the same base (medium, 20 numbers, causal, T = 250) with
the same dropout and precision. PEFT is not a dependency: `pip install peft` first.

stickgen          its LoRA, the step's clips divided into micro-batches by its own measured search; in bf16 its base is
                  kept in bfloat16 (base.dtype), while the others' computes under autocast
stickgen_whole    the same, all clips in one pass
stickgen_2        the same, two clips a pass (trainer.micro_batch=2): the least memory
stickgen_padded   all clips in one pass, whose encoder works on their padding too; with --shortest
full, peft,       full fine-tuning, PEFT's LoRA and the formula as usually written, all clips in one pass, on
plain             stickgen's base, with its norm, attention and dropout
top1, top2, top4, the same with adapters in the last so many layers and the pose decoder, all clips in one pass; with
top6              _stored, the output of the layers below is read from the disk (stickgen/data/hidden.py)
full_torch,       full fine-tuning and PEFT's LoRA on the same base written in PyTorch's own operations
peft_torch        (plain_base.py): what they meet when they are given such a model
..._compiled      stickgen, full_torch or peft_torch under torch.compile, layer by layer; not among the default ones

With --device cuda, times end when the device is done, and the peak is that of its memory.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

CONTENDERS = ("stickgen", "stickgen_whole", "stickgen_2", "full", "peft", "plain", "full_torch", "peft_torch")
TOP = tuple(f"top{k}{stored}" for k in (1, 2, 4, 6) for stored in ("", "_stored"))
OTHERS = ("stickgen_padded", "stickgen_compiled", "full_torch_compiled", "peft_torch_compiled", *TOP)
LAYERS = 8
TARGETS = ["transformer_encoder", "pose_decoder"]
RANK, ALPHA, LORA_DROPOUT = 8, 16.0, 0.05
FRAMES, DIM, EMBEDDING = 250, 20, 1024

# Without fixed thresholds the C library keeps freed blocks, and a peak then measures its fragmentation. With them every
# tensor is mapped and unmapped, which costs time: so times are taken without, peaks both with and without.
PINNED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}


@dataclass(frozen=True)
class Task:
    """What a contender's process does; passes are of ``micro_batch`` clips, and 0 asks for the fastest size alone.

    Clips have ``shortest`` to ``frames`` frames, in even steps; None: all the same.
    """

    contender: str
    batch: int
    micro_batch: int
    dtype: str = "float32"
    base_dropout: float = 0.0
    threads: int = 2
    frames: int = FRAMES
    shortest: int | None = None
    cpu_time: bool = False
    device: str = "cpu"


def build(contender: str, base_dropout: float, dtype: str) -> Any:
    """Return the model of a contender, ready to train."""
    contender, _, written = contender.partition("_")
    model = build_eager(contender, base_dropout, dtype, plainly="torch" in written)
    if "padded" in written:
        model._lengths = lambda padding_mask, causal: None
    if "compiled" in written:
        _draw_masks_outside_graphs()
        for layer in model.transformer_encoder.layers:
            layer.compile()
    return model.train()


def _draw_masks_outside_graphs() -> None:
    """Keep dropout masks out of compiled graphs: PyTorch 2.13 cannot make their views of another width again."""
    import torch

    import stickgen.dropout

    draw_masks_by(torch.compiler.disable(stickgen.dropout.keep_mask))


def draw_masks_by(draw: Any) -> None:
    """Put another function in the place of stickgen's :func:`~stickgen.dropout.keep_mask`, wherever it is called."""
    import stickgen.dropout
    import stickgen.lora.functional
    from stickgen.model import attention

    for module in (stickgen.dropout, attention, stickgen.lora.functional):
        module.keep_mask = draw


def loss_of(model: Any, task: "Task", *inputs: Any, **others: Any) -> Any:
    """Return the loss of a training pass, computed as the contender of a task does."""
    import torch

    autocast = task.dtype == "bf16" and not task.contender.startswith(("stickgen", "top"))
    with torch.autocast(task.device, dtype=torch.bfloat16, enabled=autocast):
        outputs = model(*inputs, return_all_outputs=True, **others)
        return sum(outputs[name].float().square().mean() for name in ("pose", "action_logits", "physics"))


def build_eager(contender: str, base_dropout: float, dtype: str, *, plainly: bool) -> Any:
    """Return the model of a contender; ``plainly``: on the base in PyTorch's own operations."""
    import torch
    import torch.nn.functional as F
    from plain_base import plainly_written
    from torch import nn

    from stickgen.lora import adapted_layers, inject_lora_adapters, match_targets
    from stickgen.model import StickFigureTransformer

    torch.manual_seed(0)
    model = StickFigureTransformer(causal=True, dropout=base_dropout)
    if plainly:
        plainly_written(model)
    if contender == "full":
        return model
    if contender == "peft":
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(
            r=RANK, lora_alpha=ALPHA, lora_dropout=LORA_DROPOUT, target_modules=match_targets(model, TARGETS)
        )
        model.requires_grad_(False)
        return inject_adapter_in_model(config, model)

    layers = range(frozen_layers(contender), LAYERS)
    inject_lora_adapters(model, TARGETS, RANK, ALPHA, LORA_DROPOUT, layers=layers)
    if contender == "stickgen" or contender.startswith("top"):
        if dtype == "bf16":
            model.set_encoder_dtype(torch.bfloat16)
        return model

    class Plain(nn.Module):
        """The formula as it is usually written."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.weight, self.bias, self.lora_A, self.lora_B = layer.weight, layer.bias, layer.lora_A, layer.lora_B
            self.scaling = layer.scaling

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            update = F.linear(F.linear(F.dropout(x, LORA_DROPOUT, self.training), self.lora_A), self.lora_B)
            return F.linear(x, self.weight, self.bias) + update * self.scaling

    for path, layer in adapted_layers(model).items():
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, Plain(layer))
    return model


def frozen_layers(contender: str) -> int:
    """Return how many of the first layers a contender does not adapt."""
    name = contender.partition("_")[0]
    return LAYERS - int(name.removeprefix("top")) if name.startswith("top") else 0


def stored_below(model: Any, motion: Any, text: Any, layers: int, folder: Path) -> Any:
    """Store what a model's first layers give for clips; return a function of a range of clips that reads it again."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    from stickgen.data.hidden import write_hidden

    frames, clips = motion.shape[:2]
    with torch.no_grad():
        hidden = model.hidden_below(layers, motion, text)
    rows, made = (clips * (frames + 1), hidden.shape[-1]), [(0, range(clips), list(hidden))]
    states = write_hidden(folder / "states", "", layers, (1, clips), rows, torch.float32, made)
    return lambda part: (layers, pad_sequence([states.read(n, 0) for n in range(clips)[part]], batch_first=True))


def work(task: Task) -> None:
    """Take a step for every line read, and answer with its seconds; at the end tell the peak."""
    import torch

    def clock() -> float:
        if task.device != "cpu":
            torch.accelerator.synchronize()
        return time.process_time() if task.cpu_time else time.perf_counter()

    torch.set_num_threads(task.threads)
    batch, contender = task.batch, task.contender
    model = build(contender, task.base_dropout, task.dtype).to(task.device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.01)
    torch.manual_seed(1)
    motion = torch.randn(task.frames, batch, DIM).to(task.device)
    text = torch.randn(batch, EMBEDDING).to(task.device)
    lengths = torch.linspace(task.shortest or task.frames, task.frames, batch).round()
    padding = (torch.arange(task.frames) >= lengths[:, None]).to(task.device)
    below, made = (lambda part: None), 0.0
    if contender.endswith("_stored"):
        with tempfile.TemporaryDirectory() as folder:  # the file stays mapped after its name is gone
            for _ in range(2):  # the second is measured
                started = clock()
                below = stored_below(model, motion, text, frozen_layers(contender), Path(folder))
                made = clock() - started

    def passes(size: int, clips: int) -> None:
        for at in range(0, clips, size):
            part = slice(at, at + size)
            mask = padding[part] if bool(padding.any()) else None
            loss = loss_of(model, task, motion[:, part], text[part], padding_mask=mask, below=below(part))
            (loss * (size / batch)).backward()

    def seconds_a_clip(size: int) -> float:
        passes(size, size)
        taken = []
        for _ in range(2):
            started = clock()
            passes(size, size)
            taken.append(clock() - started)
        return min(taken) / size

    if task.micro_batch == 0:  # the product's search, on clips of one length
        from stickgen.training.micro_batch import fastest, search

        sizes = [n for n in range(1, batch + 1) if batch % n == 0]
        print(fastest(search(sizes, seconds_a_clip)), flush=True)
        return

    def step() -> None:
        passes(task.micro_batch, batch)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()
    for line in sys.stdin:
        if line.strip() == "end":
            break
        started = clock()
        step()
        print(clock() - started, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if task.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    trained_numbers = sum(p.numel() for p in trained)
    print(json.dumps({"peak_mib": peak, "trained": trained_numbers, "store_seconds": made}), flush=True)


def matrix_rate(dtype: str, threads: int, device: str) -> float:
    """Return the best GFLOP/s of a device's matrix product, in the shape of a feed-forward block."""
    import torch

    torch.set_num_threads(threads)
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    x, w = (torch.randn(shape).to(device, kind) for shape in ((2008, 384), (1536, 384)))
    products, best = 1 if device == "cpu" else 100, float("inf")  # a GPU's are too short to be measured one by one
    for _ in range(50):
        started = time.perf_counter()
        for _ in range(products):
            torch.nn.functional.linear(x, w)
        if device != "cpu":
            torch.accelerator.synchronize()
        best = min(best, (time.perf_counter() - started) / products)
    return 2 * 2008 * 384 * 1536 / best / 1e9


def floor_gflop(batch: int) -> float:
    """Return the 10⁹ operations of a LoRA step that nothing can avoid.

    4 a frozen weight and token (forward 2, gradient of activations 2), and causal attention at half of its
    4 · L² · d a layer forward and twice that backward.
    """
    tokens, d, layers = batch * (FRAMES + 1), 384, 8
    weights = layers * (4 * d * d + 3 * d * 4 * d)
    return (4 * weights * tokens + layers * batch * 3 * 2 * (FRAMES + 1) ** 2 * d) / 1e9


def start_worker(task: Task, *script: str, **env: str) -> "subprocess.Popen[str]":
    """Start the process of a contender; see :func:`work`.

    Args:
        task: what it does.
        script: another script with its options, which takes ``--worker`` as this one does.
        env: environment variables.
    """
    command = [sys.executable, *(script or (__file__,)), "--worker", json.dumps(asdict(task))]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **env}
    )


def take_turns(workers: dict[Any, "subprocess.Popen[str]"], runs: int) -> dict[Any, list[float]]:
    """Let workers take steps in turn, ``runs`` times; return the seconds of each."""
    seconds: dict[Any, list[float]] = {name: [] for name in workers}
    for _ in range(1 + runs):  # the first round, in which the others still start, is not counted
        for name, worker in workers.items():
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write("step\n")
            worker.stdin.flush()
            seconds[name].append(float(worker.stdout.readline()))
    return {name: taken[1:] for name, taken in seconds.items()}


def peak_mib(worker: "subprocess.Popen[str]") -> float:
    """Let a worker take steps and end; return the most memory that it had."""
    return float(json.loads(worker.communicate("step\nstep\nend\n")[0].splitlines()[-1])["peak_mib"])


def compare(task: Task, names: list[str], runs: int) -> dict[str, Any]:
    """Let the contenders take steps in turn at the settings of a task; return the figures of each."""
    tasks = {name: replace(task, contender=name) for name in names}
    if "stickgen_2" in tasks:
        tasks["stickgen_2"] = replace(tasks["stickgen_2"], micro_batch=2)
    first = "stickgen" if "stickgen" in names else names[0]
    if first == "stickgen":
        search = start_worker(replace(tasks[first], micro_batch=0))
        tasks[first] = replace(tasks[first], micro_batch=int(search.communicate()[0]))
    workers = {name: start_worker(tasks[name]) for name in names}
    seconds = take_turns(workers, runs)
    ends = {name: json.loads(worker.communicate("end\n")[0]) for name, worker in workers.items()}
    for name, end in ends.items():
        end["pinned_peak_mib"] = (
            peak_mib(start_worker(tasks[name], **PINNED)) if task.device == "cpu" else end["peak_mib"]
        )
    ideal = floor_gflop(task.batch) / matrix_rate(task.dtype, task.threads, task.device)
    rows = {}
    for name in names:
        median = statistics.median(seconds[name])
        pairs = [other / own for own, other in zip(seconds[first], seconds[name], strict=True)]
        rows[name] = {
            "seconds": median,
            "sequences_per_second": task.batch / median,
            "times_first": statistics.median(pairs),
            "range": [min(pairs), max(pairs)],
            "floor_share": ideal / median,
            "micro_batch": tasks[name].micro_batch,
            **ends[name],
        }
    return {**asdict(task), "runs": runs, "contenders": rows}


def main() -> None:
    """Parse the command line, run, print tables and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--dtype", nargs="+", choices=("float32", "bf16"), default=["float32"])
    parser.add_argument("--base-dropout", type=float, nargs="+", default=[0.0])
    parser.add_argument("--shortest", type=int, help=f"frames of the shortest clip [default: all have {FRAMES}]")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contenders", nargs="+", choices=(*CONTENDERS, *OTHERS), default=CONTENDERS)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--cpu-time", action="store_true", help="measure the processor's time, on a busy machine")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(Task(**json.loads(given.worker)))
        return
    results = []
    for dtype in given.dtype:
        for base_dropout in given.base_dropout:
            for batch in given.batch:
                task = Task(
                    "", batch, batch, dtype, base_dropout, given.threads,
                    shortest=given.shortest, cpu_time=given.cpu_time, device=given.device,
                )  # fmt: skip
                result = compare(task, given.contenders, given.runs)
                results.append(result)
                settings = f"batch {batch}, {dtype}, base dropout {base_dropout:g}, {given.device}"
                print(f"\n{settings}: median of {given.runs}")
                print(
                    f"{'':20}{'ms/step':>9}{'seq/s':>8}{'x first':>12}{'range':>14}"
                    f"{'floor':>8}{'peak MiB':>10}{'pinned':>8}{'micro-batch':>13}{'store, ms':>11}"
                )
                for name, row in result["contenders"].items():
                    low, high = row["range"]
                    print(
                        f"{name:20}{1000 * row['seconds']:9.0f}{row['sequences_per_second']:8.2f}"
                        f"{row['times_first']:12.2f}{f'{low:.2f}-{high:.2f}':>14}"
                        f"{row['floor_share']:8.0%}{row['peak_mib']:10.0f}{row['pinned_peak_mib']:8.0f}"
                        f"{row['micro_batch']:13}{1000 * row['store_seconds']:11.0f}"
                    )
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
