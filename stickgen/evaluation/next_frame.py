"""Predicting every next frame of a batch, with the true frames so far in the input, and scoring that."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from stickgen.data.batch import Batch
from stickgen.evaluation.metrics import motion_metrics
from stickgen.metrics import check_registered
from stickgen.model import StickFigureTransformer


def predict_next(
    model: StickFigureTransformer, batch: Batch, *, feed_actions: bool = False, causal: bool | None = None
) -> dict[str, Tensor]:
    """Return the model's outputs ``[T − 1, B, …]`` for targets 1 to T − 1 of a batch.

    Args:
        model: in either mode.
        batch: with its input offset, where it has one.
        feed_actions: give the action labels as input.
        causal: overrides the model's own setting.
    """
    inputs = slice(None, -1)
    motion = batch.motion if batch.input_offset is None else batch.motion + batch.input_offset
    return cast(
        "dict[str, Tensor]",
        model(
            motion[inputs],
            batch.embedding,
            return_all_outputs=True,
            action_sequence=batch.actions[inputs].clamp(min=0) if feed_actions else None,
            camera_data=None if batch.camera is None else batch.camera[inputs],
            partner_motion=None if batch.partner is None else batch.partner[inputs],
            padding_mask=batch.padding_mask[:, 1:],
            causal=causal,
            below=None if batch.hidden is None else (batch.hidden_layers, batch.hidden),
        ),
    )


def update_metrics(metrics: MetricCollection, outputs: dict[str, Tensor], batch: Batch) -> None:
    """Add what :func:`predict_next` gave for a batch to :func:`~stickgen.evaluation.metrics.motion_metrics`."""
    metrics.update(
        pose=outputs["pose"],
        target=batch.motion[1:],
        mask=~batch.padding_mask.T[1:],
        logits=outputs["action_logits"],
        actions=batch.actions[1:],
    )


def next_frame_scores(model: StickFigureTransformer, batches: Iterable[Batch]) -> dict[str, float]:
    """Return pose_mse, action_accuracy and temporal_consistency_error of a model in eval mode, labels withheld."""
    metrics = motion_metrics(model.settings["num_actions"], "")
    for batch in batches:
        with torch.no_grad():
            outputs = predict_next(model, batch)
        update_metrics(metrics, outputs, batch)
    scores = {name: float(value) for name, value in metrics.compute().items()}
    check_registered(scores)
    return scores
