"""From a base that moves numbers to one that moves a body, with the same weights wherever they mean the same."""

from typing import cast

import torch
from torch import Tensor, nn

from stickgen.model.body_frame import body_matrices
from stickgen.model.transformer import StickFigureTransformer

NEVER_PLANTED = -6.0
"""Logit of contact to begin with: a foot is then held back by about a thousandth of what it slips."""


def into_body_frame(
    model: StickFigureTransformer, *, velocity_kept: float = 1.0, pose_pull: float = 0.0, motion_code: bool = False
) -> StickFigureTransformer:
    """Return a base with ``pose_frame="body"`` that begins as a base with ``pose_frame="world"``.

    For a figure whose pelvis is at x = 0 and whose shared joints coincide, it predicts what the other does, the copies
    of a joint at their mean. Velocities are not read yet, feet are not planted, and every spread is ``pose_scale``:
    these are to be trained.

    Args:
        model: of ``pose_output="velocity"``, without adapters.
        velocity_kept: of the new base; see :class:`StickFigureTransformer`. With a value below one it predicts
            something else at first.
        pose_pull: likewise; with a value above zero.
        motion_code: of the new base.

    Raises:
        ValueError: the model is of another kind.
    """
    if model.pose_output != "velocity" or model.body_frame is not None:
        raise ValueError("into_body_frame: a base with pose_output=velocity and pose_frame=world expected")
    settings = {
        **model.settings,
        "pose_frame": "body",
        "velocity_kept": velocity_kept,
        "pose_pull": pose_pull,
        "motion_code": motion_code,
    }
    made = StickFigureTransformer(**settings)
    made.load_state_dict(dict(model.state_dict()))  # without its settings, which are of the other frame
    read, said, contact = body_matrices(model.settings["input_dim"])
    first, last = cast("nn.Linear", made.motion_embedding[0]), cast("nn.Linear", made.pose_decoder[3])
    with torch.no_grad():
        first.weight.copy_(_product(first.weight, read))
        last.weight.copy_(_product(said, last.weight))
        last.bias.copy_(_product(said, last.bias))
        last.bias[contact] = NEVER_PLANTED
    return made.train(model.training)


def _product(one: Tensor, other: Tensor) -> Tensor:
    return (one.double() @ other.double()).to(torch.float32)
