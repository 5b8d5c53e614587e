"""Settings of short runs, and what tests ask of their adapters."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from stickgen.config import (
    BaseConfig,
    CallbacksConfig,
    DataConfig,
    LoggerConfig,
    LoRAConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SampleConfig,
    TrainConfig,
    TrainerConfig,
)
from stickgen.data.clips import Clip
from stickgen.data.file import write_sequences
from stickgen.model import StickFigureTransformer
from stickgen.sample import SAMPLE_INFO, sample_sequences
from stickgen.training import FitResult

METRICS = {"pose_mse", "action_accuracy", "temporal_consistency_error", "loss"}

DATA = {"sample": {"clips": 30, "actions": ["walk", "jump", "wave"]}, "batch_size": 4}

EPOCHS, STEPS_AN_EPOCH = 2, 3  # 24 training clips, 4 × 2 a step


def settings_of(run_dir: Path, **groups: dict[str, Any]) -> TrainConfig:
    """Settings of a short run; a dict for a group, or a value for a key, changes them."""
    data = {**DATA, **groups.pop("data", {})}
    defaults: dict[str, tuple[type, dict[str, Any]]] = {
        "base": (BaseConfig, {}),
        "lora": (LoRAConfig, {"rank": 2, "alpha": 4.0, "targets": {"attention": ["self_attn"]}}),
        "objective": (ObjectiveConfig, {}),
        "optimizer": (OptimizerConfig, {"lr": 1e-2}),
        "trainer": (
            TrainerConfig,
            {"max_epochs": EPOCHS, "accumulate_grad_batches": 2, "accelerator": "cpu", "threads": 1},
        ),
        "callbacks": (CallbacksConfig, {"progress_bar": False}),
        "logger": (LoggerConfig, {"kinds": []}),
    }
    made = {name: kind(**{**values, **groups.pop(name, {})}) for name, (kind, values) in defaults.items()}
    sample = SampleConfig(**data.pop("sample"))
    return TrainConfig(**made, data=DataConfig(sample=sample, **data), run_dir=str(run_dir), **groups)


def adapter_of(result: FitResult) -> dict[str, Tensor]:
    return load_file(result.run.adapter / "adapter_model.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def scores_of(model: StickFigureTransformer, clips: list[Clip]) -> dict[str, float]:
    """Metrics of a model, computed clip by clip, without padding, batches or Lightning."""
    squares, steps, hits = [], [], []
    with torch.no_grad():
        for clip in clips:
            given, asked = clip.motion[:-1].unsqueeze(1), clip.motion[1:]
            outputs = model(given, clip.embedding.unsqueeze(0), return_all_outputs=True)
            pose = outputs["pose"][:, 0]
            squares.append((pose - asked).double().square().flatten())
            steps.append((pose.diff(dim=0) - asked.diff(dim=0)).double().square().flatten())
            assert clip.actions is not None
            hits.append((outputs["action_logits"][:, 0].argmax(-1) == clip.actions[1:]).double())
    means = (float(torch.cat(values).mean()) for values in (squares, steps, hits))
    return dict(zip(("pose_mse", "temporal_consistency_error", "action_accuracy"), means, strict=True))


def data_file(path: Path, *, without_actions: str = "", camera: bool = False) -> Path:
    """Write sample clips of ten takes with fixed splits, one of which may lack action labels."""
    sequences = sample_sequences(30, actions=["walk", "jump", "wave"])
    for index, sequence in enumerate(sequences):
        split = ("train", "val", "test")[max(0, index // 3 - 7)]
        sequence["meta"] = {**sequence["meta"], "split": split}
        if split == without_actions:
            sequence["actions"] = None
        if camera:
            sequence["camera"] = torch.rand(len(sequence["motion"]), 3)
    write_sequences(path, sequences, SAMPLE_INFO)
    return path
