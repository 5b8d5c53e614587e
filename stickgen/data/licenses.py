"""Licences of the clips in a data file, by their sources, as the file's own record holds them."""

from collections.abc import Mapping, Sequence
from typing import Any

KEY = "license"
"""Of a sequence's ``meta``: the licence under which its motion may be used, in words."""

RECORD = "licenses"
"""Of a file's own record: source → licences."""


def with_licenses(record: dict[str, Any], sequences: Sequence[Any]) -> dict[str, Any]:
    """Return a file's own record with the licences that its sequences name; as it is where they name none."""
    named = [(str(s.get("source") or ""), (s.get("meta") or {}).get(KEY)) for s in sequences]
    found = dict.fromkeys((source, text) for source, text in named if isinstance(text, str) and text.strip())
    return _with(record, [{source: [text]} for source, text in found])


def joined_licenses(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the first of several files' own records with the licences of all."""
    return _with(records[0], [licenses_of(record) for record in records[1:]])


def licenses_of(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return source → licences of a file's own record; what is none is passed over."""
    named = record.get(RECORD)
    if not isinstance(named, Mapping):
        return {}
    lists = {source: texts for source, texts in named.items() if isinstance(source, str) and isinstance(texts, list)}
    return {source: [text for text in texts if isinstance(text, str)] for source, texts in lists.items()}


def _with(record: dict[str, Any], more: Sequence[Mapping[str, list[str]]]) -> dict[str, Any]:
    found = licenses_of(record)
    for licenses in more:
        for source, texts in licenses.items():
            known = found.setdefault(source, [])
            known += [text.strip() for text in dict.fromkeys(texts) if text.strip() not in known]
    return {**record, RECORD: found} if found else record
