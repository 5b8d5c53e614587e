"""Bases that other files name: by where they lay, and by their fingerprint."""

from pathlib import Path

from stickgen.artifacts.base import Base, load_base
from stickgen.artifacts.record import RECORD_KEY, BaseRecord
from stickgen.artifacts.tensors import read_metadata
from stickgen.config import PROJECT
from stickgen.errors import CheckpointError
from stickgen.files import check_exists


def find_base(path: str | None, fingerprint: str | None, where: str, option: str = "--base") -> Base:
    """Read a base that a file names.

    What was made elsewhere, of a base that comes with stickgen, finds it here by its fingerprint.

    Args:
        path: where the base lay; None where the file does not tell.
        fingerprint: the base's; None likewise. It is for the caller to compare it with that of the base at ``path``.
        where: what messages call the file.
        option: what they say a base is given by.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if path and Path(path).exists():
        return load_base(Path(path))
    if fingerprint is not None:
        for ours in sorted((PROJECT / "assets").glob("*.safetensors")):
            record = read_metadata(ours).get(RECORD_KEY, "{}")
            if BaseRecord.from_json(record, str(ours)).fingerprint == fingerprint:
                return load_base(ours)
    if not path:
        raise CheckpointError(f"{where}: does not name its base; give it with {option}")
    raise CheckpointError(f"{where}: its base is not at {path} any more; give it with {option}")


DEFAULT_BASE = PROJECT / "assets" / "cmu_base.safetensors"
"""The base that training adapts by default (conf/base/cmu.yaml)."""


def encoder_of_base(path: Path | None = None) -> str | None:
    """Return the id of the text encoder of a base's captions, None where the base does not record it.

    Args:
        path: the base; None: the one that training adapts by default.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = path or DEFAULT_BASE
    check_exists(path)
    if path.suffix == ".safetensors":
        metadata = read_metadata(path).get(RECORD_KEY)
        encoder = BaseRecord.from_json(metadata, str(path)).text_encoder if metadata else {}
    else:
        encoder = load_base(path).record.text_encoder
    name = encoder.get("id")
    return name if isinstance(name, str) and name else None
