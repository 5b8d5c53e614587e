"""Caption tables: CSV, JSON or JSON lines, a row for each caption of a file."""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stickgen.errors import DataError
from stickgen.untrusted import parse_json

COLUMNS = ("file", "caption", "action", "take", "stickgen_action", "style", "subject", "split")


@dataclass(frozen=True)
class Description:
    """What is said about a file or a clip; empty strings where nothing is."""

    captions: tuple[str, ...] = ()
    action: str = ""
    take: str = ""
    stickgen_action: str = ""
    style: str = ""
    subject: str = ""
    split: str = ""


def read_captions(path: Path) -> dict[str, Description]:
    """Read a caption table, by its suffix: JSON, JSON lines, else CSV.

    Args:
        path: a CSV file with a header, a JSON list of objects, or an object a line (``.jsonl``, ``.ndjson``); the
            column ``file``, and where wanted ``caption``, ``action``, ``take``, ``stickgen_action``, ``style``,
            ``subject`` and ``split``. Several rows of one file are several captions of it.

    Returns:
        the description of every file, by the name in the table.

    Raises:
        DataError: the table cannot be read, has no column ``file`` or one that is not known, or contradicts itself.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: caption table cannot be read: {error}") from None
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        rows = _json_lines(text, path)
    else:
        rows = _json_rows(text, path) if suffix == ".json" else _csv_rows(text, path)
    table: dict[str, Description] = {}
    for number, row in enumerate(rows, start=1):
        unknown = sorted(str(key) for key in set(row) - set(COLUMNS))
        if unknown:
            raise DataError(
                f"{path}: row {number}: unknown column {', '.join(unknown)}; those are {', '.join(COLUMNS)}"
            )
        cells = {key: str(row.get(key) or "").strip() for key in COLUMNS}
        if not cells["file"]:
            raise DataError(f"{path}: row {number}: no file")
        if cells["split"] not in ("", "train", "val", "test"):
            raise DataError(f"{path}: row {number}: split: train, val or test expected, {cells['split']!r} found")
        facts = {key: cells[key] for key in COLUMNS[2:] if cells[key]}
        before = table.get(cells["file"], Description())
        for key, value in facts.items():
            if getattr(before, key) not in ("", value):
                raise DataError(f"{path}: row {number}: {key} {value!r}, but {getattr(before, key)!r} further up")
        captions = (*before.captions, cells["caption"]) if cells["caption"] else before.captions
        table[cells["file"]] = replace(before, captions=captions, **facts)
    return table


def _csv_rows(text: str, path: Path) -> list[dict[Any, Any]]:
    reader = csv.DictReader(io.StringIO(text))
    try:
        header, rows = reader.fieldnames or (), list(reader)
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num + 1}: not CSV that can be read: {error}") from None
    if "file" not in header:
        raise DataError(f"{path}: no column file in the header; columns are {', '.join(COLUMNS)}")
    return rows


def _json_rows(text: str, path: Path) -> list[dict[Any, Any]]:
    try:
        rows = parse_json(text)
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{path}: a JSON list of objects like {{"file": "…", "caption": "…"}} expected')
    return rows


def _json_lines(text: str, path: Path) -> list[dict[Any, Any]]:
    rows: list[dict[Any, Any]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise DataError(f"{path}: line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f'{path}: line {number}: an object like {{"file": "…", "caption": "…"}} expected')
        rows.append(row)
    return rows
