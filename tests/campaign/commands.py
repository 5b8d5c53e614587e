"""The commands of the campaign: what each is given, and how its outputs are told to be whole."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from stickgen.artifacts.adapter import load_adapter
from stickgen.artifacts.base import load_base
from stickgen.artifacts.run import RunFolder, read_checkpoint, read_json
from stickgen.data.file import open_clips
from stickgen.digests import check_torch, short_digest
from stickgen.errors import CheckpointError
from stickgen.locks import LOCK_FILE, SCRATCH
from stickgen.sample import SAMPLE_INFO, sample_sequences
from tests.runs import make_base

SHORT = [
    "base.checkpoint=base.safetensors", "data.path=clips.pt", "data.batch_size=4", "data.val_fraction=0.2",
    "data.test_fraction=0.2", "trainer.accumulate_grad_batches=1", "trainer.max_epochs=2", "trainer.threads=1",
    "trainer.accelerator=cpu", "optimizer.lr=1e-2", "callbacks.progress_bar=false",
    "callbacks.show_motion.every_n_epochs=null", "lora.dropout=0.1", "logger.kinds=[]", "lora.rank=2",
]  # fmt: skip
"""Settings of a run of a second or two."""

GROWING = ("train.log", "tensorboard", "csv")
"""Logs, which are written on and on; they hold nothing that a run needs."""


@dataclass(frozen=True)
class Command:
    """A command of the campaign.

    Attributes:
        name: in the matrix.
        line: script and arguments, in the folder of :func:`make_template`.
        again: what continues or repeats it after a fault; None: the same line.
        resumes: the run folder that is then continued where it has a checkpoint.
        logs_only: only writes of logs are failed; another command has all else.
    """

    name: str
    line: list[str]
    again: list[str] | None = None
    resumes: str | None = None
    logs_only: bool = False


GENERATE = ["stickgen", "generate", "A person walks.", "--model", "run", "--seconds", "0.2", "--size", "64"]
COMMANDS = [
    Command("train", ["train.py", *SHORT, "hydra.run.dir=new"], resumes="new"),
    Command(
        "train with logs",
        ["train.py", *SHORT, "logger=tensorboard", "hydra.run.dir=new"],
        resumes="new",
        logs_only=True,
    ),
    Command("resume", ["train.py", "resume=part", "trainer.max_epochs=2"], resumes="part"),
    Command("merge", ["merge.py", "checkpoint=run", "output=merged.pth", "overwrite=true"]),
    Command("unmerge", ["stickgen", "unmerge", "merged.safetensors", "unmerged.safetensors", "--overwrite"]),
    Command("convert", ["stickgen", "convert", "run", "adapter", "--overwrite"]),
    Command("convert to .pth", ["stickgen", "convert", "run", "lora.pth", "--overwrite"]),
    Command("pack", ["stickgen", "pack", "clips.pt", "packed.safetensors", "--overwrite"]),
    Command("prepare", ["stickgen", "prepare", "glide.npz", "--output", "prepared.pt", "--overwrite"]),
    Command("generate", [*GENERATE, *("--out=w.gif", "--out=w.png", "--out=w.npz", "--out=w.motion"), "--overwrite"]),
    Command(
        "compare",
        ["stickgen", "compare", "run", "--data", "clips.pt", "--out", "report.html", "--seconds", "0.6", "--clips", "1",
         "--overwrite"],
    ),
    Command("card", ["stickgen", "card", "run", "--overwrite"]),
    Command("evaluate", ["stickgen", "evaluate", "run", "--json", "scores.json", "--overwrite"]),
    Command("sweep", ["train.py", "-m", *SHORT, "trainer.max_epochs=1", "lora.rank=1,2", "hydra.sweep.dir=jobs"]),
    Command("sweep-report", ["stickgen", "sweep-report", "swept", "--overwrite"]),
]  # fmt: skip


def make_template(folder: Path, run: Any) -> None:
    """Make what the commands are given, and older outputs in the places of theirs.

    Args:
        folder: an empty one.
        run: runs a command line there without faults.
    """
    make_base(folder / "base.safetensors")
    sequences = [{**one, "motion": one["motion"][:40], "actions": one["actions"][:40]} for one in sample_sequences(16)]
    for one in sequences:
        one.pop("physics", None)
    from stickgen.data.file import write_sequences

    write_sequences(folder / "clips.pt", sequences, SAMPLE_INFO)
    write_sequences(folder / "fewer.pt", sequences[:3], SAMPLE_INFO)
    _write_joints(folder / "glide.npz", 40)
    run(["train.py", *SHORT, "trainer.max_epochs=1", "hydra.run.dir=part"])
    run(["train.py", *SHORT, "trainer.max_epochs=1", "hydra.run.dir=run"])
    run(["train.py", *SHORT, "trainer.max_epochs=1", "seed=1", "hydra.run.dir=older"])
    run(["train.py", "-m", *SHORT, "trainer.max_epochs=1", "lora.rank=1,2", "hydra.sweep.dir=swept"])
    for line in (
        ["merge.py", "checkpoint=older", "output=merged.pth"],
        ["merge.py", "checkpoint=older", "output=merged.safetensors"],
        ["merge.py", "checkpoint=older", "output=unmerged.safetensors"],
        ["stickgen", "convert", "older", "adapter"],
        ["stickgen", "convert", "older", "lora.pth"],
        ["stickgen", "pack", "fewer.pt", "packed.safetensors"],
        ["stickgen", "sample", "prepared.pt", "--clips", "4"],
        ["stickgen", "evaluate", "older", "--json", "scores.json"],
    ):
        run(line)
    for name in ("w.gif", "w.png", "w.npz", "w.motion", "report.html"):
        (folder / name).write_text("an older output")


def _write_joints(path: Path, frames: int) -> None:
    from stickgen.mocap.projection import BODY_JOINTS

    body = np.random.default_rng(0).normal(size=(1, len(BODY_JOINTS), 3)) + np.zeros((frames, 1, 1))
    body[:, BODY_JOINTS.index("neck"), 1] += 9
    body[..., 2] += np.linspace(0, 3, frames)[:, None]
    np.savez(path, joints=body, joint_names=np.array(BODY_JOINTS), fps=25, caption="A person glides.")


def final_files(folder: Path) -> dict[str, Path]:
    """Return the files that a command may not damage, by name: not logs, locks and what is yet to be named."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.name != LOCK_FILE
        and not is_log(path.relative_to(folder))
        and not any(part.startswith(SCRATCH) for part in path.relative_to(folder).parts)
    }


def is_log(path: Path) -> bool:
    """Return whether a file, by its path in the folder of the commands, is or lies in a log."""
    return any(part in GROWING for part in path.parts)


def bytes_of(path: Path) -> str:
    """Return a digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def meaning(path: Path) -> Any:
    """Read a file as its users do, and return what of it is the same whenever it is written.

    Raises:
        Exception: it is not whole.
    """
    suffix = path.suffix
    if suffix == ".ckpt":
        assert check_torch(path, CheckpointError), "no digest"
        checkpoint = read_checkpoint(path)
        return checkpoint.steps, _digest(checkpoint.state)
    if path.name == "adapter_model.safetensors":
        return _digest(load_adapter(path.parent).state)
    if path.name in ("packed.safetensors", "clips.pt", "fewer.pt", "prepared.pt"):
        if suffix == ".pt":
            check_torch(path, CheckpointError)
        clips, _ = open_clips(path)
        return short_digest(*(clips.load(info.position).motion for info in clips.infos))
    if path.name == "lora.pth":
        assert check_torch(path, CheckpointError), "no digest"
        return _digest(torch.load(path, weights_only=True)["lora_state_dict"])
    if suffix in (".safetensors", ".pth"):
        base = load_base(path)
        return base.fingerprint, base.record.settings["causal"], base.record.settings["pose_output"]
    if path.name == "config.yaml":
        return RunFolder(path.parent).read_config().lora.rank
    if suffix == ".json":
        return sorted(read_json(path))
    if suffix == ".motion":
        return short_digest(torch.tensor(json.loads(path.read_text())["motion"])) if path.stat().st_size else None
    if suffix in (".gif", ".png"):
        with Image.open(path) as picture:
            frames = getattr(picture, "n_frames", 1)
            picture.seek(frames - 1)
            picture.load()
            return picture.size, frames
    if suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tolist() for name in arrays.files}
    text = path.read_text(encoding="utf-8")
    assert text.strip(), "empty"
    if suffix == ".html":
        assert text.rstrip().endswith("</html>"), "no end"
    return suffix


def _digest(state: dict[str, torch.Tensor]) -> str:
    return short_digest(*(state[name] for name in sorted(state)))
