"""What a base's file says of itself: settings without which its weights would be run as something else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from stickgen.actions import ACTIONS
from stickgen.errors import CheckpointError
from stickgen.skeleton import FPS
from stickgen.untrusted import parse_json

RECORD_KEY = "stickgen"
"""Under this key of the safetensors metadata lies a record, as JSON."""


@dataclass(frozen=True)
class BaseRecord:
    """How a base was built and trained.

    Attributes:
        settings: the constructor's arguments of ``StickFigureTransformer``.
        objective: "causal" or "bidirectional".
        text_encoder: ``{"id": str, "dim": int, …}`` of the encoder of its captions; {} where unknown.
        conditions: what it was given beside the caption, of "camera" and "partner"; None where unknown.
        actions: the action vocabulary, by index.
        fps: frames a second.
        origin: how it came about: version, git revision, seed, data, what it was merged from.
        fingerprint: digest of the tensors it was written with, so that it is not taken for another file's.
    """

    settings: dict[str, Any]
    objective: str = "bidirectional"
    text_encoder: dict[str, Any] = field(default_factory=dict)
    conditions: list[str] | None = None
    actions: list[str] = field(default_factory=lambda: list(ACTIONS))
    fps: int = FPS
    origin: dict[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None

    def to_json(self) -> str:
        """Return the record as JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str, where: str) -> "BaseRecord":
        """Read a record.

        Raises:
            CheckpointError: the text is not a record.
        """
        try:
            content = parse_json(text)
            known = {f.name for f in fields(cls)}
            record = cls(**{key: value for key, value in content.items() if key in known})
            for name, kinds in _KINDS.items():
                if not isinstance(getattr(record, name), kinds):
                    raise TypeError(f"{name}: {type(getattr(record, name)).__name__}")
        except (ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{where}: the record of the base's settings is damaged ({error})") from None
        return record


_KINDS: dict[str, tuple[type, ...]] = {
    "settings": (dict,),
    "objective": (str,),
    "text_encoder": (dict,),
    "conditions": (list, type(None)),
    "actions": (list,),
    "fps": (int,),
    "origin": (dict,),
    "fingerprint": (str, type(None)),
}


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return a digest of a base's tensors, the same whichever file format or float width they were stored in.

    An adapter keeps its base's fingerprint, so that it is not put on another base by mistake.
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode())
        digest.update(state[key].detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
