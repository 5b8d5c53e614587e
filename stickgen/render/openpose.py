"""OpenPose's keypoint files, which drive ControlNet and ComfyUI and are read by most pose tools.

The layout is that of ``openpose --write_json`` with the model BODY_25 (CMU-Perceptual-Computing-Lab/openpose,
doc/02_output.md): 25 keypoints of x, y and confidence a person, in pixels from the upper left corner.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import numpy as np

from stickgen.render.camera import views_of
from stickgen.render.draw import PanelPainter
from stickgen.render.panel import Panel
from stickgen.render.style import Style

KEYPOINTS = 25
_PLACES = {
    "head": 0, "neck": 1, "right_shoulder": 2, "right_elbow": 3, "right_wrist": 4, "left_shoulder": 5, "left_elbow": 6,
    "left_wrist": 7, "pelvis": 8, "right_hip": 9, "right_knee": 10, "right_ankle": 11, "left_hip": 12, "left_knee": 13,
    "left_ankle": 14,
}  # fmt: skip
"""Joint → keypoint; the head stands for the nose."""
_OTHERS = ("face", "hand_left", "hand_right")
_DIGITS = 3
_SAME_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every file in the archive, so that the same motion gives the same bytes."""


def write(path: Path, panels: Sequence[Panel], style: Style, fps: float) -> None:
    """Write the motion of one panel: a zip archive with a file a frame and a person an actor.

    Keypoints that the figure lacks have confidence 0, as OpenPose marks those it did not see: the chest of the larger
    figure has no keypoint, the smaller one has no elbows and knees. ``style.size`` is the height of the canvas, whose
    size is added to every file; with ``style.camera`` "fixed" the canvas holds the whole way.

    Args:
        path: where to; its stem begins the names in the archive.
        panels: one.
        style: size and camera.
        fps: without effect, since the format has no rate.
    """
    (panel,) = panels
    (view,) = views_of(panels, style.camera)
    painter = PanelPainter(panel, view, style)
    joints = [joint for joint in panel.skeleton.joints if joint in _PLACES]
    numbers = np.zeros((panel.frames, panel.actors.shape[1], KEYPOINTS, 3))
    placed = painter.track(panel.joints[:, :, [panel.skeleton.joint(joint) for joint in joints]])
    numbers[:, :, [_PLACES[joint] for joint in joints], :2] = placed.round(_DIGITS)
    numbers[:, :, [_PLACES[joint] for joint in joints], 2] = 1
    width, height = painter.size
    stem = path.name.split(".")[0]
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for frame, people in enumerate(numbers):
            content = {
                "version": 1.3,
                "people": [
                    {"person_id": [-1], "pose_keypoints_2d": person.reshape(-1).tolist()}
                    | {f"{other}_keypoints_2d": [] for other in _OTHERS}
                    for person in people
                ],
                "canvas_width": width,
                "canvas_height": height,
            }
            name = ZipInfo(f"{stem}_{frame:012d}_keypoints.json", _SAME_TIME)
            name.compress_type = ZIP_DEFLATED
            archive.writestr(name, json.dumps(content))
