"""What many adapters of one base cost: on the disk, in memory, to attach, to switch, to sum, and each clip its own.

    python benchmarks/adapters.py --count 100

Adapters of the model card's targets with random numbers, since the arithmetic does not depend on them, on a medium base
of random weights. Memory is what the process's resident memory grows by. The ways to generate a batch take turns.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from stickgen.generation import rollout
from stickgen.lora import LoRASettings, NamedAdapters, get_lora_state_dict, inject_lora_adapters
from stickgen.model import StickFigureTransformer

SETTINGS = LoRASettings(8, 16.0, 0.0)
TARGETS = ["transformer_encoder", "pose_decoder"]


def build() -> StickFigureTransformer:
    """Return a medium base whose motion stays near where it starts."""
    torch.manual_seed(0)
    return StickFigureTransformer(causal=True, pose_output="residual", pose_scale=1e-3).eval()


def random_state() -> dict[str, Tensor]:
    """Return an adapter's tensors, B small but not zero."""
    state = get_lora_state_dict(inject_lora_adapters(build(), TARGETS, SETTINGS.rank, SETTINGS.alpha))
    return {key: 0.01 * torch.randn_like(value) for key, value in state.items()}


def resident_mib() -> float:
    """Return the process's resident memory; Linux's pages."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def median_ms(action: Callable[[], object], times: int) -> float:
    """Return the median time of an action."""
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def main() -> None:
    """Attach, switch, sum, generate; print what each costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    if given.count < 2:
        parser.error("--count: at least 2")
    torch.set_num_threads(given.threads)
    state = random_state()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "adapter.safetensors")
        save_file(state, file)
        size = file.stat().st_size
    model = build()
    adapters, names = NamedAdapters(model), [f"style {i}" for i in range(given.count)]
    before, waiting = resident_mib(), iter(names)
    attach = median_ms(lambda: adapters.attach(next(waiting), state, SETTINGS), given.count)
    memory = resident_mib() - before
    turn = iter(names * 2)
    print(f"{given.count} adapters of {sum(v.numel() for v in state.values()):,} numbers, {given.threads} threads")
    print(f"on the disk         {size / 2**20:8.2f} MiB each")
    print(f"in memory           {memory / given.count:8.2f} MiB each")
    print(f"attach              {attach:8.1f} ms each")
    print(f"switch              {median_ms(lambda: adapters.use(next(turn)), given.count):8.2f} ms")
    print(f"weighted sum of two {median_ms(lambda: adapters.use({names[0]: 0.7, names[1]: 0.3}), 5):8.1f} ms")
    print(f"back to the base    {median_ms(lambda: adapters.use(None), 5):8.2f} ms")

    text = torch.randn(given.batch, 1024)
    start = 0.3 * torch.randn(1, given.batch, 20)
    seconds: dict[str, list[float]] = {"the base": [], "one adapter": [], "an adapter for every clip": []}
    for _ in range(1 + given.runs):  # the first round, which warms up, is not counted
        for way, taken in seconds.items():
            adapters.use(names[0] if way == "one adapter" else None)
            started = time.perf_counter()
            if way == "an adapter for every clip":
                with adapters.per_clip([names[clip % given.count] for clip in range(given.batch)]):
                    rollout(model, text, given.frames, start)
            else:
                rollout(model, text, given.frames, start)
            taken.append(time.perf_counter() - started)
    print(f"\n{given.frames} frames of {given.batch} clips in one pass")
    for way, taken in seconds.items():
        print(f"{way:26}{statistics.median(taken[1:]):6.2f} s ({min(taken[1:]):.2f}-{max(taken[1:]):.2f})")


if __name__ == "__main__":
    main()
