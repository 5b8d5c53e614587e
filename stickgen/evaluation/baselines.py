"""What no training at all would score: repeating the last frame, constant velocity, the most frequent action."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from stickgen.data.batch import NO_ACTION, Batch
from stickgen.data.clips import Clip, ClipInfo
from stickgen.data.table import ClipInfos
from stickgen.evaluation.metrics import PoseMSE, TemporalConsistencyError

MOST_FREQUENT = "most frequent action"
"""The baseline of the action labels, which has no poses."""


def repeat_last_frame(motion: Tensor) -> Tensor:
    """Predict frames 1 to T − 1 of ``[T, ...]`` as the frames before them."""
    return motion[:-1]


def constant_velocity(motion: Tensor) -> Tensor:
    """Predict frames 1 to T − 1 of ``[T, ...]`` as the frame before plus the step before; the first by repeating."""
    steps = torch.cat((torch.zeros_like(motion[:1]), motion[1:-1] - motion[:-2]))
    return motion[:-1] + steps


def majority_action(clips: Sequence[Clip | ClipInfo]) -> int | None:
    """Return the most frequent action among the labelled target frames of clips, None where there is no label."""
    of, labels, frames = ClipInfos.of(clips).labels()
    if not len(of):
        return None
    counts = np.bincount(labels, weights=frames)
    first = np.flatnonzero(np.diff(of, prepend=-1))  # labels of the clips' first frames, which are nobody's target
    counts -= np.bincount(labels[first], minlength=len(counts))
    counts[~np.isin(np.arange(len(counts)), labels)] = -1
    return int(np.argmax(counts))


PREDICTORS: dict[str, Callable[[Tensor], Tensor]] = {
    "repeat last frame": repeat_last_frame,
    "constant velocity": constant_velocity,
}


def baseline_metrics(batches: Iterable[Batch], majority: int | None) -> dict[str, dict[str, float]]:
    """Score the baselines.

    Args:
        batches: the clips to score on, as the model is scored on them.
        majority: the most frequent action of the *training* clips.

    Returns:
        for each baseline, the metrics it has: pose_mse and temporal_consistency_error, or action_accuracy.
    """
    metrics = {name: (PoseMSE(), TemporalConsistencyError()) for name in PREDICTORS}
    right = labelled = 0
    for batch in batches:
        mask = ~batch.padding_mask.T[1:]
        for name, predict in PREDICTORS.items():
            for metric in metrics[name]:
                metric.update(predict(batch.motion), batch.motion[1:], mask)
        labels = batch.actions[1:]
        labelled += int((labels != NO_ACTION).sum())
        right += int((labels == majority).sum()) if majority is not None else 0
    scores = {
        name: {"pose_mse": float(pose.compute()), "temporal_consistency_error": float(temporal.compute())}
        for name, (pose, temporal) in metrics.items()
    }
    if labelled and majority is not None:
        scores[MOST_FREQUENT] = {"action_accuracy": right / labelled}
    return scores
