"""What a base's file says of itself: settings without which its weights would be run as something else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from stickgen.errors import CheckpointError
from stickgen.model import settings_check
from stickgen.model.code_bank import CodeBank
from stickgen.motion.actions import ACTIONS
from stickgen.motion.skeleton import FPS
from stickgen.untrusted import parse_json

RECORD_KEY = settings_check.RECORD_KEY
"""Key of a record, as JSON, in the metadata of a .safetensors or of a state dict."""


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
        codes: motion codes of its training clips, as :meth:`~stickgen.model.motion_code.CodeBank.to_plain` returns
            them; {} for a base that reads none.
        fingerprint: digest of the tensors it was written with, so that it is not taken for another file's.
    """

    settings: dict[str, Any]
    objective: str = "bidirectional"
    text_encoder: dict[str, Any] = field(default_factory=dict)
    conditions: list[str] | None = None
    actions: list[str] = field(default_factory=lambda: list(ACTIONS))
    fps: int = FPS
    origin: dict[str, Any] = field(default_factory=dict)
    codes: dict[str, Any] = field(default_factory=dict)
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
            if "objective" not in content and record.settings.get("causal"):
                record = replace(record, objective="causal")
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
    "codes": (dict,),
    "fingerprint": (str, type(None)),
}


def read_codes(codes: Mapping[str, Any], where: str, dim: int | None = None) -> CodeBank | None:
    """Return the motion codes of a record, None where it has none.

    Args:
        codes: as recorded.
        where: the file, for messages.
        dim: numbers a frame of the figure that they have to be of; None: any.

    Raises:
        CheckpointError: they are damaged.
    """
    if not codes:
        return None
    try:
        bank = CodeBank.from_plain(codes)
        if dim is not None:
            bank.check_dim(dim)
        return bank
    except (ValueError, TypeError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{where}: the motion codes in its record are damaged ({error})") from None


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return a digest of a base's tensors, the same whichever file format or float width they were stored in.

    An adapter keeps its base's fingerprint, so that it is not put on another base by mistake.
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode("utf-8", "surrogatepass"))  # a file of torch may hold any string
        digest.update(state[key].detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]
