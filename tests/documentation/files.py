"""What the reader of a page has before its commands: bases, data, motion capture, runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from stickgen.artifacts.base import save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.data.file import write_sequences
from stickgen.mocap.projection import BODY_JOINTS
from stickgen.model import StickFigureTransformer
from stickgen.model.code_bank import CodeBank
from stickgen.model.motion_code import WIDTH
from stickgen.render import Panel, save
from stickgen.sample import SAMPLE_INFO, sample_sequences
from tests.mocap.bodies import walking_body, write_bvh

RUNS = {
    "outputs/a": "lora.rank=2",
    "outputs/b": "lora.rank=4",
    "outputs/c": "lora.enabled=false",
    "outputs/sneaky": "experiment=style objective.prior_clips=2",
    "outputs/tired": "lora.rank=3",
}

GIVEN = {
    "prompt_embedding": torch.eye(1024)[0],
    "prototypes": {"tired": torch.eye(1024)[:1], "sneaky": torch.eye(1024)[1:2]},
    "text_embedding": torch.eye(1024)[:3],
}
"""What Python blocks use and do not make."""


def import_all() -> None:
    """Import what the commands import, before they are forked."""
    import matplotlib.pyplot  # noqa: F401
    import onnxscript  # noqa: F401
    import pybvh  # noqa: F401
    import sentence_transformers  # noqa: F401
    import sklearn.linear_model  # noqa: F401

    import stickgen.evaluation.evaluate
    import stickgen.export.card
    import stickgen.export.convert
    import stickgen.export.merge
    import stickgen.library
    import stickgen.reports.compare
    import stickgen.reports.inspect
    import stickgen.sweeps.job  # noqa: F401


def make_files(folder: Path, run: Callable[[Path, str], None]) -> None:
    """Make the files.

    Args:
        folder: where.
        run: runs a command there.
    """
    for name in ("assets", "walks", "takes", "keypoints", "data"):
        (folder / name).mkdir()
    _base(folder / "assets" / "cmu_base.safetensors")
    shutil.copy(folder / "assets" / "cmu_base.safetensors", folder / "base.safetensors")
    _base_of_stick_gen(folder / "base.pth")
    for name, seed in (
        ("data.pt", 0),
        ("base_data.pt", 1),
        ("sft_data_embedded.pt", 2),
        ("monday.pt", 3),
        ("tuesday.pt", 4),
    ):
        sequences = [sequence for sequence in sample_sequences(24, seed=seed) if len(sequence["motion"]) >= 45]
        for sequence in sequences:
            sequence.update({key: sequence[key][:45] for key in ("motion", "actions", "physics")})
        write_sequences(folder / name, sequences, SAMPLE_INFO)
    walks = [Panel(sequence["motion"][:45], caption="a person walks") for sequence in sample_sequences(3)]
    save(folder / "walk.motion", walks[0])
    save(folder / "walks.npz", walks)
    for name, action in (("clips.npz", "walk"), ("cmu_sample.npz", "walk"), ("cmu_styles.npz", "salsa")):
        _joints(folder / name, action)
    for place in ("walks", "takes"):
        (folder / place / "walk_01.bvh").write_text(write_bvh())
    for take in range(6):
        (folder / "keypoints" / f"walk_{take}.json").write_text(_keypoints(walking_body(45, speed=1 + 0.1 * take)))
    (folder / "captions.csv").write_text("file,caption,action,take\nwalk_01.bvh,A person walks.,walk,monday\n")
    (folder / "prompts.txt").write_text("a person walks\n")
    for path, settings in RUNS.items():
        run(folder, f"python train.py {settings} data.path=data.pt hydra.run.dir={path}")


def _base(path: Path) -> None:
    """Write a causal base like the shipped one, but small: in the body's frame, with motion codes."""
    torch.manual_seed(0)
    model = StickFigureTransformer(
        d_model=24, nhead=2, num_layers=2, causal=True, pose_output="velocity", pose_scale=0.005,
        pose_frame="body", velocity_kept=0.5, pose_pull=0.1, motion_code=True,
    )  # fmt: skip
    texts = [torch.as_tensor(sequence["embedding"]) for sequence in sample_sequences(3)]
    model.code_bank = CodeBank.of(texts, list(0.3 * torch.randn(3, WIDTH)))
    save_base(model, BaseRecord(settings={}, objective="causal", text_encoder=SAMPLE_INFO["text_encoder"]), path)


def _base_of_stick_gen(path: Path) -> None:
    model = StickFigureTransformer(d_model=24, nhead=2, num_layers=2)
    torch.save({"model_state_dict": dict(model.state_dict().items())}, path)


def _keypoints(body: np.ndarray) -> str:
    """Return predictions in MMPose's words: a body ``[T, 14, 3]`` that fills a picture, seen from its side."""
    parts = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    names = ["head"] * 5 + [f"{side}_{part}" for part in parts for side in ("left", "right")]
    places = body[:, [BODY_JOINTS.index(name) for name in names]]
    points = np.stack([500 + 300 * places[..., 2], 900 - 300 * places[..., 1]], axis=-1)
    people = [[{"keypoints": frame.tolist(), "keypoint_scores": [0.9] * len(names)}] for frame in points]
    return json.dumps([{"frame_id": number, "instances": frame} for number, frame in enumerate(people)])


def _joints(path: Path, action: str) -> None:
    takes = 6
    np.savez(
        path,
        joints=np.concatenate([walking_body(40, speed=1 + 0.1 * take) for take in range(takes)]),
        joint_names=np.array(BODY_JOINTS),
        start=40 * np.arange(takes),
        length=np.full(takes, 40),
        clip_id=np.array([f"{take:02}" for take in range(takes)]),
        caption=np.array([f"a person does a {action}"] * takes),
        action=np.array([action] * takes),
    )
