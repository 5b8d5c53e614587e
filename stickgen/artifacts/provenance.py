"""What our adapters' files tell beside tensors and settings: of which base they are, and how they came about."""

import json
from pathlib import Path
from typing import Any, Protocol

from stickgen.artifacts.record import BaseRecord
from stickgen.errors import CheckpointError
from stickgen.untrusted import parse_json


class Provenance(Protocol):
    """What is told; see :class:`~stickgen.artifacts.adapter.Adapter`."""

    @property
    def base_fingerprint(self) -> str | None:
        """Digest of the base."""

    @property
    def base_path(self) -> str | None:
        """Where the base lay."""

    @property
    def base_record(self) -> BaseRecord | None:
        """The base's settings and history."""

    @property
    def origin(self) -> dict[str, Any]:
        """How the adapter came about."""


def provenance_json(of: Provenance) -> str:
    """Return it as JSON, for a file's metadata."""
    record = None if of.base_record is None else of.base_record.to_json()
    own = {"base_fingerprint": of.base_fingerprint, "base_path": of.base_path, "base_record": record}
    return json.dumps({**own, "origin": of.origin}, sort_keys=True)


def read_provenance(text: Any, where: Path) -> dict[str, Any]:
    """Return, by attribute, what a file of ours tells.

    Args:
        text: what :func:`provenance_json` returned; None for a file that is not ours, which tells nothing.
        where: the file, for messages.

    Raises:
        CheckpointError: the text is something else.
    """
    try:
        own = parse_json("{}" if text is None else text)
        told = {name: own.get(name) for name in ("base_fingerprint", "base_path", "base_record")}
        told["origin"] = own.get("origin") or {}
        if not all(isinstance(told[name], str | None) for name in ("base_fingerprint", "base_path", "base_record")):
            raise TypeError
        if not isinstance(told["origin"], dict):
            raise TypeError
    except (ValueError, TypeError, AttributeError):
        raise CheckpointError(f"{where}: the record in its metadata is damaged") from None
    if told["base_record"] is not None:
        told["base_record"] = BaseRecord.from_json(told["base_record"], str(where))
    return told
