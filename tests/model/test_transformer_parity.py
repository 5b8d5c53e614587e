"""Our numbers and the reference system's, on the same weights and inputs."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stickgen.model import StickFigureTransformer

CASES = {
    "plain": (),
    "actions": ("action_sequence",),
    "camera": ("camera_data",),
    "partner": ("partner_motion",),
    "all": ("action_sequence", "camera_data", "partner_motion"),
}


@pytest.fixture(scope="module")
def model(reference: dict[str, Any]) -> StickFigureTransformer:
    model = StickFigureTransformer(**reference["meta"]["config"])
    model.load_state_dict(reference["base_state"], strict=True)
    return model.eval()


def arguments(reference: dict[str, Any], case: str) -> dict[str, Tensor]:
    names = ("motion", "text_embedding", *CASES[case])
    return {name: reference["inputs"][name] for name in names}


@pytest.mark.parametrize("case", CASES)
def test_every_output_equals_the_references(
    model: StickFigureTransformer, reference: dict[str, Any], case: str
) -> None:
    with torch.no_grad():
        ours = model(**arguments(reference, case), return_all_outputs=True)
    theirs = reference["base_outputs"][case]
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


def test_pose_alone_equals_the_references(model: StickFigureTransformer, reference: dict[str, Any]) -> None:
    with torch.no_grad():
        ours = model(**arguments(reference, "plain"))
    torch.testing.assert_close(ours, reference["base_outputs"]["pose_only"]["pose"], rtol=0, atol=1e-5)


def test_every_case_of_the_fixture_is_tested(reference: dict[str, Any]) -> None:
    assert set(reference["base_outputs"]) == {*CASES, "pose_only"}


def test_gradients_do_not_change_the_outputs(model: StickFigureTransformer, reference: dict[str, Any]) -> None:
    ours = model(**arguments(reference, "all"), return_all_outputs=True)
    torch.testing.assert_close(ours["pose"], reference["base_outputs"]["all"]["pose"], rtol=0, atol=1e-5)


def test_our_state_dict_has_the_references_keys_and_shapes_in_its_order(reference: dict[str, Any]) -> None:
    def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
        return {key: tuple(value.shape) for key, value in state.items()}

    ours = StickFigureTransformer(**reference["meta"]["config"])
    assert shapes(ours.state_dict()) == shapes(reference["base_state"])


def test_our_rotary_frequencies_are_the_references(reference: dict[str, Any]) -> None:
    ours = StickFigureTransformer(**reference["meta"]["config"]).state_dict()
    for key in (key for key in reference["base_state"] if key.endswith("inv_freq")):
        torch.testing.assert_close(ours[key], reference["base_state"][key], rtol=1e-6, atol=0)


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_the_strict_load_is_one(reference: dict[str, Any], change: str) -> None:
    state = dict(reference["base_state"])
    if change == "missing":
        del state["action_embedding.weight"]
    else:
        state["final_norm.weight"] = torch.ones(48)
    with pytest.raises(RuntimeError, match=r"action_embedding|final_norm"):
        StickFigureTransformer(**reference["meta"]["config"]).load_state_dict(state, strict=True)


def test_the_parity_test_would_notice_a_changed_norm(model: StickFigureTransformer, reference: dict[str, Any]) -> None:
    other = StickFigureTransformer(**reference["meta"]["config"]).eval()
    other.load_state_dict(reference["base_state"])
    other.transformer_encoder.layers[0].norm1 = nn.Identity()
    with torch.no_grad():
        pose = other(**arguments(reference, "plain"))
    assert (pose - reference["base_outputs"]["plain"]["pose"]).abs().max() > 1e-3
