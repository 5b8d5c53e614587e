"""Labels of an objective: bidirectional asks for those of the frame that is read, as the reference does."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor

from stickgen.config import PROJECT, BaseConfig, LoRAConfig, ObjectiveConfig, TrainConfig
from stickgen.data.batch import NO_ACTION, Batch, collate
from stickgen.data.clips import Clip
from stickgen.evaluation.next_frame import predict_next
from stickgen.lora import inject_lora_adapters, load_lora_state_dict
from stickgen.model import StickFigureTransformer
from stickgen.training.module import TERMS, MotionModule
from tests.random_clips import ragged_clips, random_clip

CLIPS = ragged_clips((9, 5, 12, 3), mixed=False)


def objective(name: str) -> ObjectiveConfig:
    """The settings of a file in conf/objective."""
    merged = OmegaConf.merge(
        OmegaConf.structured(ObjectiveConfig), OmegaConf.load(PROJECT / f"conf/objective/{name}.yaml")
    )
    made = OmegaConf.to_object(merged)
    assert isinstance(made, ObjectiveConfig)
    return made


def module_of(model: StickFigureTransformer, name: str) -> MotionModule:
    config = TrainConfig(
        base=BaseConfig(checkpoint="base.safetensors"),
        lora=LoRAConfig(targets={"all": ["transformer_encoder", "pose_decoder"]}),
        objective=objective(name),
        run_dir="run",
    )
    return MotionModule(model, config, None)


def by_hand(
    outputs: dict[str, Tensor], clips: list[Clip], labels: slice, gravity: float, scale: float
) -> dict[str, Tensor]:
    """The reference's means, over the frames of all clips, from a model's outputs; its formulas, nothing of ours."""
    size = torch.tensor([1.0, 1.0, scale, scale, 1.0, 1.0])
    parts: dict[str, list[Tensor]] = {}
    for index, clip in enumerate(clips):
        steps = len(clip.motion) - 1
        pose, physics = outputs["pose"][:steps, index], outputs["physics"][:steps, index]
        assert clip.actions is not None
        assert clip.physics is not None
        logits = outputs["action_logits"][:steps, index]
        v, a, m = physics[:, 0:2], physics[:, 2:4], physics[:, 4:6]
        for name, value in {
            "pose": (pose - clip.motion[1:]) ** 2,
            "temporal": (pose[1:] - pose[:-1]) ** 2,
            "action": F.cross_entropy(logits, clip.actions[labels], reduction="none"),
            "mse": ((physics - clip.physics[labels]) / size) ** 2,
            "gravity": ((a[:, 1] + 9.8) / scale) ** 2,
            "momentum": ((m[1:] - m[:-1]) ** 2).sum(1),
            "consistency": ((v[1:] - v[:-1] - a[:-1] / 25) ** 2).sum(1),
        }.items():
            parts.setdefault(name, []).append(value)
    mean = {name: torch.cat(values).mean() for name, values in parts.items()}
    physics = mean["mse"] + gravity * mean["gravity"] + 0.1 * mean["momentum"] + 0.2 * mean["consistency"]
    return {"pose": mean["pose"], "temporal": mean["temporal"], "action": mean["action"], "physics": physics}


@pytest.mark.parametrize(
    ("name", "labels", "gravity", "scale"),
    [("bidirectional", slice(None, -1), 0.1, 1.0), ("causal", slice(1, None), 0.0, 5.0)],
)
def test_the_loss_is_the_one_written_out_by_hand(
    model: Any, name: str, labels: slice, gravity: float, scale: float
) -> None:
    made = model(causal=name == "causal", pose_output="absolute", pose_scale=1.0)
    module, batch = module_of(made, name), collate(CLIPS, feed_actions=name == "bidirectional")
    loss, terms = module.step_loss(batch)
    outputs = predict_next(made, batch, feed_actions=name == "bidirectional")
    expected = by_hand(outputs, CLIPS, labels, gravity, scale)
    for term in TERMS:
        assert terms[term].item() == pytest.approx(expected[term].item(), rel=1e-6), term
    weighted = expected["pose"] + 0.1 * expected["temporal"] + 0.2 * expected["action"] + 0.25 * expected["physics"]
    assert loss.item() == pytest.approx(weighted.item(), rel=1e-6)


def test_the_last_label_of_a_bidirectional_clip_counts_for_nothing(model: Any) -> None:
    module = module_of(model(causal=False), "bidirectional")
    clip = random_clip(6)
    assert clip.actions is not None
    other = random_clip(6)
    assert other.actions is not None
    other.actions[-1] = (other.actions[-1] + 1) % 64
    long = random_clip(9, seed=1)
    # Also where padding follows it.
    first, second = (module.step_loss(collate([one, long]))[1]["action"] for one in (clip, other))
    assert torch.equal(first, second)


def test_a_bidirectional_step_has_the_references_loss(shared_fixtures: Any) -> None:
    """Its fixture gives the frames that are asked for, and the labels of those that are read, apart."""
    reference = torch.load(shared_fixtures / "fixture_small.pt", weights_only=True)
    meta, given = reference["meta"], reference["inputs"]
    model = StickFigureTransformer(**meta["config"])
    model.load_state_dict(reference["base_state"])
    inject_lora_adapters(model, meta["target_modules"], meta["rank"], meta["alpha"])
    load_lora_state_dict(model, reference["lora_state"])
    batch = _batch(given)
    loss, terms = module_of(model.eval(), "bidirectional").step_loss(batch)
    for term in TERMS:
        assert terms[term].item() == pytest.approx(reference["loss"][term], rel=1e-6, abs=1e-6), term
    assert loss.item() == pytest.approx(reference["loss"]["total"], rel=1e-6)


def _batch(given: dict[str, Tensor]) -> Batch:
    """A batch whose read frames, asked frames and labels are the fixture's, and whose last labels are others."""
    count = given["motion"].shape[1]
    motion = torch.cat((given["motion"], given["target_motion"][-1:]))
    actions = torch.cat((given["action_sequence"], (given["action_sequence"][-1:] + 1) % 64))
    physics = torch.cat((given["target_physics"], given["target_physics"][-1:] + 1))
    clips = [
        Clip(
            motion=motion[:, i],
            embedding=given["text_embedding"][i],
            actions=actions[:, i],
            physics=physics[:, i],
            description="",
            take="",
        )
        for i in range(count)
    ]
    batch = collate(clips, feed_actions=True)
    assert not bool((batch.actions == NO_ACTION).any())
    offset = torch.zeros_like(motion)
    offset[1:] = given["target_motion"] - motion[1:]
    return replace(batch, target_offset=offset)
