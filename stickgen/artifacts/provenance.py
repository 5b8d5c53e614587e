"""What our adapters' files tell beside tensors and settings: of which base they are, and how they came about."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from stickgen.artifacts.record import BaseRecord, read_codes
from stickgen.errors import CheckpointError
from stickgen.model.code_bank import CodeBank
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

    @property
    def codes(self) -> CodeBank | None:
        """Motion codes of its training clips."""


def provenance_json(of: Provenance) -> str:
    """Return it as JSON, for a file's metadata."""
    # The base's codes stay with the base.
    record = None if of.base_record is None else replace(of.base_record, codes={}).to_json()
    codes = {} if of.codes is None else of.codes.to_plain()
    own = {"base_fingerprint": of.base_fingerprint, "base_path": of.base_path, "base_record": record, "codes": codes}
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
        codes = own.get("codes") or {}
        if not isinstance(told["origin"], dict) or not isinstance(codes, dict):
            raise TypeError
    except (ValueError, TypeError, AttributeError):
        raise CheckpointError(f"{where}: the record in its metadata is damaged") from None
    if told["base_record"] is not None:
        told["base_record"] = BaseRecord.from_json(told["base_record"], str(where))
    told["codes"] = read_codes(codes, str(where))
    return told
