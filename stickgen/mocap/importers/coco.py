"""Reading keypoint results in COCO's format, which AlphaPose and many others write too."""

from pathlib import Path

from stickgen.errors import DataError
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.keypoint_files import (
    Frames,
    as_list,
    beginning,
    frame_number,
    load_json,
    person,
    recordings,
)
from stickgen.mocap.projection import Recording


def _accepts(text: str) -> bool:
    return text.startswith("[{") and '"image_id":' in text and '"keypoints":[' in text


def read_coco(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a list of ``{"image_id": …, "keypoints": [x, y, confidence, …]}``, one entry a person and frame.

    An ``image_id`` is a frame's number, or the name of its picture, which ends in it.

    Raises:
        DataError: the file is damaged, or its content cannot be used.
    """
    frames: Frames = {}
    for index, entry in enumerate(as_list(load_json(path), str(path), "results")):
        where = f"{path}: entry {index}"
        if not isinstance(entry, dict) or "image_id" not in entry or "keypoints" not in entry:
            raise DataError(f"{where}: an object with image_id and keypoints expected")
        found = person(entry["keypoints"], None, where)
        frames.setdefault(frame_number(entry["image_id"], where), []).append(found)
    return recordings(path, frames, options)


COCO = Importer(
    "COCO keypoint results",
    "JSON list of image_id and 17 keypoints, as AlphaPose writes it too; needs --fps",
    lambda path, head: beginning(path, head, _accepts),
    read_coco,
)
