"""Bases that other files name: by where they lay, and by their fingerprint."""

from pathlib import Path

from stickgen.artifacts.base import Base, load_base
from stickgen.artifacts.record import RECORD_KEY, BaseRecord
from stickgen.artifacts.tensors import read_metadata
from stickgen.config import PROJECT
from stickgen.errors import CheckpointError


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
