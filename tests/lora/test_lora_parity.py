"""Our adapters' numbers and the reference system's, on the same weights, inputs and losses."""

from typing import Any

import pytest
import torch
from torch import Tensor

from stickgen.config import LossWeights
from stickgen.data.batch import TargetCounts
from stickgen.data.clips import Clip
from stickgen.lora import (
    LoRASettings,
    get_lora_state_dict,
    inject_lora_adapters,
    load_lora_state_dict,
    merge_lora_weights,
)
from stickgen.model import StickFigureTransformer
from stickgen.training.losses import Targets, loss_terms, physics_sums, total_loss

CASES = {
    "plain": (),
    "actions": ("action_sequence",),
    "camera": ("camera_data",),
    "partner": ("partner_motion",),
    "all": ("action_sequence", "camera_data", "partner_motion"),
}


@pytest.fixture
def model(reference: dict[str, Any]) -> StickFigureTransformer:
    meta = reference["meta"]
    model = StickFigureTransformer(**meta["config"])
    model.load_state_dict(reference["base_state"], strict=True)
    inject_lora_adapters(model, meta["target_modules"], meta["rank"], meta["alpha"], 0.05)
    load_lora_state_dict(model, reference["lora_state"], settings=LoRASettings(meta["rank"], meta["alpha"]))
    return model.eval()


def run(model: StickFigureTransformer, reference: dict[str, Any], case: str) -> dict[str, Tensor]:
    names = ("motion", "text_embedding", *CASES[case])
    outputs = model(**{name: reference["inputs"][name] for name in names}, return_all_outputs=True)
    assert isinstance(outputs, dict)
    return outputs


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("case", CASES)
def test_outputs_with_adapters_equal_the_references(
    model: StickFigureTransformer, reference: dict[str, Any], case: str
) -> None:
    with torch.no_grad():
        assert_equal(run(model, reference, case), reference["lora_outputs"][case])


@pytest.mark.parametrize("case", CASES)
def test_merged_outputs_equal_the_references(
    model: StickFigureTransformer, reference: dict[str, Any], case: str
) -> None:
    merge_lora_weights(model)
    with torch.no_grad():
        assert_equal(run(model, reference, case), reference["merged_outputs"][case])


def test_pose_alone_with_and_without_merging(model: StickFigureTransformer, reference: dict[str, Any]) -> None:
    plain = [reference["inputs"][name] for name in ("motion", "text_embedding")]
    with torch.no_grad():
        assert_equal({"pose": model(*plain)}, reference["lora_outputs"]["pose_only"])
        merge_lora_weights(model)
        assert_equal({"pose": model(*plain)}, reference["merged_outputs"]["pose_only"])


def test_the_merged_state_equals_the_correct_merge(model: StickFigureTransformer, reference: dict[str, Any]) -> None:
    ours = merge_lora_weights(model).state_dict()
    assert list(ours) == list(reference["merged_state"])
    assert_equal(ours, reference["merged_state"])


def test_our_merge_does_not_apply_the_update_twice(model: StickFigureTransformer, reference: dict[str, Any]) -> None:
    wrong = reference["upstream_double_merge_pose_all"]
    with torch.no_grad():
        before = run(model, reference, "all")["pose"]
        after = run(merge_lora_weights(model), reference, "all")["pose"]
    assert (after - wrong).abs().max() > 0.1
    assert (before - wrong).abs().max() > 0.1


def test_the_reference_fixtures_adapter_state_is_ours(model: StickFigureTransformer, reference: dict[str, Any]) -> None:
    ours = get_lora_state_dict(model)
    assert ours.keys() == reference["lora_state"].keys()
    for key, value in ours.items():
        assert torch.equal(value, reference["lora_state"][key])
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == reference["meta"]["lora_params"]


def losses(model: StickFigureTransformer, reference: dict[str, Any]) -> tuple[dict[str, Tensor], Tensor]:
    outputs = run(model, reference, "actions")
    given = reference["inputs"]
    frames, clips, _ = given["motion"].shape
    # A clip's targets are its frames from the second on; the fixture's are given apart, as many as there are inputs.
    counts = TargetCounts.of(
        [
            Clip(
                motion=torch.zeros(frames + 1, 20),
                embedding=torch.zeros(32),
                actions=torch.zeros(frames + 1, dtype=torch.int64),
                physics=torch.zeros(frames + 1, 6),
                description="",
                take="",
            )
            for _ in range(clips)
        ]
    )
    everywhere = torch.ones(frames, clips, dtype=torch.bool)
    targets = Targets(
        pose=given["target_motion"],
        mask=everywhere,
        actions=given["action_sequence"],
        physics=given["target_physics"],
        physics_mask=everywhere,
        counts=counts,
    )
    terms = loss_terms(outputs, targets, gravity=0.1, pose_scale=1.0, physics_scale=torch.ones(6))
    weights = reference["loss"]["weights"]
    return terms, total_loss(terms, LossWeights(**weights))


def test_every_loss_term_equals_the_references(model: StickFigureTransformer, reference: dict[str, Any]) -> None:
    terms, total = losses(model, reference)
    for name in ("pose", "temporal", "action", "physics"):
        assert terms[name].item() == pytest.approx(reference["loss"][name], abs=1e-5, rel=1e-6), name
    assert total.item() == pytest.approx(reference["loss"]["total"], abs=1e-5)


def test_every_part_of_the_physics_term_equals_the_references(
    model: StickFigureTransformer, reference: dict[str, Any]
) -> None:
    physics = run(model, reference, "actions")["physics"].detach()
    frames, clips, _ = physics.shape
    mask = torch.ones(frames, clips, dtype=torch.bool)
    sums = physics_sums(physics, reference["inputs"]["target_physics"], mask, torch.ones(6))
    counts = {"mse": frames * clips, "gravity": frames * clips}
    names = {
        "mse": "physics_mse",
        "gravity": "gravity_loss",
        "momentum": "momentum_loss",
        "consistency": "consistency_loss",
    }
    for part, name in names.items():
        mean = sums[part] / counts.get(part, (frames - 1) * clips)
        assert mean.item() == pytest.approx(reference["loss"][name], abs=1e-5, rel=1e-6), part


def test_gradients_of_every_adapter_tensor_equal_the_references(
    model: StickFigureTransformer, reference: dict[str, Any]
) -> None:
    losses(model, reference)[1].backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == reference["lora_grads"].keys()
    for name, theirs in reference["lora_grads"].items():
        torch.testing.assert_close(gradients[name], theirs, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
