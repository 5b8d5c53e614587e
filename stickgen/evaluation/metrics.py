"""Metrics over real target frames; equal under any batch size, padding and order of clips."""

from typing import Any, cast

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from stickgen.data.batch import NO_ACTION


class MaskedMean(Metric):
    """Mean over the marked entries, summed so exactly that the order of batches does not show.

    Each sum is two float32 numbers ``[2]``, the sum and what rounding took from it: nearly as exact as float64, which
    MPS does not have.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(2), dist_reduce_fx=_add_pairs)
        self.add_state("count", torch.zeros(2), dist_reduce_fx=_add_pairs)

    def compute(self) -> Tensor:
        """Return the mean; NaN where nothing was marked."""
        return (_widest(self.total).sum() / _widest(self.count).sum()).float()

    def _add(self, values: Tensor, mask: Tensor) -> None:
        """Add values at the entries of a mask of their shape."""
        self._add_sums(torch.where(mask, _widest(values), 0.0).sum(), mask.sum())

    def _add_sums(self, total: Tensor, count: Tensor) -> None:
        """Add what a batch adds to the numerator and to the denominator."""
        self.total = _add_pairs(torch.stack([self.total, _pair(total)]))
        self.count = _add_pairs(torch.stack([self.count, _pair(count)]))


def _widest(values: Tensor) -> Tensor:
    """Return numbers in float64 where their device has it."""
    return values.float() if values.device.type == "mps" else values.double()


def _pair(value: Tensor) -> Tensor:
    """Return a number as a float32 ``[2]`` and what that leaves of it."""
    nearest = value.float()
    return torch.stack([nearest, (_widest(value) - nearest).float()])


def _add_pairs(pairs: Tensor) -> Tensor:
    """Return the sum ``[2]`` of pairs ``[P, 2]``; a rounding error is found as in Knuth's TwoSum."""
    total, rest = pairs[0]
    for value, more in pairs[1:]:
        rounded = total + value
        took = rounded - total
        rest = rest + more + ((total - (rounded - took)) + (value - took))
        total = rounded + rest
        rest = rest - (total - rounded)
    return torch.stack([total, rest])


class MaskedMSE(MaskedMean):
    """Mean squared error over the marked entries."""

    def _add_errors(self, error: Tensor, mask: Tensor) -> None:
        """Add errors ``[T, B, D]`` at the entries of ``mask [T, B]``."""
        self._add(_widest(error) ** 2, mask.unsqueeze(-1).expand_as(error))


class PoseMSE(MaskedMSE):
    """Mean squared error of predicted poses, over the coordinates of real frames (body heights squared)."""

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch: ``pose`` and ``target [T, B, D]``, ``mask [T, B]`` True at real frames."""
        self._add_errors(pose - target, mask)


class TemporalConsistencyError(MaskedMSE):
    """Mean squared error of first differences between neighbouring real frames; lower is better."""

    def update(self, pose: Tensor, target: Tensor, mask: Tensor) -> None:
        """Add a batch: ``pose`` and ``target [T, B, D]``, ``mask [T, B]`` True at real frames."""
        self._add_errors((pose[1:] - pose[:-1]) - (target[1:] - target[:-1]), mask[1:] & mask[:-1])


class ActionAccuracy(MulticlassAccuracy):
    """Share of labelled frames whose action is predicted; labels must not have been in the model's input."""

    def __init__(self, num_actions: int) -> None:
        super().__init__(num_classes=num_actions, average="micro", ignore_index=NO_ACTION, validate_args=False)
        self.num_actions = num_actions

    def update(self, logits: Tensor, actions: Tensor) -> None:
        """Add a batch: ``logits [T, B, num_actions]``, ``actions [T, B]`` with NO_ACTION where there is no label."""
        super().update(logits.flatten(0, 1), actions.flatten())

    def compute(self) -> Tensor:
        """Return the share; NaN where no frame had a label."""
        labelled = cast("Tensor", self.tp) + cast("Tensor", self.fn)
        return torch.where(labelled > 0, super().compute(), torch.nan)


def motion_metrics(num_actions: int, prefix: str) -> MetricCollection:
    """Return pose_mse, action_accuracy and temporal_consistency_error, under names with a prefix."""
    metrics: dict[str, Any] = {
        "pose_mse": PoseMSE(),
        "action_accuracy": ActionAccuracy(num_actions),
        "temporal_consistency_error": TemporalConsistencyError(),
    }
    # Without compute groups: two of them hold states of the same names and different meaning.
    return MetricCollection(metrics, prefix=prefix, compute_groups=False)
