"""Packed files of the first version, written from their description in docs/data.md."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from stickgen.data.sequences import SequenceClips


def write_v1(
    path: Path,
    sequences: list[dict[str, Any]],
    info: dict[str, Any],
    *,
    metadata: dict[str, str] | None = None,
    arrays: Any = None,
    **columns: Any,
) -> None:
    """Write a file with changed metadata, arrays (None removes one) or columns of its table."""
    store = SequenceClips(sequences, str(path))
    clips = [store.load(position) for position in range(len(store.infos))]
    infos = list(store.infos)
    table = {
        "frames": [clip.length for clip in clips],
        "dim": [clip.motion.shape[1] for clip in clips],
        "partner": [one.partner for one in infos],
        "digest": [digest_of(clip.motion, clip.embedding, clip.physics, clip.camera, clip.actions) for clip in clips],
        **{name: [getattr(clip, f"has_{name}") for clip in clips] for name in ("actions", "physics", "camera")},
        **{
            name: [getattr(clip, name) for clip in clips]
            for name in ("description", "take", "source", "style", "quality", "split", "index", "actor")
        },
        **columns,
    }
    text = json.dumps({name: column for name, column in table.items() if column is not None}).encode()
    content = {
        "motion": torch.cat([clip.motion.flatten() for clip in clips]),
        "embedding": torch.stack([clip.embedding for clip in clips]),
        "clips": torch.tensor(list(text), dtype=torch.uint8),
    }
    for name in ("physics", "camera", "actions"):
        of_clips = [getattr(clip, name) for clip in clips if getattr(clip, name) is not None]
        if of_clips:
            content[name] = torch.cat(of_clips)
    if "actions" in content:
        content["actions"] = content["actions"].to(torch.uint8)
    content.update(arrays or {})
    record = {"format": "stickgen clips 1", "sequences": str(len(sequences)), "info": json.dumps(info)}
    save_file(
        {name: array for name, array in content.items() if array is not None}, path, metadata=record | (metadata or {})
    )


def digest_of(*tracks: torch.Tensor | None) -> str:
    """The digest of a clip's numbers, action labels as bytes."""
    numbers = (t.to(torch.uint8) if t.dtype == torch.int64 else t for t in tracks if t is not None)
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in numbers)).hexdigest()[:16]
