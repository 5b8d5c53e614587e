"""Valid and hostile files of every kind that stickgen reads, each with what reads it: where fuzzing begins."""

import csv
import io
import itertools
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stickgen.artifacts.adapter import Adapter, save_adapter
from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.model import load_model, read_adapter
from stickgen.artifacts.record import BaseRecord
from stickgen.artifacts.reference import write_reference_adapter
from stickgen.artifacts.run import CHECKPOINT_KEY, RunFolder, checkpoint_record, read_checkpoint, read_json
from stickgen.artifacts.wrapped import read_wrapped_base
from stickgen.config import BaseConfig, LoRAConfig, TrainConfig
from stickgen.data.curation import read_curation, write_curation
from stickgen.data.file import open_clips, pack, write_sequences
from stickgen.evaluation.scores import ScoresFile
from stickgen.export.motion import read_panels
from stickgen.generation.seed import read_seed_frames
from stickgen.lora import get_lora_state_dict, inject_lora_adapters, lora_settings
from stickgen.mocap.caption_tables import read_captions
from stickgen.mocap.importers.bvh import read_bvh
from stickgen.mocap.importers.joints import read_joint_map
from stickgen.mocap.importers.npz import read_npz
from stickgen.mocap.projection import BODY_JOINTS
from stickgen.model import StickFigureTransformer
from stickgen.render import Panel, save
from stickgen.render.motion_file import write_motion
from stickgen.sweeps.table import read_sweep
from tests.random_clips import random_sequences


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: for messages.
        file: the file below the folder of an example that is changed.
        read: reads the folder of an example, and of what it returns every number.
    """

    name: str
    file: str
    read: Callable[[Path], Any]


def _read_clips(path: Path) -> None:
    store, _ = open_clips(path, 1000)
    for position in range(len(store.infos)):
        store.load(position)


def _read_adapter(at: Path) -> None:
    load_model(at / "adapter", at / "base.pth")


def _read_wrapped(at: Path) -> None:
    read_adapter(at / "wrapped.pth")
    read_wrapped_base(at / "wrapped.pth")


KINDS = [
    Kind("adapter's tensors", "adapter/adapter_model.safetensors", _read_adapter),
    Kind("adapter's settings", "adapter/adapter_config.json", _read_adapter),
    Kind("reference adapter", "adapter.pth", lambda at: read_adapter(at / "adapter.pth")),
    Kind("wrapped checkpoint", "wrapped.pth", _read_wrapped),
    Kind("base, safetensors", "base.safetensors", lambda at: load_base(at / "base.safetensors")),
    Kind("base, torch", "base.pth", lambda at: load_base(at / "base.pth")),
    Kind("record of a base", "former.json", lambda at: load_base(at / "former.pth")),
    Kind("checkpoint", "run/checkpoints/last.ckpt", lambda at: read_checkpoint(at / "run/checkpoints/last.ckpt")),
    Kind("settings of a run", "run/config.yaml", lambda at: RunFolder(at / "run").read_config()),
    Kind("figures of a run", "run/metrics.json", lambda at: read_json(at / "run/metrics.json")),
    Kind("settings of a sweep", "sweep/multirun.yaml", lambda at: read_sweep(at / "sweep")),
    Kind("packed data", "data.safetensors", lambda at: _read_clips(at / "data.safetensors")),
    Kind("data", "data.pt", lambda at: _read_clips(at / "data.pt")),
    Kind("joint archive", "joints.npz", lambda at: read_npz(at / "joints.npz")),
    Kind("BVH", "walk.bvh", lambda at: read_bvh(at / "walk.bvh")),
    Kind("motion", "walk.motion", lambda at: read_seed_frames(at / "walk.motion", 2)),
    Kind("arrays of motion", "walks.npz", lambda at: read_panels(at / "walks.npz")),
    Kind("flagged clips", "curation.yaml", lambda at: read_curation(at / "curation.yaml")),
    Kind("caption table, JSON", "captions.json", lambda at: read_captions(at / "captions.json")),
    Kind("caption table, CSV", "captions.csv", lambda at: read_captions(at / "captions.csv")),
    Kind("joint map", "map.json", lambda at: read_joint_map(at / "map.json")),
    Kind("scores", "scores.json", lambda at: ScoresFile.read(at / "scores.json")),
]


def make_corpus(folder: Path) -> None:
    """Write a valid file of every kind."""
    torch.manual_seed(0)
    model = StickFigureTransformer(
        d_model=16, nhead=2, num_layers=1, embedding_dim=32, causal=True, pose_output="velocity", pose_scale=0.01
    )
    record = BaseRecord({}, "causal", {"id": "mine", "dim": 32})
    save_base(model, record, folder / "base.safetensors")
    save_base(model, record, folder / "base.pth")
    base = load_base(folder / "base.pth")
    # Former versions wrote the record beside a .pth.
    torch.save(dict(model.state_dict()), folder / "former.pth")
    (folder / "former.json").write_text(base.record.to_json())
    inject_lora_adapters(model, ["transformer_encoder"], 2, 4.0)
    adapter = Adapter(get_lora_state_dict(model), lora_settings(model), base.fingerprint, "base.pth", base.record)
    save_adapter(adapter, folder / "adapter")
    write_reference_adapter(adapter, folder / "adapter.pth")
    write_reference_adapter(adapter, folder / "wrapped.pth", base=base)

    run = RunFolder(folder / "run")
    run.checkpoints.mkdir(parents=True)
    config = TrainConfig(
        base=BaseConfig(checkpoint="base.pth"),
        lora=LoRAConfig(rank=2, targets={"all": ["transformer_encoder"]}),
        run_dir=str(run.path),
    )
    run.write_start(config)
    state = {f"model.{name}": value for name, value in adapter.state.items()}
    own = {CHECKPOINT_KEY: checkpoint_record(config, base.fingerprint)}
    torch.save({"state_dict": state, "epoch": 1, "global_step": 4, **own}, run.checkpoints / "last.ckpt")
    scores = {name: {"test": {"pose_mse": 0.1}} for name in ("adapter", "frozen base")}
    run.metrics.write_text(json.dumps({"scores": scores, "trained": "adapter", "monitored": 0.1}))
    _make_sweep(folder / "sweep")

    write_sequences(folder / "data.pt", random_sequences(3), {"text_encoder": {"id": "mine", "dim": 32}})
    pack(folder / "data.pt", folder / "data.safetensors")
    walk = np.zeros((6, len(BODY_JOINTS), 3))
    walk[:] = np.random.default_rng(0).normal(size=walk.shape)
    np.savez(folder / "joints.npz", joints=walk, joint_names=np.array(BODY_JOINTS), fps=np.array(50.0))
    (folder / "walk.bvh").write_text(_bvh(), encoding="utf-8")
    write_motion(folder / "walk.motion", np.zeros((4, 20), dtype=np.float32), description="a person waits")
    save(folder / "walks.npz", Panel(np.zeros((4, 20)), caption="a person waits"))
    write_curation(folder / "curation.yaml", [("clip 1", "0a1b2c3d4e5f6071", "jerk 212")])
    rows = [{"file": "walk", "caption": "A person walks.", "action": "walk", "take": "1"}]
    (folder / "captions.json").write_text(json.dumps(rows))
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    (folder / "captions.csv").write_text(table.getvalue())
    (folder / "map.json").write_text(json.dumps({"left_hip": "L_Femur"}))
    summary = {"mean": 0.1, "std": 0.0, "models": 1}
    head = {"split": "test", "protocol": {"given": 10}, "models": {"a": ["f" * 32]}}
    report = {"d": {"a": {"pose_mse": summary}}}
    content = {**head, "scores": report, "groups": {"d": report}}
    (folder / "scores.json").write_text(json.dumps(content))


def _make_sweep(folder: Path) -> None:
    (folder / "0").mkdir(parents=True)
    (folder / "0" / "overrides.yaml").write_text("- lora.rank=2\n")
    (folder / "multirun.yaml").write_text(
        "hydra:\n  sweeper:\n    _target_: hydra._internal.BasicSweeper\n    params:\n      lora.rank: 2,4\n"
        "  overrides:\n    task:\n    - seed=1\ncallbacks:\n  monitor: val/pose_mse\nname: ${hydra:job.name}\n"
    )


def _bvh() -> str:
    names = [name for name in BODY_JOINTS if not name.endswith("hip")]
    turns = "Zrotation Xrotation Yrotation"
    head = ["HIERARCHY", "ROOT Hips", "{", "OFFSET 0 0 0", f"CHANNELS 6 Xposition Yposition Zposition {turns}"]
    for index, name in enumerate(["left_hip", "right_hip", *names]):
        head += [f"JOINT {name}", "{", f"OFFSET {index % 5} {index} {index % 3}", f"CHANNELS 3 {turns}"]
        head += ["End Site", "{", "OFFSET 0 1 0", "}", "}"]
    channels = 6 + 3 * (len(names) + 2)
    frames = [" ".join(str((i * j) % 7) for j in range(channels)) for i in range(20)]
    return "\n".join([*head, "}", "MOTION", "Frames: 20", "Frame Time: 0.02", *frames]) + "\n"


class Hostile:
    """What runs a command where it is unpickled: it makes a file of the name that it is given."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.canary,)


def hostile_files(kind: Kind, folder: Path, canary: Path) -> list[bytes]:
    """Return contents for a kind's file that would run something, or ask for all memory or time."""
    name, valid = Path(kind.file).name, (folder / kind.file).read_bytes()
    if name.endswith((".pt", ".pth", ".ckpt")):
        saved = io.BytesIO()
        torch.save({"state_dict": Hostile(canary), "sequences": [Hostile(canary)]}, saved)
        huge = io.BytesIO()
        view = torch.zeros(1).expand(10**6, 10**6)
        weights = {"text_projection.0.weight": view}
        torch.save({"model_state_dict": weights, "sequences": [{"motion": view[:, :20]}]}, huge)
        return [pickle.dumps(Hostile(canary)), saved.getvalue(), huge.getvalue(), _compressed(valid)]
    if name.endswith(".npz"):
        objects, bomb = io.BytesIO(), io.BytesIO()
        np.savez(objects, **{key: np.array([Hostile(canary)], dtype=object) for key in ("joints", "motion")})
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("joints.npy", _npy_header((10**9, 14, 3)) + bytes(2**20))
        return [objects.getvalue(), bomb.getvalue(), pickle.dumps(Hostile(canary))]
    if name.endswith(".safetensors"):
        many = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(300_000)}
        return [_safetensors(many), _safetensors({"t": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 4]}})]
    if name.endswith(".yaml"):
        letters = "abcdefghijklmnopqrstuvwxy"
        doubled = [f"{b}: &{b} [*{a}, *{a}]" for a, b in itertools.pairwise(letters)]
        aliases = "\n".join(["a: &a [x, x]", *doubled])
        command = f"!!python/object/apply:os.mkdir ['{canary}']\n"
        env = "name: ${oc.env:HOME}\nbase: {checkpoint: '${oc.env:PATH}'}\n"
        return [text.encode() for text in (aliases, command, env, "[" * 100_000, "seed: " + "9" * 5000)]
    if name.endswith((".json", ".motion")):
        return [text.encode() for text in ("[" * 200_000, '{"a":' * 50_000, "9" * 100_000, '{"settings": "\\ud800"}')]
    return [valid.replace(b"0.02", rate) for rate in (b"1e-320", b"1e308", b"nan", b"0", b"-1")]


def _compressed(archive: bytes) -> bytes:
    """Return an archive of torch's with its files compressed, as one that unpacks to any size would be."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as source, zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    return output.getvalue()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _safetensors(entries: dict[str, Any]) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(4)


def copy_of(corpus: Path, folder: Path) -> Path:
    """Copy the corpus, for a test to change."""
    shutil.copytree(corpus, folder)
    return folder
