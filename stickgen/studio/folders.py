"""The files and folders that the studio may touch; the only place that resolves paths that come from the browser."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from stickgen.artifacts.base import MODEL_FILE
from stickgen.artifacts.record import RECORD_KEY
from stickgen.artifacts.run import RunFolder
from stickgen.artifacts.tensors import read_metadata
from stickgen.data.packed import FORMATS
from stickgen.errors import CheckpointError, ConfigError
from stickgen.sweeps.settings import RECORD_FILE

_NAME = re.compile(r"[\w][\w.-]{0,99}")
_DEPTH = 4
"""Levels below a folder at which runs are looked for, as ``outputs/<name>/<time>`` and a sweep's jobs."""


class Folders:
    """The chosen folders and data files.

    The browser names a path by the label of its root and the way from there, with slashes: ``outputs/sneaky``. A label
    is the last part of a root's path; of equal ones the second is ``outputs 2``.

    Args:
        paths: folders of runs, and data files. The first folder gets the new runs.

    Raises:
        ConfigError: a path is missing.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._roots: dict[str, Path] = {}
        for path in paths:
            if not path.exists():
                raise ConfigError(f"{path}: no such file or folder; name folders of runs and data files")
            name = label = path.resolve().name or "root"
            number = 1
            while label in self._roots:
                number += 1
                label = f"{name} {number}"
            self._roots[label] = path
        self._first = next((label for label, path in self._roots.items() if path.is_dir()), None)

    def resolve(self, name: str) -> Path:
        """Return the path that the browser names.

        Args:
            name: label of a root and the way from there. The path need not exist.

        Raises:
            ConfigError: it lies outside the chosen folders: it has ``..``, is absolute, or a link leads out.
        """
        label, _, rest = str(name).partition("/")
        parts = rest.split("/") if rest else []
        root = self._roots.get(label)
        plain = all(part not in ("", ".", "..") and "\\" not in part and "\0" not in part for part in parts)
        if root is None or not plain or (parts and not root.is_dir()):
            raise self._outside(name)
        path = root.joinpath(*parts)
        try:
            inside = path.resolve().is_relative_to(root.resolve())
        except (OSError, RuntimeError):  # a loop of links
            inside = False
        if not inside:
            raise self._outside(name)
        return path

    def name(self, path: Path) -> str:
        """Return how the browser names a path of the chosen folders.

        Raises:
            ConfigError: it lies in none of them.
        """
        for label, root in self._roots.items():
            if path == root or path.is_relative_to(root):
                return "/".join((label, *path.relative_to(root).parts))
        raise self._outside(str(path))

    def new_run(self, name: str) -> Path:
        """Return the folder of a new run, in the first folder.

        Raises:
            ConfigError: the name is too long, has other characters than letters, digits, ``_``, ``-`` and ``.``, or is
                taken.
        """
        if self._first is None:
            raise ConfigError("no folder for new runs; start the studio with one: stickgen studio outputs/")
        if not _NAME.fullmatch(name):
            raise ConfigError(f"name={name[:80]}: up to 100 letters, digits, _, - and . expected")
        path = self.resolve(f"{self._first}/{name}")
        if path.exists():
            # Resume refuses a run that has saved nothing, so it is no way out of here.
            also = ", or resume it" if RunFolder(path).holds_results() else ""
            raise ConfigError(f"{path}: is there already; give the run another name{also}")
        return path

    def runs(self) -> list[str]:
        """Return the names of all runs, the one that was started last first."""
        found = [folder for folder in self._walk() if RunFolder(folder).exists()]
        found.sort(key=lambda path: path.joinpath("config.yaml").stat().st_mtime, reverse=True)
        return [self.name(path) for path in found]

    def holds_model(self, name: str) -> bool:
        """Return whether a run has got as far as weights."""
        return RunFolder(self.resolve(name)).holds_results()

    def sweeps(self) -> list[str]:
        """Return the names of all sweeps."""
        return [self.name(path) for path in self._walk() if (path / RECORD_FILE).is_file()]

    def data_files(self) -> list[str]:
        """Return the names of the data files: those chosen, and those that lie in a chosen folder."""
        return [self.name(path) for path in self._files() if _is_data(path)]

    def bases(self) -> list[str]:
        """Return the names of bases: files, and runs that trained whole weights."""
        files = [self.name(path) for path in self._files() if _is_base(path)]
        return [*files, *(name for name in self.runs() if (self.resolve(name) / MODEL_FILE).is_file())]

    def _files(self) -> Iterator[Path]:
        """Yield the chosen files, and those that lie in a chosen folder; links that lead out are not followed."""
        for root in self._roots.values():
            for path in sorted(root.iterdir()) if root.is_dir() else [root]:
                if path.is_file() and (path == root or self._leads_inside(path, root)):
                    yield path

    def _walk(self) -> Iterator[Path]:
        """Yield the chosen folders and those below; links that lead out are not followed."""
        for root in self._roots.values():
            if root.is_dir():
                yield from self._below(root, root, _DEPTH)

    def _below(self, folder: Path, root: Path, depth: int) -> Iterator[Path]:
        yield folder
        if depth == 0 or RunFolder(folder).exists():
            return
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not entry.name.startswith(".") and self._leads_inside(entry, root):
                yield from self._below(entry, root, depth - 1)

    @staticmethod
    def _leads_inside(path: Path, root: Path) -> bool:
        return not path.is_symlink() or path.resolve().is_relative_to(root.resolve())

    def _outside(self, name: str) -> ConfigError:
        return ConfigError(f"{str(name)[:200]}: not in the folders of the studio ({', '.join(self._roots)})")


def _is_data(path: Path) -> bool:
    if path.suffix == ".safetensors":
        return _metadata(path).get("format") in FORMATS
    return path.suffix == ".pt"


def _is_base(path: Path) -> bool:
    return path.suffix == ".pth" or (path.suffix == ".safetensors" and RECORD_KEY in _metadata(path))


def _metadata(path: Path) -> Mapping[str, str]:
    """Return the metadata of a .safetensors file; {} of one that is damaged, which names itself when it is opened."""
    try:
        return read_metadata(path)
    except CheckpointError:
        return {}
