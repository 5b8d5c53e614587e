"""Reading predictions of MMPose and its models (RTMPose, ViTPose)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.errors import DataError
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.keypoint_files import (
    FRAME_KEYS,
    Frames,
    as_list,
    beginning,
    frame_files,
    frame_number,
    load_json,
    person,
    recordings,
)
from stickgen.mocap.importers.keypoint_rates import rate
from stickgen.mocap.projection import Recording


def _accepts(text: str) -> bool:
    if text.startswith("[{"):
        return '"keypoint_scores":' in text or '"instances":[' in text
    return text.startswith("{") and ('"instance_info":' in text or ('"meta_info":' in text and "keypoint" in text))


def _is_frame(text: str) -> bool:
    return text.startswith("[{") and '"keypoint_scores":' in text and '"instances":' not in text


def read_mmpose(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a file of a video, or a folder of one file a frame.

    A video is ``{"meta_info": …, "instance_info": [{"frame_id": …, "instances": […]}]}``, as the demos save it, or that
    list alone, as the inferencer saves it. A frame's file is a list of instances. An instance has ``keypoints`` and
    ``keypoint_scores``.

    Raises:
        DataError: a file is damaged, or its content cannot be used.
    """
    if path.is_dir():
        pictures = {number: _people(load_json(file), str(file)) for number, file in frame_files(path)}
        return recordings(path, pictures, options)
    content = load_json(path)
    listed = content.get("instance_info") if isinstance(content, Mapping) else content
    entries = as_list(listed, str(path), "instance_info")
    if entries and all(isinstance(entry, Mapping) and "keypoints" in entry for entry in entries):
        return recordings(path, {0: _people(entries, str(path))}, options)
    frames: Frames = {}
    for index, entry in enumerate(entries):
        where = f"{path}: frame {index}"
        if not isinstance(entry, Mapping) or "instances" not in entry:
            raise DataError(f"{where}: an object with instances expected")
        number = next((frame_number(entry[key], where) for key in FRAME_KEYS if key in entry), index)
        frames[number] = frames.get(number, []) + _people(entry["instances"], where)
    return recordings(path, frames, options, fps=rate(content, str(path)))


def _people(instances: Any, where: str) -> list[np.ndarray]:
    people = []
    for instance in as_list(instances, where, "instances"):
        if not isinstance(instance, Mapping) or "keypoints" not in instance:
            raise DataError(f"{where}: instances: objects with keypoints expected")
        if "keypoint_scores" not in instance:
            raise DataError(f"{where}: missing confidence: an instance has no keypoint_scores; export them too")
        people.append(person(instance["keypoints"], instance["keypoint_scores"], where))
    return people


MMPOSE = Importer(
    "MMPose predictions",
    "JSON of MMPose, RTMPose or ViTPose (17 keypoints), one file a video or a folder of one a frame; needs --fps",
    lambda path, head: beginning(path, head, _accepts, _is_frame),
    read_mmpose,
)
