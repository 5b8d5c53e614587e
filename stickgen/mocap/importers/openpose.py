"""Reading OpenPose's folders: one JSON file a frame, BODY_25."""

from pathlib import Path

from stickgen.errors import DataError
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.keypoint_files import (
    Frames,
    as_list,
    beginning,
    frame_files,
    load_json,
    person,
    recordings,
)
from stickgen.mocap.projection import Recording


def _accepts(text: str) -> bool:
    return '"pose_keypoints_2d"' in text or ('"people":[]' in text and text.startswith('{"version"'))


def read_openpose(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a folder of ``*_keypoints.json``, whose names end in frame numbers; see :func:`~.keypoint_files.recordings`.

    Raises:
        DataError: a file is damaged, or its content cannot be used.
    """
    frames: Frames = {}
    for number, file in frame_files(path):
        content = load_json(file)
        if not isinstance(content, dict) or "people" not in content:
            raise DataError(f"{file}: an object with people expected, as OpenPose writes it")
        people = as_list(content["people"], str(file), "people")
        if not all(isinstance(one, dict) for one in people):
            raise DataError(f"{file}: people: objects expected")
        found = [person(one.get("pose_keypoints_2d"), None, str(file)) for one in people]
        frames[number] = [one for one in found if len(one)]
    return recordings(path, frames, options)


OPENPOSE = Importer(
    "OpenPose",
    "folder of *_keypoints.json (BODY_25), one file a frame; needs --fps",
    lambda path, head: beginning(path, head, _accepts, _accepts),
    read_openpose,
)
