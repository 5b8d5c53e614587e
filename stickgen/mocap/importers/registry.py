"""The formats that ``stickgen prepare`` reads. To add one: an importer in a file of its own, and a line here."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from stickgen.errors import DataError
from stickgen.files import missing_file
from stickgen.mocap.importers.acclaim import AMC
from stickgen.mocap.importers.aist import AIST
from stickgen.mocap.importers.amass import AMASS
from stickgen.mocap.importers.bvh import BVH
from stickgen.mocap.importers.c3d import C3D
from stickgen.mocap.importers.coco import COCO
from stickgen.mocap.importers.figures import MOTION_FILE, MOTIONS
from stickgen.mocap.importers.humanml3d import HUMANML3D
from stickgen.mocap.importers.importer import HEAD_BYTES, Importer
from stickgen.mocap.importers.interhuman import INTERHUMAN
from stickgen.mocap.importers.mediapipe_csv import MEDIAPIPE_CSV
from stickgen.mocap.importers.mediapipe_json import MEDIAPIPE_JSON
from stickgen.mocap.importers.mmpose import MMPOSE
from stickgen.mocap.importers.npz import JOINT_ARCHIVE
from stickgen.mocap.importers.ntu import NTU
from stickgen.mocap.importers.openpose import OPENPOSE
from stickgen.mocap.importers.ultralytics import ULTRALYTICS
from stickgen.mocap.importers.video import VIDEO

IMPORTERS: tuple[Importer, ...] = (
    BVH,
    AMC,
    C3D,
    HUMANML3D,
    INTERHUMAN,
    AMASS,
    AIST,
    NTU,
    MOTION_FILE,
    MOTIONS,
    OPENPOSE,
    MMPOSE,
    ULTRALYTICS,
    COCO,
    MEDIAPIPE_JSON,
    MEDIAPIPE_CSV,
    VIDEO,
    JOINT_ARCHIVE,  # last of the NumPy archives: its message names the arrays that are missing
)
"""All formats; the first that recognises a path reads it."""

_LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of before torch 1.6 begin: the pickled magic number of torch.save."""


def is_data_file(path: Path, head: bytes) -> bool:
    """Return whether a path holds a data file (docs/data.md), or is named as one.

    Args:
        path: the file.
        head: its first bytes.
    """
    if path.suffix.lower() in (".pt", ".pth") or head.startswith(_LEGACY_TORCH):
        return True
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/data.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError, LookupError, ValueError):
        return False


def find_sources(paths: Sequence[Path]) -> list[tuple[Path, Importer | None]]:
    """Find what reads each source.

    A folder that is not a format itself stands for every file and folder in it that is recognised, in the order of
    their names.

    Args:
        paths: files and folders.

    Returns:
        each source and its importer, None for a data file.

    Raises:
        DataError: a path does not exist, is not recognised, or is a folder in which nothing is.
    """
    found: list[tuple[Path, Importer | None]] = []
    for path in paths:
        if not path.exists():
            raise DataError(missing_file(path))
        inside = list(_walk(path))
        if not inside:
            what = "nothing in this folder is recognised" if path.is_dir() else "not a format that is recognised"
            raise DataError(f"{path}: {what}; {known_formats()} expected (see docs/preparing.md)")
        found += inside
    return found


def known_formats() -> str:
    """Return the names of all formats, for a message."""
    return f"{', '.join(importer.name for importer in IMPORTERS)} or a data file"


def _walk(path: Path) -> Iterator[tuple[Path, Importer | None]]:
    folder = path.is_dir()
    head = b"" if folder else _head(path)
    if not folder and is_data_file(path, head):
        yield path, None
        return
    for importer in IMPORTERS:
        if importer.recognises(path, head):
            yield path, importer
            return
    if folder:
        for entry in sorted(path.iterdir()):
            # A link to a folder around this one would lead round in circles; a pipe would be waited for.
            if not entry.name.startswith(".") and (entry.is_file() or (entry.is_dir() and not entry.is_symlink())):
                yield from _walk(entry)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
