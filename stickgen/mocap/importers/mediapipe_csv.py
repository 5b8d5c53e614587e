"""Reading MediaPipe's pose landmarks as people write them into tables."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.keypoint_files import (
    FRAME_KEYS,
    MAX_BYTES,
    Frames,
    frame_number,
    recordings,
)
from stickgen.mocap.importers.keypoint_rates import TIMES, frame_time, rate_of_times
from stickgen.mocap.keypoints.layouts import MEDIAPIPE_33, MEDIAPIPE_NAMES
from stickgen.mocap.projection import Recording

_PARTS = {
    "x": "x", "y": "y", "z": "z", "v": "c", "vis": "c", "visibility": "c", "score": "c", "confidence": "c",
}  # fmt: skip
_LANDMARK_COLUMNS = (
    "landmark",
    "landmark_id",
    "landmark_index",
    "landmark_idx",
    "landmark_name",
    "joint",
    "name",
    "id",
)
_LONG_NAMES = {"y": "y", "c": "visibility"}
_NAMES = {name.replace("_", ""): index for index, name in enumerate(MEDIAPIPE_NAMES)}


def _recognises(path: Path, head: bytes) -> bool:
    line = head.decode("utf-8", errors="replace").lstrip("\ufeff").split("\n", 1)[0].strip().lower()
    columns = [column.strip(' "') for column in re.split("[,;\t]", line)]
    if {"x", "y"} <= set(columns):
        return any(column in _LANDMARK_COLUMNS for column in columns) and bool(set(columns) & set(FRAME_KEYS))
    wide = [_landmark(column) for column in columns]
    return len({number for number, part in filter(None, wide) if part == "x"}) >= 8


def read_mediapipe_csv(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a table of one person.

    One row is a frame, with columns such as ``x0, y0, v0``, ``landmark_0_x`` or ``nose_x``; or one landmark of a frame,
    with columns for the frame, the landmark's number or name, x, y and visibility. Landmarks are counted from 0, or
    from 1. A row of a frame without a person has empty cells.

    Raises:
        DataError: the table is damaged, or its content cannot be used.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: at most {MAX_BYTES >> 20} MiB expected; divide the video")
        text = path.read_text(encoding="utf-8-sig")
        dialect = csv.Sniffer().sniff(text.split("\n", 1)[0], delimiters=",;\t")
        reader = csv.DictReader(io.StringIO(text), dialect=dialect)
        header = [column.strip().lower() for column in reader.fieldnames or ()]
        reader.fieldnames = header
        rows = list(reader)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except (csv.Error, ValueError) as error:
        raise DataError(f"{path}: not a table that can be read: {error}") from None
    long = {"x", "y"} <= set(header)
    frames, times = _long(path, header, rows) if long else _wide(path, header, rows)
    return recordings(path, frames, options, fps=rate_of_times(times, str(path)))


def _wide(
    path: Path, header: Sequence[str], rows: Sequence[Mapping[str, str]]
) -> tuple[Frames, dict[int, tuple[str, float]]]:
    columns = {found: column for column in header if (found := _landmark(column)) is not None}
    numbers = {number for number, part in columns if part == "x"}
    _check(path, numbers, {part for _, part in columns})
    first = min(numbers)
    missing = [(n, part) for n in numbers for part in "yc" if (n, part) not in columns]
    if missing:
        raise DataError(f"{path}: landmark {missing[0][0]} has an x, and no {_LONG_NAMES[missing[0][1]]}")
    frames: Frames = {}
    times: dict[int, tuple[str, float]] = {}
    for index, row in enumerate(rows):
        where = f"{path}: row {index + 1}"
        number = _number(row, index, where)
        cells = [[row[columns[n + first, part]] for part in "xyc"] for n in range(MEDIAPIPE_33.size)]
        if any(cell is None for landmark in cells for cell in landmark):
            raise DataError(f"{where}: fewer cells than columns; the table is cut off")
        person = _floats(cells, where)
        frames[number] = [] if np.isnan(person).all() else [person]
        _note_time(times, number, row, where)
    return frames, times


def _long(
    path: Path, header: Sequence[str], rows: Sequence[Mapping[str, str]]
) -> tuple[Frames, dict[int, tuple[str, float]]]:
    key = next(column for column in _LANDMARK_COLUMNS if column in header)
    confidence = next((column for column in header if _PARTS.get(column) == "c"), None)
    found: dict[int, dict[int, list[str]]] = {}
    times: dict[int, tuple[str, float]] = {}
    for index, row in enumerate(rows):
        where = f"{path}: row {index + 1}"
        if any(row[column] is None for column in header):
            raise DataError(f"{where}: fewer cells than columns; the table is cut off")
        number = _number(row, index, where)
        name = str(row[key]).strip()
        landmark = int(name) if name.isdigit() and len(name) < 4 else _NAMES.get(_plain(name))
        if landmark is None:
            raise DataError(f"{where}: {key} {name!r}: no landmark of MediaPipe")
        if confidence is not None:
            found.setdefault(number, {})[landmark] = [row["x"], row["y"], row[confidence]]
        else:
            found.setdefault(number, {})
        _note_time(times, number, row, where)
    landmarks = {landmark for frame in found.values() for landmark in frame}
    if rows:
        _check(path, landmarks, {"c"} if confidence is not None else set())
    first = min(landmarks, default=0)
    blank = ["", "", ""]
    frames = {
        number: [_floats([frame.get(n + first, blank) for n in range(MEDIAPIPE_33.size)], f"{path}: frame {number}")]
        for number, frame in found.items()
    }
    return frames, times


def _check(path: Path, numbers: set[int], parts: set[str]) -> None:
    if "c" not in parts:
        raise DataError(f"{path}: missing confidence: no column of visibility; export it too")
    if len(numbers) != MEDIAPIPE_33.size or max(numbers) - min(numbers) + 1 != len(numbers):
        raise DataError(
            f"{path}: unknown layout: {len(numbers)} landmarks; {MEDIAPIPE_33.size} expected ({MEDIAPIPE_33.name})"
        )


def _number(row: Mapping[str, str], index: int, where: str) -> int:
    for key in FRAME_KEYS:
        if (text := row.get(key.lower())) is not None:
            value = text.strip()
            return frame_number(value.removesuffix(".0"), where)
    return index


def _note_time(times: dict[int, tuple[str, float]], number: int, row: Mapping[str, str], where: str) -> None:
    try:
        time = frame_time({key: float(row[key]) for key in TIMES if row.get(key)})
    except ValueError:
        raise DataError(f"{where}: time: a number expected") from None
    if time is not None:
        times[number] = time


def _floats(cells: Sequence[Sequence[str]], where: str) -> np.ndarray:
    try:
        return np.array([[float(cell) if cell.strip() else np.nan for cell in row] for row in cells])
    except ValueError as error:
        raise DataError(f"{where}: numbers expected: {error}") from None


def _landmark(column: str) -> tuple[int, str] | None:
    """Return a column's landmark and "x", "y", "z" or "c": of ``x12``, ``landmark_12_x``, ``left_hip_x``; else None."""
    plain = column.strip(' "').lower()
    match = re.fullmatch(r"([a-z]+)_?(\d{1,2})", plain) or re.fullmatch(r"[a-z_]*?(\d{1,2})[_.]?([a-z]+)", plain)
    if match:
        part, digits = match.groups() if match[1].isalpha() else match.groups()[::-1]
        return (int(digits), _PARTS[part]) if part in _PARTS else None
    name, _, part = plain.replace(".", "_").rpartition("_")
    number = _NAMES.get(_plain(name))
    return (number, _PARTS[part]) if number is not None and part in _PARTS else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


MEDIAPIPE_CSV = Importer(
    "MediaPipe landmarks (CSV)",
    "table of 33 pose landmarks with x, y, visibility, a row a frame or a landmark; --fps, --image-size as for JSON",
    _recognises,
    read_mediapipe_csv,
)
