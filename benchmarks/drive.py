"""How a base holds out: ten seconds rolled out of the first frames and the caption of every held-out clip.

    python benchmarks/drive.py base.safetensors --data data/pretrain.pt --actions walk run

Prints how many rollouts exploded, and for the clips of each action, from each source, their speed in the last two
seconds beside the real clip's mean speed, and the error of torso and bone lengths.
"""

import argparse
import statistics
from pathlib import Path

import torch
from torch import Tensor

from stickgen.actions import action_name
from stickgen.artifacts.model import load_model
from stickgen.config import DataConfig
from stickgen.console import report_errors
from stickgen.data.batch import collate
from stickgen.data.clips import Clip
from stickgen.data.datamodule import ClipDataModule
from stickgen.evaluation.motion_quality import BoneLengthError, ExplodedShare, TorsoLengthError
from stickgen.generation import generator_for
from stickgen.skeleton import FPS

LAST = 2 * FPS
BATCH = 32


def pace(motion: Tensor) -> float:
    """Return the mean speed of the segments' ends in ``[T, D]``, in body heights a frame."""
    points = motion.double().unflatten(-1, (-1, 2))
    return float(torch.linalg.vector_norm(points.diff(dim=0), dim=-1).mean())


def main() -> None:
    """Roll out and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--actions", nargs="*", default=["walk", "run"], help="shown clip by clip")
    parser.add_argument("--frames", type=int, default=10 * FPS)
    parser.add_argument("--given", type=int, default=10)
    args = parser.parse_args()
    with report_errors():
        _drive(args)


def _drive(args: argparse.Namespace) -> None:
    loaded = load_model(args.model)
    data = ClipDataModule(DataConfig(path=args.data))
    sizes = loaded.model.settings
    data.fit_to(sizes["input_dim"], sizes["embedding_dim"], sizes["num_actions"])
    clips = [clip for clip in data.split.test if clip.length > args.given]
    generate = generator_for(loaded.model)
    everyone = ExplodedShare()
    shown: dict[str, list[tuple[float, float, float]]] = {}
    for start in range(0, len(clips), BATCH):
        group = clips[start : start + BATCH]
        batch = collate(group)
        made = generate(loaded.model, batch.embedding, args.frames, batch.motion[: args.given], check=False)
        everyone.update(made, made, torch.ones(made.shape[:2], dtype=torch.bool))
        for column, clip in enumerate(group):
            action = main_action(clip)
            if action in args.actions:
                shown.setdefault(f"{action} ({clip.source})", []).append(compare(made[:, column], clip.motion))
    share = float(everyone.compute())
    print(f"{len(clips)} rollouts of {args.frames / FPS:g} s, {round(share * len(clips))} exploded")
    for action, figures in sorted(shown.items()):
        speeds, torsos, bones = zip(*figures, strict=True)
        alive = sum(0.5 <= speed <= 2 for speed in speeds)
        print(
            f"{action}: {len(figures)} clips; speed in the last two seconds over the real clip's: median "
            f"{statistics.median(speeds):.2f}, {alive} within 0.5 to 2 ({min(speeds):.2f} to {max(speeds):.2f}); "
            f"torso length off by {statistics.median(torsos):.1%} in the median, {max(torsos):.1%} at most; "
            f"bone lengths by {statistics.median(bones):.1%}, {max(bones):.1%}"
        )


def compare(made: Tensor, real: Tensor) -> tuple[float, float, float]:
    """Return speed ratio, torso-length error and bone-length error of a rollout beside the clip it began as."""
    target = real.repeat(-(-len(made) // len(real)), 1)[: len(made)]
    mask = torch.ones(len(made), 1, dtype=torch.bool)
    errors = []
    for metric in (TorsoLengthError(), BoneLengthError()):
        metric.update(made[:, None], target[:, None], mask)
        errors.append(float(metric.compute()))
    return pace(made[-LAST:]) / pace(real), errors[0], errors[1]


def main_action(clip: Clip) -> str | None:
    """Return the name of the clip's most frequent action label."""
    counts = clip.action_counts
    return action_name(max(counts, key=counts.__getitem__)) if counts else None


if __name__ == "__main__":
    main()
