"""100STYLE's table of the frames worth keeping: its recordings begin and end in a T-pose."""

import csv
from functools import lru_cache
from pathlib import Path

from stickgen.errors import DataError

TABLE = "Frame_Cuts.csv"


def frame_cut(path: Path) -> slice:
    """Return the frames of a file of 100STYLE that its table keeps; all where there is no table, or no entry in it.

    The table ``Frame_Cuts.csv`` lies in the file's folder or the one above; it has a row a style, and for every
    movement the first and the last frame (``FW_START``, ``FW_STOP``).

    Args:
        path: the file, ``<style>_<movement>.bvh``.

    Raises:
        DataError: the table cannot be read.
    """
    for table in tables_beside(path):
        if table.is_file():
            return slice(*frame_cuts(table).get(path.stem, (None, None)))
    return slice(None)


def tables_beside(path: Path) -> list[Path]:
    """Return where the table of a file may be."""
    return [folder / TABLE for folder in (path.parent, path.parent.parent)]


@lru_cache(maxsize=4)
def frame_cuts(path: Path) -> dict[str, tuple[int, int]]:
    """Return the first frame that is kept of every file, and the first that is not, by the file's stem.

    Raises:
        DataError: the table cannot be read.
    """
    cuts: dict[str, tuple[int, int]] = {}
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: table of frames cannot be read: {error}") from None
    for row in rows:
        for column, start in row.items():
            move, _, what = str(column).partition("_")
            stop = row.get(f"{move}_STOP")
            # "N/A" stands for movements that were not recorded.
            if what == "START" and str(start).strip().isdigit() and str(stop).strip().isdigit():
                cuts[f"{row.get('STYLE_NAME')}_{move}"] = int(str(start)), int(str(stop)) + 1
    return cuts
