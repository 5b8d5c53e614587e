"""Reading MediaPipe's pose landmarks as people dump them into JSON."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.keypoint_files import (
    FRAME_KEYS,
    Frames,
    beginning,
    frame_number,
    load_json,
    person,
    recordings,
)
from stickgen.mocap.importers.keypoint_rates import frame_time, one_rate, rate, rate_of_times
from stickgen.mocap.keypoints.layouts import MEDIAPIPE_33, MEDIAPIPE_NAMES
from stickgen.mocap.projection import Recording

_LANDMARKS = ("landmarks", "pose_landmarks", "poseLandmarks", "pose", "keypoints")
_CONFIDENCE = ("visibility", "v", "score", "confidence", "presence")
_ORDER = {name.replace("_", ""): index for index, name in enumerate(MEDIAPIPE_NAMES)}


def _accepts(text: str) -> bool:
    return text[:1] in ("[", "{") and '"x":' in text and '"y":' in text and '"visibility":' in text


def read_mediapipe_json(path: Path, options: ImportOptions) -> list[Recording]:
    """Read landmarks frame by frame.

    A file is a list of frames, or an object with them under ``frames`` and, where known, ``fps``, ``width`` and
    ``height``. A frame is 33 landmarks, null, or an object with them under ``landmarks`` or ``pose_landmarks`` and,
    where known, a number and a time. A landmark is an object with x, y and visibility; the 33 are a list, or an object
    by name. Several people are a list of such lists.

    Raises:
        DataError: the file is damaged, or its content cannot be used.
    """
    content = load_json(path)
    listed = content.get("frames") if isinstance(content, Mapping) else content
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise DataError(f"{path}: a list of frames expected, by itself or as frames")
    if listed and all(isinstance(one, Mapping) and "x" in one for one in listed):
        listed = [listed]  # the landmarks of a single picture
    frames: Frames = {}
    times: dict[int, tuple[str, float]] = {}
    rates: list[Any] = []
    for index, entry in enumerate(listed):
        where = f"{path}: frame {index}"
        number, found = index, entry
        if isinstance(entry, Mapping) and not _by_name(entry):
            number = next((frame_number(entry[key], where) for key in FRAME_KEYS if key in entry), index)
            found = next((entry[key] for key in _LANDMARKS if key in entry), None)
            time = frame_time(entry)
            times |= {} if time is None else {number: time}
            rates += [entry["fps"]] if "fps" in entry else []
        frames[number] = frames.get(number, []) + list(_people(found, where))
    fps = rate(content, str(path)) or one_rate(rates, str(path)) or rate_of_times(times, str(path))
    return recordings(path, frames, options, fps=fps, size=_size(content))


def _people(found: Any, where: str) -> Iterator[np.ndarray]:
    if found is None or found in ([], {}):
        return
    if isinstance(found, Mapping) and "landmark" in found:  # as MessageToDict writes a list of landmarks
        found = found["landmark"]
    if isinstance(found, Sequence) and not isinstance(found, str) and all(isinstance(one, Sequence) for one in found):
        if all(len(one) and isinstance(one[0], int | float) for one in found):
            yield person([[one[0], one[1], one[-1]] if len(one) > 3 else one for one in found], None, where)
            return
        for one in found:
            yield from _people(one, where)
        return
    if isinstance(found, Mapping):
        named = {_plain(name): landmark for name, landmark in found.items()}
        missing = [name for name in MEDIAPIPE_NAMES if name.replace("_", "") not in named]
        if missing:
            raise DataError(f"{where}: no landmark {missing[0]}; the {MEDIAPIPE_33.size} of MediaPipe expected")
        found = [named[name] for name in _ORDER]
    if not isinstance(found, Sequence) or not all(isinstance(one, Mapping) for one in found):
        raise DataError(f"{where}: landmarks: {MEDIAPIPE_33.size} objects with x, y and visibility expected")
    key = next((key for key in _CONFIDENCE if found and key in found[0]), None)
    if key is None:
        raise DataError(f"{where}: missing confidence: landmarks without visibility; export it too")
    yield person([[one.get("x"), one.get("y"), one.get(key)] for one in found], None, where)


def _by_name(entry: Mapping[str, Any]) -> bool:
    return sum(_plain(key) in _ORDER for key in entry) > len(_ORDER) // 2


def _plain(name: Any) -> str:
    return str(name).lower().replace("_", "").replace(" ", "")


def _size(content: Any) -> tuple[float, float] | None:
    if not isinstance(content, Mapping):
        return None
    parts = [content, *(content.get(key) for key in ("video_info", "video", "info", "metadata", "meta"))]
    for part in parts:
        if isinstance(part, Mapping):
            size = part.get("width"), part.get("height")
            if all(isinstance(value, int | float) and 0 < value <= 1e5 for value in size):
                return float(size[0]), float(size[1])  # type: ignore[arg-type]  # both are numbers
    return None


MEDIAPIPE_JSON = Importer(
    "MediaPipe landmarks (JSON)",
    "JSON of 33 pose landmarks a frame with x, y, visibility; needs --fps, and --image-size, where not named",
    lambda path, head: beginning(path, head, _accepts),
    read_mediapipe_json,
)
