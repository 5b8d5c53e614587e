"""Weights are not run by a model of other settings; the keys of a state dict stay the reference's."""

import io
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.model import StickFigureTransformer
from stickgen.model.settings_check import CHECKED, RECORD_KEY

SIZES: dict[str, Any] = {"d_model": 48, "nhead": 4, "num_layers": 1, "embedding_dim": 128}
OURS: dict[str, Any] = {"causal": True, "pose_output": "velocity", "pose_scale": 0.005}
BODY: dict[str, Any] = {**OURS, "pose_frame": "body", "velocity_kept": 0.9, "pose_pull": 0.1, "motion_code": True}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A recorded causal base of velocities, as a .pth."""
    save_base(StickFigureTransformer(**SIZES, **OURS), BaseRecord({}, "causal"), tmp_path / "base.pth")
    return tmp_path / "base.pth"


def _loaded(model: StickFigureTransformer) -> Any:
    """Return the model's state dict as a file of its brings it back."""
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_bare_model_refuses_the_weights_of_a_recorded_base(saved: Path) -> None:
    state = torch.load(saved, weights_only=True)
    with pytest.raises(RuntimeError, match=r"trained with causal=True, pose_output='velocity', pose_scale=0\.005;"):
        StickFigureTransformer(**SIZES).load_state_dict(state)
    StickFigureTransformer(**SIZES, **OURS).load_state_dict(state, strict=True)
    assert load_base(saved).model.settings["causal"] is True


def test_the_same_of_a_state_dict_that_was_never_stickgens_file() -> None:
    with pytest.raises(RuntimeError, match="read the file with stickgen"):
        StickFigureTransformer(**SIZES).load_state_dict(_loaded(StickFigureTransformer(**SIZES, **OURS)))


@pytest.mark.parametrize("name", CHECKED)
def test_each_setting_that_shapes_do_not_show_is_compared(name: str) -> None:
    ours = StickFigureTransformer(**SIZES, **BODY)
    state = _loaded(ours)
    ours.load_state_dict(state)
    other = StickFigureTransformer(**SIZES, **BODY)
    other.settings[name] = "other"
    with pytest.raises(RuntimeError, match=rf"trained with {name}={ours.settings[name]!r};"):
        other.load_state_dict(state)


def test_every_setting_is_compared_or_shown_by_a_shape_or_not_of_the_weights() -> None:
    shown = {"input_dim", "d_model", "num_layers", "output_dim", "embedding_dim", "num_actions"}
    assert {*CHECKED, *shown, "dropout"} == StickFigureTransformer(**SIZES).settings.keys()


def test_a_body_frame_base_and_a_world_frame_one_refuse_each_other() -> None:
    body, world = StickFigureTransformer(**SIZES, **BODY), StickFigureTransformer(**SIZES, **OURS)
    with pytest.raises(RuntimeError, match=r"pose_frame='body', velocity_kept=0\.9, pose_pull=0\.1, motion_code=True;"):
        world.load_state_dict(_loaded(body))
    with pytest.raises(
        RuntimeError, match=r"pose_frame='world', velocity_kept=1\.0, pose_pull=0\.0, motion_code=False;"
    ):
        body.load_state_dict(_loaded(world))


def test_a_setting_that_the_record_lacks_has_its_default() -> None:
    state = StickFigureTransformer(**SIZES, **OURS).state_dict()
    state._metadata[""][RECORD_KEY] = '{"settings": {"nhead": 4, "causal": true, "pose_output": "velocity"}}'
    with pytest.raises(RuntimeError, match=r"trained with pose_scale=1\.0;"):
        StickFigureTransformer(**SIZES, **OURS).load_state_dict(state)
    StickFigureTransformer(**SIZES, causal=True, pose_output="velocity").load_state_dict(state)


@pytest.mark.parametrize("record", ["", "[]", "{}", '{"settings": 3}', "[" * 9999])
def test_a_damaged_record_is_refused(record: str) -> None:
    model = StickFigureTransformer(**SIZES)
    state = model.state_dict()
    state._metadata[""][RECORD_KEY] = record
    with pytest.raises(RuntimeError, match="record that the weights carry is damaged"):
        model.load_state_dict(state)


def test_a_model_inside_another_is_compared_too() -> None:
    whole = torch.nn.ModuleDict({"motion": StickFigureTransformer(**SIZES, **OURS)})
    with pytest.raises(RuntimeError, match="trained with causal=True"):
        torch.nn.ModuleDict({"motion": StickFigureTransformer(**SIZES)}).load_state_dict(whole.state_dict())


def test_weights_without_settings_load_as_before_and_keys_are_only_tensors(saved: Path) -> None:
    state = torch.load(saved, weights_only=True)
    plain = StickFigureTransformer(**SIZES)
    assert list(state) == list(plain.state_dict())
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    plain.load_state_dict(dict(state), strict=True)
    plain.load_state_dict(OrderedDict(state), strict=True)
