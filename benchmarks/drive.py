"""How a base holds out: ten seconds rolled out of the first frames and the caption of every held-out clip.

    python benchmarks/drive.py base.safetensors --data data/pretrain.pt --actions walk run
    python benchmarks/drive.py base.safetensors --data data/pretrain.pt --given 0    # from the rest pose

Prints how many rollouts exploded, and for the clips of each action, from each source: their speed in the last two
seconds and how fast they got on in all ten, beside the real clip's means, and the error of torso and bone lengths.
From rest nothing tells a figure the clip's lengths: they are then compared with the resting figure's.
"""

import argparse
import math
import statistics
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor

from stickgen.artifacts.model import load_model
from stickgen.config import DataConfig
from stickgen.console import report_errors
from stickgen.data.batch import collate
from stickgen.data.clips import Clip
from stickgen.data.datamodule import ClipDataModule
from stickgen.evaluation.motion_quality import TRAVELS, BoneLengthError, ExplodedShare, TorsoLengthError, way
from stickgen.generation import generator_for
from stickgen.generation.seed import standing
from stickgen.motion.actions import action_name
from stickgen.motion.skeleton import FPS

LAST = 2 * FPS
BATCH = 32


def pace(motion: Tensor) -> float:
    """Return the mean speed of the segments' ends in ``[T, D]``, in body heights a frame."""
    points = motion.double().unflatten(-1, (-1, 2))
    return float(torch.linalg.vector_norm(points.diff(dim=0), dim=-1).mean())


def travel(motion: Tensor) -> float:
    """Return how fast the pelvis gets on along x in ``[T, D]``, in body heights a frame."""
    everything = torch.ones(len(motion), 1, dtype=torch.bool)
    return float(way(motion[:, None], everything)) / (len(motion) - 1)


def main() -> None:
    """Roll out and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--actions", nargs="*", default=["walk", "run"], help="shown clip by clip")
    parser.add_argument("--frames", type=int, default=10 * FPS)
    parser.add_argument("--given", type=int, default=10, help="frames; 0: from the rest pose")
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
    shown: dict[str, list[Beside]] = {}
    for start in range(0, len(clips), BATCH):
        group = clips[start : start + BATCH]
        batch = collate(group)
        given = batch.motion[: args.given] if args.given else None
        made = generate(loaded.model, batch.embedding, args.frames, given, check=False)
        everyone.update(made, made, torch.ones(made.shape[:2], dtype=torch.bool))
        for column, clip in enumerate(group):
            action = main_action(clip)
            if action in args.actions:
                shown.setdefault(f"{action} ({clip.source})", []).append(
                    beside(made[:, column], clip.motion, from_rest=not args.given)
                )
    share = float(everyone.compute())
    print(f"{len(clips)} rollouts of {args.frames / FPS:g} s, {round(share * len(clips))} exploded")
    for action, figures in sorted(shown.items()):
        speeds, travels, real, torsos, bones = ([getattr(one, name) for one in figures] for name in NAMES)
        alive = sum(0.5 <= speed <= 2 for speed in speeds)
        # In views from the front the real figure stays where it is.
        ways = [made for made, recorded in zip(travels, real, strict=True) if recorded * FPS > TRAVELS]
        print(
            f"{action}: {len(figures)} clips; speed in the last two seconds over the real clip's: median "
            f"{statistics.median(speeds):.2f}, {alive} within 0.5 to 2 ({min(speeds):.2f} to {max(speeds):.2f}); "
            f"travel {sum(travels) / sum(real):.2f} of the real, {sum(way < 0 for way in ways)} of {len(ways)} "
            f"backwards; torso length off by {statistics.median(torsos):.1%} in the median, {max(torsos):.1%} at most; "
            f"bone lengths by {statistics.median(bones):.1%}, {max(bones):.1%}"
        )


@dataclass(frozen=True)
class Beside:
    """A rollout beside the clip of its caption.

    Attributes:
        speed: over the real clip's.
        travel: how fast it gets on the right way, in body heights a frame.
        real: the same of the real clip.
        torso: relative error of the torso's length.
        bones: of all lengths.
    """

    speed: float
    travel: float
    real: float
    torso: float
    bones: float


NAMES = [field.name for field in fields(Beside)]


def beside(made: Tensor, real: Tensor, *, from_rest: bool) -> Beside:
    """Return the figures of a rollout ``[T, D]`` beside a clip."""
    body = standing(real.shape[1], 1)[:, 0] if from_rest else real
    body = body.repeat(-(-len(made) // len(body)), 1)[: len(made)]
    mask = torch.ones(len(made), 1, dtype=torch.bool)
    errors = []
    for metric in (TorsoLengthError(), BoneLengthError()):
        metric.update(made[:, None], body[:, None], mask)
        errors.append(float(metric.compute()))
    ahead = math.copysign(1, travel(real))
    return Beside(pace(made[-LAST:]) / pace(real), ahead * travel(made), abs(travel(real)), *errors)


def main_action(clip: Clip) -> str | None:
    """Return the name of the clip's most frequent action label."""
    counts = clip.action_counts
    return action_name(max(counts, key=counts.__getitem__)) if counts else None


if __name__ == "__main__":
    main()
