"""Reading the results of Ultralytics' pose models (YOLO-pose)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.keypoint_files import as_list, beginning, frame_files, load_json, person, recordings
from stickgen.mocap.projection import Recording


def _accepts(text: str) -> bool:
    return '"keypoints":{"x":[' in text


def _is_frame(text: str) -> bool:
    return _accepts(text) and text.startswith("[{")


def read_ultralytics(path: Path, options: ImportOptions) -> list[Recording]:
    """Read what ``Results.to_json`` returns: a list of a frame's people.

    A video is a list of such lists in one file, or a folder of one file a frame, whose names end in frame numbers.

    Raises:
        DataError: a file is damaged, or its content cannot be used.
    """
    if path.is_dir():
        frames = {number: _people(load_json(file), str(file)) for number, file in frame_files(path)}
        return recordings(path, frames, options)
    content = as_list(load_json(path), str(path), "results")
    if any(isinstance(entry, Mapping) for entry in content):
        return recordings(path, {0: _people(content, str(path))}, options)
    frames = {number: _people(entry, f"{path}: frame {number}") for number, entry in enumerate(content)}
    return recordings(path, frames, options)


def _people(results: Any, where: str) -> list[np.ndarray]:
    people = []
    for result in as_list(results, where, "results"):
        points = result.get("keypoints") if isinstance(result, Mapping) else None
        if not isinstance(points, Mapping) or "x" not in points or "y" not in points:
            raise DataError(f"{where}: objects with keypoints x and y expected; was this a pose model?")
        if "visible" not in points:
            raise DataError(f"{where}: missing confidence: keypoints without visible; use a model that returns it")
        if not len(as_list(points["x"], where, "x")) == len(as_list(points["y"], where, "y")):
            raise DataError(f"{where}: keypoints: as many x as y expected")
        people.append(person(list(zip(points["x"], points["y"], strict=True)), points["visible"], where))
    return people


ULTRALYTICS = Importer(
    "Ultralytics pose results",
    "JSON of Results.to_json (17 keypoints), a list of frames or a folder of one file a frame; needs --fps",
    lambda path, head: beginning(path, head, _accepts, _is_frame),
    read_ultralytics,
)
