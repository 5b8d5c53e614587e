"""Scoring motion that is rolled out of a few given frames or from rest, beside the trivial ways and the real clips."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from stickgen.data.batch import Batch, collate
from stickgen.data.clips import Clip
from stickgen.errors import DataError
from stickgen.evaluation.features import FeatureSpace, diversity, features_of, frechet_distance
from stickgen.evaluation.motion_quality import (
    BoneLengthError,
    ExplodedShare,
    FootSkating,
    HorizonMSE,
    JerkRatio,
    SpeedRatio,
    TorsoLengthError,
    TravelRatio,
)
from stickgen.generation.clips import go_on
from stickgen.generation.seed import standing
from stickgen.model import StickFigureTransformer
from stickgen.skeleton import FPS

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
        given: frames of each clip that are given; 0: none, the figure sets out from rest, as ``stickgen generate`` has
            it without first frames. It is then at another place and in another phase than the real one, so no error at
            a horizon is taken.
        frames: most frames that are made of each; a clip's own end is the other limit.
        shortest: fewest real frames after the given ones; shorter clips take no part.
        batch_size: clips rolled out side by side; results do not depend on it but for rounding.
    """

    given: int = 10
    frames: int = 240
    shortest: int = 25
    batch_size: int = 32

    @property
    def start(self) -> str:
        """What rollouts are made of, in words."""
        return f"the caption and the first {self.given} frames" if self.given else "the caption and the rest pose"

    @property
    def least(self) -> int:
        """Fewest frames of a clip that takes part."""
        return self.given + self.shortest

    def clips(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the clips that take part, by length.

        Raises:
            DataError: there is none.
        """
        kept = [clip for clip in clips if clip.length >= self.least]
        if not kept:
            raise DataError(
                f"rollouts: no clip has {self.least} frames, {self.given} to give and {self.shortest} to compare with"
            )
        return sorted(kept, key=lambda clip: clip.length)

    def batches(self, clips: Sequence[Clip], conditions: Sequence[str] = ()) -> list[Batch]:
        """Return the clips that take part in batches, cut to the frames that are given or made."""
        kept = self.clips(clips)
        whole = (collate(kept[i : i + self.batch_size], conditions) for i in range(0, len(kept), self.batch_size))
        return [_first_frames(batch, self.given + self.frames) for batch in whole]


def _first_frames(batch: Batch, frames: int) -> Batch:
    tracks = ("motion", "actions", "physics", "camera", "partner")
    cut = {name: track[:frames] for name in tracks if (track := getattr(batch, name)) is not None}
    return replace(batch, padding_mask=batch.padding_mask[:, :frames], **cut)


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


def model_rollout(model: StickFigureTransformer, seed: int | None = 0) -> GoOn:
    """Return a model's way to go on: from the caption and the given frames; action labels are withheld.

    Args:
        model: causal ones are rolled out frame by frame, bidirectional ones in one pass.
        seed: of the draw of motion codes; None: the most typical.
    """
    return partial(go_on, model, seed=seed)


TRIVIAL: dict[str, GoOn] = {
    "real clips": real_clips,
    "repeat last frame": repeat_last_frame,
    "constant velocity": constant_velocity,
}
"""What stands beside every model: the real motion, which is what the others should score, and two ways without one."""


def rollout_report(
    predictors: Mapping[str, GoOn],
    clips: Sequence[Clip],
    *,
    reference: Sequence[Clip] | None = None,
    protocol: RolloutProtocol | None = None,
    conditions: Sequence[str] = (),
) -> dict[str, dict[str, float]]:
    """Score ways to go on from the first frames of clips, beside :data:`TRIVIAL`.

    Args:
        predictors: by name, such as ``{"frozen base": model_rollout(base), "adapter": model_rollout(adapted)}``.
        clips: held-out clips.
        reference: real clips, such as those of the training, whose features the space of Fréchet distance and
            diversity is fitted to, in windows as long; None: the scored clips' own.
        protocol: given frames and lengths.
        conditions: "camera" and "partner" where the models take them.

    Returns:
        for each predictor, by metric: the scores of :func:`rollout_metrics`, ``frechet_distance`` and ``diversity``
        (see :mod:`~stickgen.evaluation.features`), and ``clips``, how many took part. NaN where there was nothing to
        score, or a motion exploded to numbers that are not finite.

    Raises:
        DataError: no clip is long enough.
    """
    protocol = protocol or RolloutProtocol()
    batches = protocol.batches(clips, conditions)
    fitted_to = batches if reference is None else protocol.batches(reference)
    space = FeatureSpace.fit(_features(fitted_to, real_clips, protocol.given))
    real = space.project(_features(batches, real_clips, protocol.given))
    scores: dict[str, dict[str, float]] = {}
    for name, predictor in {**TRIVIAL, **predictors}.items():
        metrics = rollout_metrics(protocol)
        features = []
        for batch in batches:
            made = predictor(batch, protocol.given)
            mask = ~batch.padding_mask.T[protocol.given :]
            target = batch.motion[protocol.given :]
            body = target if protocol.given else repeat_last_frame(batch, 0)
            metrics.update(pose=made, target=target, body=body, mask=mask)
            features.append(_features_of_batch(made, mask))
        projected = space.project(torch.cat(features))
        scores[name] = {
            **{metric: float(value) for metric, value in metrics.compute().items()},
            "frechet_distance": frechet_distance(real, projected),
            "diversity": diversity(projected),
            "clips": float(len(projected)),
        }
    return scores


def rollout_metrics(protocol: RolloutProtocol) -> MetricCollection:
    """Return the metrics that accumulate over batches, updated with ``pose``, ``target``, ``body`` and ``mask``."""
    metrics = {
        **({name: HorizonMSE(horizon) for name, horizon in HORIZONS.items()} if protocol.given else {}),
        "speed_ratio": SpeedRatio(2 * FPS),
        # Who sets out from rest looks to +x, whichever way the clip goes: captions do not tell.
        "travel_ratio": TravelRatio(None if protocol.given else 1),
        "jerk_ratio": JerkRatio(),
        "foot_skating": FootSkating(),
        "bone_length_error": BoneLengthError(),
        "torso_length_error": TorsoLengthError(),
        "exploded": ExplodedShare(),
    }
    # Without compute groups: their states have the same names and different meanings.
    return MetricCollection(metrics, compute_groups=False)  # type: ignore[arg-type]


def _features(batches: Iterable[Batch], go_on: GoOn, given: int) -> Tensor:
    return torch.cat([_features_of_batch(go_on(b, given), ~b.padding_mask.T[given:]) for b in batches])


def _features_of_batch(motion: Tensor, mask: Tensor) -> Tensor:
    return features_of([motion[: int(mask[:, b].sum()), b] for b in range(motion.shape[1])])
