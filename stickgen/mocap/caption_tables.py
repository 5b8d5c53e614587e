"""Caption tables: CSV, JSON or JSON lines, a row for each caption of a file."""

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from stickgen.errors import DataError
from stickgen.untrusted import parse_json

_FACTS = ("action", "take", "stickgen_action", "style", "subject", "split", "license")
COLUMNS = ("file", "caption", *_FACTS, "start", "end")


@dataclass(frozen=True)
class Description:
    """What is said about a file, a clip, or a part of it; empty strings where nothing is.

    Attributes:
        captions: its captions.
        action: the fine label.
        take: the recording session.
        stickgen_action: name in the action vocabulary.
        style: how the action is performed.
        subject: who moves.
        license: under which the motion may be used, in words.
        split: train, val or test.
        parts: what is said about parts, by their start and end in seconds.
    """

    captions: tuple[str, ...] = ()
    action: str = ""
    take: str = ""
    stickgen_action: str = ""
    style: str = ""
    subject: str = ""
    split: str = ""
    license: str = ""
    parts: Mapping[tuple[float, float], "Description"] = field(default_factory=dict)


def read_captions(path: Path) -> dict[str, Description]:
    """Read a caption table, by its suffix: JSON, JSON lines, else CSV.

    Args:
        path: a CSV file with a header, a JSON list of objects, or an object a line (``.jsonl``, ``.ndjson``); the
            column ``file``, and where wanted ``caption``, ``action``, ``take``, ``stickgen_action``, ``style``,
            ``subject``, ``split``, ``license``, and ``start`` and ``end`` in seconds of a row about a part. Several
            rows of one file are several captions of it. Or a JSON file of BABEL's (``train.json``).

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
        where = f"{path}: row {number}"
        unknown = sorted(str(key) for key in set(row) - set(COLUMNS))
        if unknown:
            raise DataError(f"{where}: unknown column {', '.join(unknown)}; those are {', '.join(COLUMNS)}")
        cells = {key: "" if row.get(key) is None else str(row[key]).strip() for key in COLUMNS}
        if not cells["file"]:
            raise DataError(f"{where}: no file")
        if cells["split"] not in ("", "train", "val", "test"):
            raise DataError(f"{where}: split: train, val or test expected, {cells['split']!r} found")
        whole, part = table.get(cells["file"], Description()), _part(cells, where)
        if part is None:
            table[cells["file"]] = _with_row(whole, cells, where)
        else:
            described = _with_row(whole.parts.get(part, Description()), cells, where)
            table[cells["file"]] = replace(whole, parts={**whole.parts, part: described})
    return table


def _with_row(before: Description, cells: dict[str, str], where: str) -> Description:
    facts: dict[str, Any] = {key: cells[key] for key in _FACTS if cells[key]}
    for key, value in facts.items():
        if getattr(before, key) not in ("", value):
            raise DataError(f"{where}: {key} {value!r}, but {getattr(before, key)!r} further up")
    captions = (*before.captions, cells["caption"]) if cells["caption"] else before.captions
    return replace(before, captions=captions, **facts)


def _part(cells: dict[str, str], where: str) -> tuple[float, float] | None:
    """Return the start and end of a row about a part, None for one about the whole."""
    if not cells["start"] and not cells["end"]:
        return None
    try:
        start, end = float(cells["start"] or 0), float(cells["end"])
    except ValueError:
        start = end = math.nan
    if not 0 <= start < end < math.inf:
        given = f"{cells['start']!r} and {cells['end']!r}"
        raise DataError(f"{where}: start and end: seconds, the end after the start, expected, {given} found")
    return start, end


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
    if (
        isinstance(rows, dict)
        and rows
        and all(isinstance(entry, dict) and "feat_p" in entry for entry in rows.values())
    ):
        return list(_babel_rows(rows, path))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f'{path}: a JSON list of objects like {{"file": "…", "caption": "…"}} expected')
    return rows


def _babel_rows(entries: dict[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    """Yield rows of BABEL's annotations: labels of whole sequences, and of their parts but for transitions."""
    split = {"split": path.stem} if path.stem in ("train", "val", "test") else {}
    for name, entry in entries.items():
        try:
            # The path in AMASS begins with the data set twice.
            file = "/".join(PurePosixPath(entry["feat_p"]).parts[-3:])
            for key in ("seq_ann", "frame_ann"):
                for label in (entry.get(key) or {}).get("labels") or ():
                    actions = label.get("act_cat") or [""]
                    if actions[0] == "transition":
                        continue
                    part = {"start": label["start_t"], "end": label["end_t"]} if key == "frame_ann" else {}
                    caption = {"caption": label["proc_label"] or label["raw_label"]}
                    # Several people may have named the whole; the first one's action counts.
                    action = {"action": actions[0]} if part else {}
                    yield {"file": file, **caption, **action, **part, **split}
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise DataError(f"{path}: entry {name!r}: not as BABEL's are: {type(error).__name__}: {error}") from None


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
