import numpy as np
import pytest

from stickgen.errors import DataError
from stickgen.mocap.keypoints.layouts import (
    BODY_25,
    COCO_17,
    LAYOUTS,
    MEDIAPIPE_33,
    MEDIAPIPE_NAMES,
    NECK_SHARE,
    Layout,
    body_points,
    gate,
    layout_of,
)
from stickgen.mocap.projection import BODY_JOINTS

# OpenPose's documentation of the output, and the keypoints of COCO's annotations, in their orders.
BODY_25_NAMES = (
    "Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee",
    "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel", "RBigToe",
    "RSmallToe", "RHeel",
)  # fmt: skip
COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "names"),
    [
        (COCO_17, COCO_NAMES),
        (MEDIAPIPE_33, MEDIAPIPE_NAMES),
        (BODY_25, tuple({"L": "left_", "R": "right_"}.get(n[0], "") + n.lstrip("LR").lower() for n in BODY_25_NAMES)),
    ],
)
def test_layouts_name_the_keypoints_of_their_authors(layout: Layout, names: tuple[str, ...]) -> None:
    assert layout.size == len(names)
    assert len(layout.index) == 15
    assert all(names[at] == name for name, at in layout.index.items())


def test_an_unknown_number_of_keypoints_is_one_line() -> None:
    assert [layout_of(layout.size, "walk.json") for layout in LAYOUTS] == list(LAYOUTS)
    with pytest.raises(DataError, match=r"^walk.json: unknown layout: 18 keypoints a person; 17 \(COCO-17\), 25"):
        layout_of(18, "walk.json")


def test_unsure_and_impossible_keypoints_are_unknown() -> None:
    people = np.array([[[1.0, 2.0, 0.29], [3.0, 4.0, 0.3], [np.inf, 4.0, 1.0], [5.0, 6.0, np.nan]]])
    np.testing.assert_array_equal(gate(people, 0.3), [[[np.nan] * 2, [3, 4], [np.nan] * 2, [np.nan] * 2]])


def test_a_body_has_its_head_between_the_ears_and_a_neck_below() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (1, 17, 2))
    points[0, 3], points[0, 4] = (48, 10), (52, 14)
    points[0, 5], points[0, 6] = (40, 40), (60, 44)
    body = dict(zip(BODY_JOINTS, body_points(points, COCO_17)[0], strict=True))
    np.testing.assert_allclose(body["head"], (50, -12))
    np.testing.assert_allclose(body["neck"], (50, -42 + NECK_SHARE * 30))
    np.testing.assert_allclose(body["left_wrist"], points[0, 9] * (1, -1))
    np.testing.assert_allclose(body["right_ankle"], points[0, 16] * (1, -1))


@pytest.mark.parametrize(("hidden", "head"), [([3], (52, -14)), ([4], (48, -10)), ([3, 4], (55, -20))])
def test_hidden_ears_are_replaced(hidden: list[int], head: tuple[float, float]) -> None:
    points = np.zeros((1, 17, 2))
    points[0, 0], points[0, 3], points[0, 4] = (55, 20), (48, 10), (52, 14)
    points[0, hidden] = np.nan
    np.testing.assert_allclose(body_points(points, COCO_17)[0, BODY_JOINTS.index("head")], head)
