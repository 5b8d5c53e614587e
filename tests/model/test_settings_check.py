"""Weights are not run by a model of other settings; the keys of a state dict stay the reference's."""

from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.model import StickFigureTransformer

SIZES: dict[str, Any] = {"d_model": 48, "nhead": 4, "num_layers": 1, "embedding_dim": 32}
OURS: dict[str, Any] = {"causal": True, "pose_output": "velocity", "pose_scale": 0.005}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A recorded causal base of velocities, as a .pth."""
    save_base(StickFigureTransformer(**SIZES, **OURS), BaseRecord({}, "causal"), tmp_path / "base.pth")
    return tmp_path / "base.pth"


def test_a_bare_model_refuses_the_weights_of_a_recorded_base(saved: Path) -> None:
    state = torch.load(saved, weights_only=True)
    with pytest.raises(RuntimeError, match=r"trained with causal=True, pose_output='velocity', pose_scale=0\.005"):
        StickFigureTransformer(**SIZES).load_state_dict(state)
    StickFigureTransformer(**SIZES, **OURS).load_state_dict(state, strict=True)
    assert load_base(saved).model.settings["causal"] is True


def test_the_same_of_a_state_dict_that_was_never_stickgens_file(tmp_path: Path) -> None:
    torch.save(StickFigureTransformer(**SIZES, **OURS).state_dict(), tmp_path / "x.pth")
    with pytest.raises(RuntimeError, match="read the file with stickgen"):
        StickFigureTransformer(**SIZES).load_state_dict(torch.load(tmp_path / "x.pth", weights_only=True))


def test_weights_that_remember_nothing_load_as_before_and_keys_are_only_tensors(saved: Path) -> None:
    state = torch.load(saved, weights_only=True)
    plain = StickFigureTransformer(**SIZES)
    assert list(state) == list(plain.state_dict())
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    plain.load_state_dict(dict(state), strict=True)
    # The reference's model is another class without such a hook.
    torch.nn.Linear(2, 2).load_state_dict(torch.nn.Linear(2, 2).state_dict(), strict=True)
