"""Caption tables: what a BVH file cannot say about itself."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stickgen.errors import DataError
from stickgen.mocap.projection import Recording
from stickgen.untrusted import parse_json

COLUMNS = ("file", "caption", "action", "take", "stickgen_action", "style")


@dataclass(frozen=True)
class Description:
    """What a table says about a file or a clip; empty strings where it says nothing."""

    captions: tuple[str, ...]
    action: str = ""
    take: str = ""
    stickgen_action: str = ""
    style: str = ""


def read_captions(path: Path) -> dict[str, Description]:
    """Read a caption table, CSV or JSON by its suffix.

    Args:
        path: a CSV file with a header, or a JSON list of objects; columns ``file`` and ``caption``, and where known
            ``action``, ``take``, ``stickgen_action`` and ``style``. Several rows of one file are several captions of
            it.

    Returns:
        the description of every file, by the name in the table.

    Raises:
        DataError: the table cannot be read, lacks a column, has one that is not known, or contradicts itself.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: caption table cannot be read: {error}") from None
    rows = _json_rows(text, path) if path.suffix.lower() == ".json" else _csv_rows(text, path)
    table: dict[str, Description] = {}
    for number, row in enumerate(rows, start=1):
        unknown = sorted(str(key) for key in set(row) - set(COLUMNS))
        if unknown:
            raise DataError(
                f"{path}: row {number}: unknown column {', '.join(unknown)}; those are {', '.join(COLUMNS)}"
            )
        cells = {key: str(row.get(key) or "").strip() for key in COLUMNS}
        for key in ("file", "caption"):
            if not cells[key]:
                raise DataError(f"{path}: row {number}: no {key}")
        facts = {key: cells[key] for key in COLUMNS[2:]}
        before = table.get(cells["file"])
        if before is None:
            table[cells["file"]] = Description((cells["caption"],), **facts)
            continue
        for key, value in facts.items():
            if value and getattr(before, key) and value != getattr(before, key):
                raise DataError(f"{path}: row {number}: {key} {value!r}, but {getattr(before, key)!r} further up")
        facts = {key: value for key, value in facts.items() if value}
        table[cells["file"]] = replace(before, captions=(*before.captions, cells["caption"]), **facts)
    return table


def describe(recordings: Sequence[Recording], path: Path, table: Mapping[str, Description]) -> list[Recording]:
    """Add what a table says about the recordings of a file, found by clip id, path, file name or its stem."""
    described: list[Recording] = []
    for recording in recordings:
        names = (recording.clip_id, str(path), path.name, path.stem)
        found = next((table[name] for name in names if name in table), None)
        if found is None:
            described.append(recording)
            continue
        described.append(
            replace(
                recording,
                captions=found.captions,
                action=found.action or recording.action,
                take=found.take or recording.take,
                stickgen_action=found.stickgen_action or recording.stickgen_action,
                style=found.style or recording.style,
            )
        )
    return described


def _csv_rows(text: str, path: Path) -> list[dict[Any, Any]]:
    reader = csv.DictReader(io.StringIO(text))
    try:
        header, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num + 1}: not CSV that can be read: {error}") from None
    missing = [key for key in ("file", "caption") if key not in header]
    if missing:
        raise DataError(f"{path}: no column {' or '.join(missing)} in the header; columns are {', '.join(COLUMNS)}")
    return rows


def _json_rows(text: str, path: Path) -> list[dict[Any, Any]]:
    try:
        rows = parse_json(text)
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{path}: a JSON list of objects like {{"file": "…", "caption": "…"}} expected')
    return rows
