"""Reading joint positions out of NumPy archives (docs/preparing.md, "Joint arrays")."""

import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.data.clips import checked_text
from stickgen.errors import DataError
from stickgen.files import missing_file
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.joints import body_joints, find_joints, turn_up
from stickgen.mocap.projection import Recording, body_height, floor_height
from stickgen.motion.skeleton import FPS
from stickgen.untrusted import check_archive, check_fps, parse_json

_COLUMNS = (
    "clip_id", "cmu_id", "take", "action", "stickgen_action", "style", "subject", "captions_json", "caption",
    "description",
)  # fmt: skip
"""Arrays of one entry a clip."""

# What zipfile and NumPy raise over damaged archives.
_DAMAGE = (
    RuntimeError, OSError, EOFError, ValueError, AttributeError, TypeError, LookupError, MemoryError,
    zipfile.BadZipFile, zlib.error, tokenize.TokenError,
)  # fmt: skip


def read_npz(path: Path, options: ImportOptions | None = None) -> list[Recording]:
    """Read the clips of a joint archive.

    Height and floor are estimated over all clips of a take together: bones and ground do not change between them.

    Args:
        path: an ``.npz`` with ``joints [N, J, 3]`` and ``joint_names [J]``. ``start`` and ``length`` cut the frames
            into clips (absent: one clip); ``fps`` is 25 where absent; ``clip_id``, ``cmu_id`` or ``take``, ``action``,
            ``stickgen_action``, ``style``, ``subject`` and ``captions_json`` (a JSON list), ``caption`` or
            ``description`` hold one entry a clip and may be absent; so may ``license``, one text.
        options: ``joint_map`` and ``up`` are used, and ``fps`` where the file has no rate.

    Returns:
        one recording a clip.

    Raises:
        DataError: the file is missing, damaged, holds pickled objects, or is not as described.
    """
    options = options or ImportOptions()
    content = read_arrays(path)
    for key in ("joints", "joint_names"):
        if key not in content:
            arrays = ", ".join(content) or "none"
            raise DataError(f"{path}: no array {key!r}; the file has {arrays} (see docs/preparing.md)")
    positions = content["joints"]
    names = [str(name) for name in np.atleast_1d(content["joint_names"])]
    if positions.ndim != 3 or positions.shape[1:] != (len(names), 3) or not np.issubdtype(positions.dtype, np.floating):
        raise DataError(
            f"{path}: joints: floats of shape [N, {len(names)}, 3] expected, "
            f"{positions.dtype} {list(positions.shape)} found"
        )
    if not len(positions):
        raise DataError(f"{path}: joints: no frames")
    found = find_joints(names, str(path), options.joint_map)
    joints = turn_up(body_joints(positions, names, found), options.up, str(path))
    bounds = _bounds(content, len(joints), path)
    columns = {key: _column(content, key, len(bounds), path) for key in _COLUMNS}
    takes = [
        columns["take"][i] or columns["cmu_id"][i] or columns["clip_id"][i] or f"{path.stem}_{i:04d}"
        for i in range(len(bounds))
    ]
    height: dict[str, float] = {}
    floor: dict[str, float] = {}
    for take in dict.fromkeys(takes):
        frames = np.concatenate([joints[a:b] for (a, b), t in zip(bounds, takes, strict=True) if t == take])
        if not np.isfinite(frames).all():
            raise DataError(f"{path}: take {take}: joints: NaN or infinity found; remove or repair the take")
        try:
            height[take], floor[take] = body_height(frames), floor_height(frames)
        except DataError as error:
            raise DataError(f"{path}: take {take}: {error}") from None
    fps = _fps(content, path, options.fps)
    (terms,) = _column(content, "license", 1, path)
    return [
        Recording(
            joints=joints[a:b],
            fps=fps,
            take=takes[i],
            captions=_captions(columns, i, path),
            action=columns["action"][i],
            stickgen_action=columns["stickgen_action"][i] or None,
            style=columns["style"][i],
            subject=columns["subject"][i],
            license=terms,
            clip_id=columns["clip_id"][i] or f"{path.stem}_{i:04d}",
            source="cmu" if "cmu_id" in content else "",
            where=f"{path}: clip {columns['clip_id'][i] or i}",
            height=height[takes[i]],
            floor=floor[takes[i]],
        )
        for i, (a, b) in enumerate(bounds)
    ]


def read_arrays(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of a NumPy archive.

    Args:
        path: the archive.
        names: of the arrays; others are not looked at, whatever they hold. None: all.

    Raises:
        DataError: it is missing, damaged, too large, or one of the arrays holds Python objects.
    """
    if not path.is_file():
        raise DataError(missing_file(path))
    try:
        # NumPy takes whatever is no archive for a pickle.
        if not zipfile.is_zipfile(path):
            raise DataError(f"{path}: not an archive of plain arrays: no zip file, as every .npz is")
        check_archive(path)
        with np.load(path, allow_pickle=False) as archive:
            content = {key: archive[key] for key in archive.files if names is None or key in names}
    except _DAMAGE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        reason = "holds Python objects, which would have to be executed" if "pickle" in reason else reason
        raise DataError(f"{path}: not an archive of plain arrays: {reason}") from None
    for key, value in content.items():
        if not isinstance(value, np.ndarray):
            raise DataError(f"{path}: not an archive of plain arrays: {key} is none")
    return content


def _fps(content: dict[str, np.ndarray], path: Path, otherwise: float | None) -> float:
    rate = content.get("fps")
    if rate is None:
        return otherwise or float(FPS)
    if rate.size != 1 or not (np.issubdtype(rate.dtype, np.integer) or np.issubdtype(rate.dtype, np.floating)):
        raise DataError(f"{path}: fps: one number expected, {rate.dtype} {list(rate.shape)} found")
    try:
        check_fps(float(rate.item()))
    except ValueError as error:
        raise DataError(f"{path}: fps: {error}") from None
    return float(rate.item())


def _bounds(content: dict[str, np.ndarray], frames: int, path: Path) -> list[tuple[int, int]]:
    if "start" not in content and "length" not in content:
        return [(0, frames)]
    try:
        starts, lengths = np.atleast_1d(content["start"]), np.atleast_1d(content["length"])
        bounds = [(int(a), int(a) + int(n)) for a, n in zip(starts, lengths, strict=True)]
    except (KeyError, ValueError, TypeError):
        raise DataError(f"{path}: start and length: one whole number each a clip expected") from None
    for index, (a, b) in enumerate(bounds):
        if not 0 <= a < b <= frames:
            raise DataError(f"{path}: clip {index}: frames {a} to {b} lie outside the {frames} of joints")
    return bounds


def _column(content: dict[str, np.ndarray], key: str, clips: int, path: Path) -> list[str]:
    if key not in content:
        return [""] * clips
    values = [checked_text(str(value), f"{path}: {key}") for value in np.atleast_1d(content[key])]
    if len(values) != clips:
        what = "one text expected" if key == "license" else f"{clips} entries expected, one a clip"
        raise DataError(f"{path}: {key}: {what}; {len(values)} found")
    return values


def _captions(columns: dict[str, list[str]], index: int, path: Path) -> tuple[str, ...]:
    if not columns["captions_json"][index]:
        caption = columns["caption"][index] or columns["description"][index]
        return (caption,) if caption else ()
    try:
        captions: Any = parse_json(columns["captions_json"][index])
    except ValueError:
        captions = None
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise DataError(f"{path}: captions_json: clip {index}: a JSON list of strings expected")
    return tuple(captions)


def _recognises(path: Path, head: bytes) -> bool:
    return head.startswith(b"PK")


JOINT_ARCHIVE = Importer("joint archive (.npz)", "Arrays of joint positions with their names", _recognises, read_npz)
