"""What the Data tab does: the clips of a data file as a page, whose flags and captions go to a curation file."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stickgen.config import DataConfig
from stickgen.data.clips import ClipInfo, counted
from stickgen.data.curation import checked_caption, read_curation, write_curation
from stickgen.data.dataset import filter_clips
from stickgen.data.file import open_clips
from stickgen.data.split import divide_takes
from stickgen.errors import ConfigError, DataError
from stickgen.evaluation.clip_measures import MOST_CLIPS, measure
from stickgen.reports.clips_page import clips_page
from stickgen.reports.inspect import ordered

_MOST_OPEN = 3
_BY_HAND = "flagged by hand"


def curation_of(path: Path) -> Path:
    """Return where flags and captions of a data file are kept: beside it, ``data.pt.curation.yaml`` of ``data.pt``."""
    return path.with_name(f"{path.name}.curation.yaml")


class OpenFile:
    """A data file and its curation.

    Args:
        path: the data file, which is never written.

    Raises:
        DataError: it cannot be read, has too many clips to be measured, or the curation is of other data.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.curation = curation_of(path)
        self._store, _ = open_clips(path)
        if len(self._store.infos) > MOST_CLIPS:
            raise DataError(f"{path}: {len(self._store.infos)} clips; at most {MOST_CLIPS} can be shown")
        self._measured = measure(self._store, self._store.infos)
        if not self._measured.infos:
            raise DataError(f"{path}: no clip can be read: {self._measured.unreadable[0]}")
        self._split_of = _splits(path, self._store.infos)
        self._positions = {info.label: info.position for info in self._measured.infos}
        self._infos = {info.position: info for info in self._measured.infos}
        self._flagged: dict[int, str] = {}
        self._captions: dict[int, str] = {}
        self._lock = threading.Lock()
        if self.curation.is_file():
            known = read_curation(self.curation)
            self._flagged = dict.fromkeys(sorted(known.positions(self._store, str(path))), _BY_HAND)
            self._captions = known.new_captions(self._store, str(path))

    @property
    def state(self) -> str:
        """What the curation holds, in a line."""
        return (
            f"{counted(len(self._flagged), 'clip')} flagged, {counted(len(self._captions), 'caption')} edited, "
            f"kept in {self.curation.name}"
        )

    def page(self, server: str, most: int) -> str:
        """Return the page of the oddest clips.

        Args:
            server: the address that the page sends changes to.
            most: clips that it shows.

        Raises:
            ConfigError: there is more motion than a page can hold.
        """
        shown = ordered(self._store.infos, "quality", self._measured.of_position("odd"))[:most]
        places = {info.position: place for place, info in enumerate(self._measured.infos)}
        with self._lock:
            infos = [self._edited(info) for info in self._measured.infos]
            flagged = {places[position]: why for position, why in self._flagged.items() if position in places}
        positions = set(shown.column("position").tolist())
        measured = replace(self._measured, infos=infos)
        return clips_page(self._store, measured, flagged, self._split_of, self.path.name, positions, server)

    def change(self, asked: Mapping[str, Any]) -> str:
        """Flag clips, unflag them or change their caption, write the curation, and return its state.

        Args:
            asked: as the page of :func:`~stickgen.reports.clips_page.clips_page` sends it.

        Raises:
            DataError: it is something else.
            StickgenError: the curation cannot be written.
        """
        names, flagged, caption = (asked.get(key) for key in ("names", "flagged", "caption"))
        known = isinstance(names, list) and names and all(isinstance(n, str) and n in self._positions for n in names)
        if not known or (not isinstance(flagged, bool)) == (not isinstance(caption, str)):
            raise DataError("a change of the clips page expected")
        assert isinstance(names, list)
        with self._lock:
            for position in (self._positions[name] for name in names):
                if isinstance(caption, str):
                    new = checked_caption(caption, self._infos[position].label)
                    self._captions.pop(position, None)
                    if new != self._infos[position].description:
                        self._captions[position] = new
                elif flagged:
                    self._flagged[position] = _BY_HAND
                else:
                    self._flagged.pop(position, None)
            self._write()
            return self.state

    def _write(self) -> None:
        digests = {position: self._store.digest(position) for position in {*self._flagged, *self._captions}}
        label = {position: self._store.infos[position].label for position in digests}
        clips = [
            (label[at], digests[at], f"{why} · {self._store.infos[at].description}")
            for at, why in sorted(self._flagged.items())
        ]
        captions = {label[at]: (digests[at], text) for at, text in sorted(self._captions.items())}
        write_curation(self.curation, clips, captions=captions, overwrite=True)

    def _edited(self, info: ClipInfo) -> ClipInfo:
        caption = self._captions.get(info.position)
        return info if caption is None else replace(info, description=caption)


class OpenFiles:
    """The data files that were opened last, by a key that nobody can guess."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, tuple[OpenFile, int]] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: Path, most: int) -> tuple[str, OpenFile]:
        """Open a file; return the address of its page, and the file.

        Args:
            path: the file.
            most: clips that its page shows.

        Raises:
            DataError: see :class:`OpenFile`.
        """
        file, key = OpenFile(path), secrets.token_urlsafe(12)
        with self._lock:
            # One state a file: changes of an older page of it would be lost.
            for other in [other for other, (open_file, _) in self._open.items() if open_file.path == path]:
                del self._open[other]
            self._open[key] = (file, most)
            while len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return f"/clips/{key}", file

    def page(self, key: str) -> str:
        """Return the page of an open file.

        Raises:
            ConfigError: it is open no more, or too large for a page.
        """
        file, most = self._get(key)
        return file.page(f"/clips/{key}", most)

    def change(self, key: str, asked: Mapping[str, Any]) -> str:
        """Change the curation of an open file; see :meth:`OpenFile.change`."""
        return self._get(key)[0].change(asked)

    def _get(self, key: str) -> tuple[OpenFile, int]:
        with self._lock:
            found = self._open.get(key)
        if found is None:
            raise ConfigError("the file was opened again; use its newer page")
        return found


def _splits(path: Path, infos: Sequence[ClipInfo]) -> dict[str, str]:
    """Return take → split as training divides the file by default; {} where too few clips are left to divide."""
    config = DataConfig()
    try:
        kept, _ = filter_clips(infos, config)  # type: ignore[arg-type]
        return divide_takes(kept, config.val_fraction, config.test_fraction, config.split_seed, str(path), "take")
    except DataError:
        return {}
