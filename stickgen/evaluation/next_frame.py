"""Scoring a model frame by frame, with the true frames so far in its input."""

from collections.abc import Iterable

import torch

from stickgen.data.batch import Batch
from stickgen.evaluation.metrics import motion_metrics
from stickgen.model import StickFigureTransformer


def next_frame_scores(model: StickFigureTransformer, batches: Iterable[Batch]) -> dict[str, float]:
    """Return pose_mse, action_accuracy and temporal_consistency_error of a model in eval mode, labels withheld."""
    metrics = motion_metrics(model.settings["num_actions"], "")
    inputs = slice(None, -1)
    for batch in batches:
        with torch.no_grad():
            outputs = model(
                batch.motion[inputs],
                batch.embedding,
                return_all_outputs=True,
                camera_data=None if batch.camera is None else batch.camera[inputs],
                partner_motion=None if batch.partner is None else batch.partner[inputs],
                padding_mask=batch.padding_mask[:, 1:],
            )
        metrics.update(
            pose=outputs["pose"],
            target=batch.motion[1:],
            mask=~batch.padding_mask.T[1:],
            logits=outputs["action_logits"],
            actions=batch.actions[1:],
        )
    return {name: float(value) for name, value in metrics.compute().items()}
