"""What the files of pose estimators have in common: frames of people, one file a video or one a frame, a rate."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.importers.importer import HEAD_BYTES, ImportOptions
from stickgen.mocap.keypoints.layouts import Keypoints, layout_of
from stickgen.mocap.projection import Recording
from stickgen.untrusted import parse_json

MAX_BYTES = 2**29
"""Largest file: an hour of one person takes a fifth of it. Read, it takes some ten times as much memory."""

MAX_FRAMES = 1_000_000
"""Most frames of a video, 11 hours at 25 frames a second; every one takes memory, with or without people."""

MAX_PEOPLE = 100
"""Most people in a frame."""

FRAME_KEYS = ("frame", "frame_id", "frame_idx", "frame_index", "frame_number", "frameNumber", "image_id")
"""Names under which programs write the number of a frame."""

MAX_COORDINATE = 1e6
"""Largest coordinate in pixels."""

Frames = dict[int, list[np.ndarray]]
"""Of every frame number its people, each ``[K, 3]``: x, y downwards, confidence."""

_NORMALISED = 2.0  # coordinates as shares of the picture; a body that leaves it is guessed to lie a little outside


def load_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: it cannot be read, is too large, or is no JSON, as where it is cut off.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(f"{path}: {size >> 20} MiB; at most {MAX_BYTES >> 20} expected; divide the video")
        return parse_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # UnicodeDecodeError is one
        raise DataError(f"{path}: not JSON, or cut off: {error}") from None


def beginning(
    path: Path, head: bytes, accepts: Callable[[str], bool], frame: Callable[[str], bool] | None = None
) -> bool:
    """Return whether the beginning of a file, without white space, is as expected.

    Args:
        path: file or folder.
        head: its first bytes; b"" for a folder.
        accepts: judges the beginning of a file.
        frame: judges one of the first JSON files of a folder; None: no folder is accepted.
    """
    if not path.is_dir():
        return accepts(_compact(head))
    if frame is None:
        return False
    try:
        for file in sorted(path.glob("*.json"))[:20]:
            with file.open("rb") as opened:
                if frame(_compact(opened.read(HEAD_BYTES))):
                    return True
    except OSError:
        pass
    return False


def frame_files(path: Path) -> list[tuple[int, Path]]:
    """Return the JSON files of a folder, or the one file, with the frame numbers in their names, in order.

    Raises:
        DataError: a name has no number, or two have the same.
    """
    if not path.is_dir():
        return [(0, path)]
    found: dict[int, Path] = {}
    for file in sorted(path.glob("*.json")):
        number = frame_number(file.stem.removesuffix("_keypoints"), str(file))
        if number in found:
            raise DataError(
                f"{path}: {found[number].name} and {file.name} are both frame {number}; keep one video a folder"
            )
        found[number] = file
    return sorted(found.items())


def frame_number(value: Any, where: str) -> int:
    """Return a frame's number: a whole number, or the last one in a text such as "walk_000012.jpg".

    Raises:
        DataError: there is none.
    """
    if isinstance(value, str):
        digits = re.findall(r"\d+", re.sub(r"\.[A-Za-z]\w*$", "", value))
        value = int(digits[-1]) if digits and len(digits[-1]) < 19 else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DataError(f"{where}: frame: a whole number of 0 or more expected, {value!r} found")
    return value


def person(points: Any, scores: Any, where: str) -> np.ndarray:
    """Return a person's keypoints ``[K, 3]``.

    Args:
        points: K pairs of numbers, or flat: 3 K numbers, or 2 K where there are ``scores``.
        scores: K numbers; None where ``points`` hold them.
        where: file and frame, for messages.

    Raises:
        DataError: they are not numbers, or numbers are missing.
    """
    try:
        values = np.array(points, dtype=np.float64)
        confidence = None if scores is None else np.array(scores, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where}: keypoints: numbers expected, one list of them a person") from None
    if confidence is not None:
        values = values.reshape(-1, 2) if values.ndim == 1 and values.size % 2 == 0 else values
        if values.ndim != 2 or values.shape[1] != 2 or confidence.shape != values.shape[:1]:
            raise DataError(
                f"{where}: keypoints: one confidence a keypoint expected; {list(values.shape)} coordinates and "
                f"{list(confidence.shape)} confidences found"
            )
        return np.column_stack([values, confidence])
    if values.ndim == 1 and values.size % 3 == 0:
        values = values.reshape(-1, 3)
    if values.ndim != 2 or values.shape[1] != 3:
        raise DataError(
            f"{where}: missing confidence: x, y and confidence of every keypoint expected, numbers of shape "
            f"{list(values.shape)} found; export the confidences too"
        )
    return values


def recordings(
    path: Path,
    frames: Frames,
    options: ImportOptions,
    *,
    fps: float | None = None,
    size: tuple[float, float] | None = None,
) -> list[Recording]:
    """Clean the keypoints of a file.

    Args:
        path: the file or folder, whose stem becomes the take.
        frames: the people of every frame; frames that are missing have none.
        options: see :class:`~stickgen.mocap.importers.importer.ImportOptions`.
        fps: rate that the file names; it comes before that of the options.
        size: width and height of the picture, as the file names it.

    Raises:
        DataError: numbers are too large, people have different layouts, the rate or the size of the picture is not
            known, or nobody is seen long enough.
    """
    where = str(path)
    if not any(frames.values()):
        raise DataError(f"{where}: no people: {len(frames)} frames, all empty; check what the estimator wrote")
    if len(frames) == 1:
        raise DataError(f"{where}: one frame; name the folder or the file that holds the whole video")
    first = min(frames)
    span = max(frames) - first + 1
    if span > MAX_FRAMES:
        raise DataError(
            f"{where}: frames {first} to {max(frames)}: at most {MAX_FRAMES} frames expected; divide the video"
        )
    for number, people in frames.items():
        if len(people) > MAX_PEOPLE:
            raise DataError(f"{where}: frame {number}: {len(people)} people; at most {MAX_PEOPLE} expected")
    counts = {len(one) for people in frames.values() for one in people}
    if len(counts) > 1:
        raise DataError(
            f"{where}: people of {' and '.join(map(str, sorted(counts)))} keypoints; one layout a file expected"
        )
    layout = layout_of(counts.pop(), where)
    used = fps if fps is not None else options.fps
    if used is None:
        raise DataError(f"{where}: no frame rate in the file; give it with --fps, for instance --fps 30")
    stretch = _stretch(frames, size or options.image_size, where)
    nobody = np.zeros((0, layout.size, 3))
    dense = [nobody] * span
    for number, people in frames.items():
        if people:
            dense[number - first] = np.stack(people) * stretch
    from stickgen.mocap.keypoints.clean import clean  # here, since SciPy takes a second to import

    return clean(Keypoints(layout, dense, used, where), path.stem, options.min_confidence)


def _stretch(frames: Frames, size: tuple[float, float] | None, where: str) -> np.ndarray:
    """Return what coordinates ``[…, 3]`` are multiplied by: the picture's size where they are shares of it.

    Raises:
        DataError: they are, and the size is not known.
    """
    largest = max(float(np.nan_to_num(np.abs(one[:, :2])).max()) for people in frames.values() for one in people)
    if largest > MAX_COORDINATE:
        raise DataError(f"{where}: coordinates up to {largest:g}; pixels of a picture expected")
    if largest > _NORMALISED:
        return np.ones(3)
    if size is None:
        raise DataError(
            f"{where}: coordinates are shares of the picture, whose size the file does not name; give it with "
            "--image-size, for instance --image-size 1920x1080"
        )
    return np.array([size[0], size[1], 1.0])


def _compact(head: bytes) -> str:
    return re.sub(r"\s+", "", head.decode("utf-8", errors="replace").lstrip("\ufeff"))


def as_list(value: Any, where: str, what: str) -> Sequence[Any]:
    """Return a list of a JSON file, empty for null.

    Raises:
        DataError: it is something else.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise DataError(f"{where}: {what}: a list expected, {type(value).__name__} found")
    return value
