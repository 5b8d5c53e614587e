"""Rolling motion out of a few given frames or from rest: under one protocol, by models and by the trivial ways."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MetricCollection

from stickgen.data.batch import Batch, collate
from stickgen.data.clips import Clip, ClipInfo
from stickgen.data.table import column
from stickgen.errors import DataError
from stickgen.evaluation.motion_quality import (
    BoneLengthError,
    ExplodedShare,
    FootContact,
    FootSkating,
    HorizonMSE,
    JerkRatio,
    KeptPace,
    RootDrift,
    SpeedRatio,
    StanceSlip,
    TorsoLengthError,
    TravelRatio,
)
from stickgen.generation.clips import go_on
from stickgen.generation.seed import standing
from stickgen.metrics import REAL_CLIPS
from stickgen.model import StickFigureTransformer
from stickgen.motion.skeleton import FPS

GoOn = Callable[[Batch, int], Tensor]
"""A way to go on: given so many frames of a batch's motion ``[T, B, D]``, make the others ``[T − given, B, D]``.

Given 0, it sets out from a figure at rest and makes all of them.
"""


HORIZONS = {"rollout_mse_400ms": 10, "rollout_mse_1000ms": 25, "rollout_mse_2000ms": 50}
"""Frames after the last given one."""


@dataclass(frozen=True)
class RolloutProtocol:
    """How rollouts are made.

    Attributes:
        given: frames of each clip that are given; 0: rollouts are made from rest only.
        max_frames: longer clips are cut to their first frames, the given ones included. From rest so many are made of
            every clip: what is measured against the real clip ends with it, drift and pace are measured over all.
        shortest: fewest real frames after the given ones; shorter clips take no part.
        batch_size: clips rolled out side by side; results do not depend on it but for rounding.
    """

    given: int = 10
    max_frames: int = 250
    shortest: int = 25
    batch_size: int = 32

    @property
    def start(self) -> str:
        """What rollouts are made of, in words."""
        return f"the caption and the first {self.given} frames" if self.given else "the caption and the rest pose"

    @property
    def from_rest(self) -> "RolloutProtocol":
        """The same without given frames."""
        return replace(self, given=0)

    @property
    def least(self) -> int:
        """Fewest frames of a clip that takes part."""
        return self.given + self.shortest

    def suits(self, *parts: Sequence[Clip | ClipInfo]) -> bool:
        """Return whether each part has a clip that takes part."""
        longest = (max(column(part, "length"), default=0) for part in parts)
        return all(min(length, self.max_frames) >= self.least for length in longest)

    def clips(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the clips that take part, by length.

        Raises:
            DataError: there is none.
        """
        kept = [clip.first(self.max_frames) for clip in clips if min(clip.length, self.max_frames) >= self.least]
        if not kept:
            raise DataError(
                f"rollouts: no clip has {self.least} frames, {self.given} to give and {self.shortest} to compare with"
            )
        return sorted(kept, key=lambda clip: clip.length)

    def batches(self, clips: Sequence[Clip], conditions: Sequence[str] = ()) -> list[Batch]:
        """Return the clips that take part in batches, cut to the frames that are given or made."""
        kept = self.clips(clips)
        return [collate(kept[i : i + self.batch_size], conditions) for i in range(0, len(kept), self.batch_size)]


def extended(batch: Batch, frames: int) -> Batch:
    """Return a batch that lasts for so many frames at least: padding, with camera and partner as in the last frame."""
    more = frames - len(batch.motion)
    if more <= 0:
        return batch

    def held(track: Tensor | None) -> Tensor | None:
        return None if track is None else torch.cat((track, track[-1:].expand(more, *track.shape[1:])))

    return replace(
        batch,
        motion=torch.cat((batch.motion, batch.motion.new_zeros(more, *batch.motion.shape[1:]))),
        padding_mask=F.pad(batch.padding_mask, (0, more), value=True),
        camera=held(batch.camera),
        partner=held(batch.partner),
    )


def _start(batch: Batch, given: int) -> Tensor:
    """Return the frames ``[T0, B, D]`` that trivial ways go on from: those given, or one of figures at rest."""
    motion = batch.motion
    return motion[:given] if given else standing(motion.shape[2], motion.shape[1]).to(motion)


def repeat_last_frame(batch: Batch, given: int) -> Tensor:
    """Go on by standing still."""
    return _start(batch, given)[-1:].expand(len(batch.motion) - given, -1, -1)


def constant_velocity(batch: Batch, given: int) -> Tensor:
    """Go on with the last step for ever; of a single frame, by standing still."""
    start = _start(batch, given)
    last = start[-1]
    step = last - start[max(len(start) - 2, 0)]
    count = torch.arange(1, len(batch.motion) - given + 1, device=last.device)
    return last + count[:, None, None] * step


def real_clips(batch: Batch, given: int) -> Tensor:
    """Go on as the clip did."""
    return batch.motion[given:]


def model_rollout(model: StickFigureTransformer, seed: int | None = None) -> GoOn:
    """Return a model's way to go on: from the caption and the given frames; action labels are withheld.

    Args:
        model: causal ones are rolled out frame by frame, bidirectional ones in one pass.
        seed: of what a model leaves to chance, see :func:`~stickgen.generation.clips.go_on`.
    """
    return partial(go_on, model, seed=seed)


TRIVIAL: dict[str, GoOn] = {
    REAL_CLIPS: real_clips,
    "repeat last frame": repeat_last_frame,
    "constant velocity": constant_velocity,
}
"""What stands beside every model: the real motion, which is what the others should score, and two ways without one."""


def rollout_metrics(given: int) -> MetricCollection:
    """Return the metrics that accumulate over batches.

    Args:
        given: frames that rollouts are given; from rest a figure is at another place and in another phase than the real
            one, so no error at a horizon is taken.

    Returns:
        metrics to update with ``pose``, ``target``, ``mask``, ``long`` and ``long_mask``
        (:mod:`~stickgen.evaluation.motion_quality`).
    """
    metrics = {
        **({name: HorizonMSE(horizon) for name, horizon in HORIZONS.items()} if given else {}),
        "speed_ratio": SpeedRatio(2 * FPS),
        "travel_ratio": TravelRatio(),
        "root_drift": RootDrift(),
        **({} if given else {"kept_pace": KeptPace()}),
        "jerk_ratio": JerkRatio(),
        "foot_contact": FootContact(),
        "stance_slip": StanceSlip(),
        "foot_skating": FootSkating(),
        "bone_length_error": BoneLengthError(),
        "torso_length_error": TorsoLengthError(),
        "exploded": ExplodedShare(),
    }
    # Without compute groups: their states have the same names and different meanings.
    return MetricCollection(metrics, compute_groups=False)  # type: ignore[arg-type]
