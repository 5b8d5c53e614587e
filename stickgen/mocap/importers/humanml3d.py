"""Reading HumanML3D and KIT-ML: joint positions or feature vectors in .npy files, captions in a folder beside them."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from stickgen.data.clips import checked_text
from stickgen.errors import DataError
from stickgen.mocap.importers.arrays import check_joints, npy_shape, read_npy, recording_of
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.smpl import JOINT_NAMES
from stickgen.mocap.projection import Recording

KIT_JOINT_NAMES: tuple[str, ...] = (
    "pelvis", "spine1", "spine2", "neck", "head", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder",
    "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle", "right_heel", "right_toe", "left_hip",
    "left_knee", "left_ankle", "left_heel", "left_toe",
)  # fmt: skip
"""The 21 joints of KIT-ML in their order."""

_SETS = {22: ("humanml3d", JOINT_NAMES, 20.0), 21: ("kit_ml", KIT_JOINT_NAMES, 12.5)}
"""Data set, joint names and frames a second by the number of joints."""


def _width(joints: int) -> int:
    """Return the length of a feature vector: 4 of the root, 3 + 6 a joint but the root, 3 a joint, 4 foot contacts."""
    return 4 + 9 * (joints - 1) + 3 * joints + 4


_SPLITS = ("train", "val", "test")
_VECTORS = {_width(joints): joints for joints in _SETS}


def read_humanml3d(path: Path, options: ImportOptions) -> list[Recording]:
    """Read a file of ``new_joints`` or ``new_joint_vecs``.

    Captions are the lines ``caption#tokens#start#end`` of ``../texts/<name>.txt``; those with a start and an end, in
    seconds, describe that part, which becomes a recording of its own. ``../train.txt``, ``val.txt`` and ``test.txt``
    fix the split. A mirrored file (``M000001``) is of the take that it mirrors.

    Args:
        path: floats ``[T, 22, 3]`` or ``[T, 263]`` (HumanML3D, 20 fps, metres), ``[T, 21, 3]`` or ``[T, 251]`` (KIT-ML,
            12.5 fps, millimetres).
        options: ``joint_map`` and ``up`` are used, and ``fps`` instead of the set's own rate.

    Returns:
        a recording of the whole file, where a caption describes it or none does, and one of every part.

    Raises:
        DataError: the file or its captions are damaged.
    """
    array = read_npy(path)
    check_joints(array, str(path))
    joints = joints_of_features(array) if array.ndim == 2 else array
    source, names, fps = _SETS[joints.shape[1]]
    if source == "kit_ml":
        names = _sides_by_toes(joints, names)
    fps = options.fps or fps
    take = path.stem[1:] if path.stem[:1] == "M" and path.stem[1:].isdigit() else path.stem
    captions = _captions(path)
    split = next((name for name in _SPLITS if path.stem in _members(path.parents[1], name)), "")
    # Names are bare numbers, which other data sets have too.
    facts = {"take": f"{source}/{take}", "source": source, "split": split}
    whole = recording_of(joints, names, fps, path, options, up="y", **facts)
    recordings: list[Recording] = []
    for (start, end), texts in captions.items():
        if not end:
            recordings.append(replace(whole, captions=texts))
            continue
        first, last = round(start * fps), min(round(end * fps), len(joints))
        if first >= last:
            raise DataError(f"{_texts_path(path)}: {start:g} s to {end:g} s: the motion has {len(joints) / fps:.1f} s")
        name = f"{path.stem}_{first:04d}_{last:04d}"
        recordings.append(replace(whole, joints=whole.joints[first:last], clip_id=name, captions=texts))
    return recordings


def joints_of_features(features: np.ndarray) -> np.ndarray:
    """Recover joint positions from feature vectors.

    A vector is the root's rotation velocity about y, its velocity on the ground (x, z) and its height; then, for every
    joint but the root, its position in the root's frame, and more that repeats these. Angles and places are sums of the
    velocities of the frames before; the frame of an angle ``a`` is turned by ``−2a`` about y, since the sum is used as
    the half angle of a quaternion (Guo and others, *Generating Diverse and Natural 3D Human Motions from Text*, 2022,
    section 4; ``recover_from_ric`` in the authors' code).

    Args:
        features: ``[T, 263]`` or ``[T, 251]``, not normalised.

    Returns:
        ``[T, 22, 3]`` or ``[T, 21, 3]``, y up.
    """
    joints = _VECTORS[features.shape[1]]

    def before(values: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros_like(values[:1]), np.cumsum(values[:-1], axis=0)])

    angle = -2 * before(features[:, 0])

    def turned(points: np.ndarray, by: np.ndarray) -> np.ndarray:
        cosine, sine = np.cos(by), np.sin(by)
        x, y, z = np.moveaxis(points, -1, 0)
        return np.stack([cosine * x + sine * z, y, cosine * z - sine * x], axis=-1)

    # A step is in the frame of the vector that follows it.
    steps = np.zeros((len(features), 3))
    steps[1:, 0], steps[1:, 2] = features[:-1, 1], features[:-1, 2]
    root = np.cumsum(turned(steps, angle), axis=0)
    local = features[:, 4 : 4 + 3 * (joints - 1)].reshape(-1, joints - 1, 3)
    places = turned(local, angle[:, None])
    places[..., 0] += root[:, None, 0]
    places[..., 2] += root[:, None, 2]
    root[:, 1] = features[:, 3]
    return np.concatenate([root[:, None], places], axis=1)


def _sides_by_toes(joints: np.ndarray, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names with left and right exchanged where the toes would otherwise point backwards.

    Sources disagree on which of KIT-ML's chains is the left one.
    """
    place = {name: joints[:, index] for index, name in enumerate(names)}
    to_left = place["left_hip"] - place["right_hip"]
    ahead = np.stack([-to_left[:, 2], to_left[:, 0]], axis=1)
    toes = sum(place[f"{side}_toe"] - place[f"{side}_ankle"] for side in ("left", "right"))
    assert isinstance(toes, np.ndarray)
    if (ahead * toes[:, [0, 2]]).sum() >= 0:
        return names
    exchanged = {"left": "right", "right": "left"}
    return tuple("_".join(exchanged.get(word, word) for word in name.split("_")) for name in names)


def _texts_path(path: Path) -> Path:
    return path.parent.parent / "texts" / f"{path.stem}.txt"


def _list_path(folder: Path, split: str) -> Path:
    return folder / f"{split}.txt"


def _beside(path: Path) -> list[Path]:
    return [_texts_path(path), *(_list_path(path.parent.parent, split) for split in _SPLITS)]


def _captions(path: Path) -> dict[tuple[float, float], tuple[str, ...]]:
    """Return the captions by the part they describe, (0, 0) being the whole."""
    texts = _texts_path(path)
    if not texts.is_file():
        return {(0.0, 0.0): ()}
    found: dict[tuple[float, float], list[str]] = {}
    try:
        lines = texts.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{texts}: captions cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.split("#")
        try:
            start, end = (float(word) if word.strip().lower() != "nan" else 0.0 for word in fields[2:4])
            if len(fields) != 4 or not 0 <= start <= end < 1e6:
                raise ValueError
        except ValueError:
            raise DataError(f"{texts}: line {number}: caption#tokens#start#end expected, {line[:80]!r} found") from None
        found.setdefault((start, end), []).append(checked_text(fields[0].strip(), f"{texts}: line {number}"))
    return {part: tuple(lines) for part, lines in found.items()} or {(0.0, 0.0): ()}


@lru_cache(maxsize=8)
def _members(folder: Path, split: str) -> frozenset[str]:
    """Return the names that a list of the data set puts into a split."""
    path = _list_path(folder, split)
    try:
        return frozenset(path.read_text(encoding="utf-8").split()) if path.is_file() else frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _recognises(path: Path, head: bytes) -> bool:
    shape = npy_shape(head) or ()
    return (len(shape) == 2 and shape[1] in _VECTORS) or (len(shape) == 3 and shape[1] in _SETS and shape[2] == 3)


HUMANML3D = Importer(
    "HumanML3D and KIT-ML (.npy)", "Joint positions or feature vectors, captions in texts/ beside", _recognises,
    read_humanml3d, _beside,
)  # fmt: skip
