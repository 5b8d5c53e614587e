"""``curation.yaml``: clips of a data file that training leaves out or reads with another caption.

The data file stays as it is. The curation is YAML of a fixed form, which ``stickgen inspect`` and its page write, a
line a clip, for people to read and edit::

    format: stickgen curation 1
    leave_out:
      clip 17: "0a1b2c3d4e5f6071"  # a person walks · jerk 212
      clip 20 actor 1: "…"
    captions:
      clip 3: ["1a2b3c4d5e6f7081", "a person walks slowly"]

The section ``captions`` is there only where a caption was edited.

A clip is named by its place and by a digest of its motion and caption, so that a changed data file is noticed. It is
read line by line, since YAML's own readers take seconds for some thousands of clips.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stickgen.data.clips import checked_text
from stickgen.data.stores import ClipStore
from stickgen.errors import DataError
from stickgen.files import atomic_write, missing_file

FORMAT = "stickgen curation 1"
_CLIP = re.compile(r'\s+(clip \d+(?: actor \d+)?): "([0-9a-f]{16})"')
_CAPTION = re.compile(r'\s+(clip \d+(?: actor \d+)?): \["([0-9a-f]{16})", ("(?:[^"\\]|\\.)*")\]')
_CAPTIONS = "captions:"
_LONGEST_CAPTION = 2000
_MOST_BYTES = 2**26
"""More than half a million clips."""
_LONGEST_REMARK = 80
_LABEL = re.compile(r"clip (0|[1-9]\d{0,17})(?: actor ([1-9]\d{0,17}))?", re.ASCII)


@dataclass(frozen=True)
class Curation:
    """What a file says.

    Attributes:
        path: the file.
        leave_out: label of a clip → digest.
        digest: the SHA-256 of the file's content, for the record of a run.
        captions: label of a clip → its digest in the data file and its new caption.
    """

    path: Path
    leave_out: Mapping[str, str]
    digest: str
    captions: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def positions(self, store: ClipStore, where: str) -> frozenset[int]:
        """Return the positions of the clips to leave out.

        Args:
            store: the clips; only those to leave out are read.
            where: their file, for messages.

        Raises:
            DataError: a clip is not in the store, or is another one.
        """
        return frozenset(self._places(self.leave_out, store, where).values())

    def new_captions(self, store: ClipStore, where: str) -> dict[int, str]:
        """Return the captions of the clips whose caption was edited, by position.

        Args:
            store: see :meth:`positions`.
            where: see :meth:`positions`.

        Raises:
            DataError: a clip is not in the store, or is another one.
        """
        digests = {label: digest for label, (digest, _) in self.captions.items()}
        places = self._places(digests, store, where)
        return {places[label]: caption for label, (_, caption) in self.captions.items()}

    def _places(self, digests: Mapping[str, str], store: ClipStore, where: str) -> dict[str, int]:
        index, actor = store.infos.column("index"), store.infos.column("actor")
        found = {}
        for label, digest in digests.items():
            place = _place_of(label, index, actor)
            if place is None or store.digest(place) != digest:
                raise DataError(
                    f"{self.path}: {label} is {'not in' if place is None else 'another clip in'} {where}; the file was "
                    "made for other data: flag the clips again with stickgen inspect"
                )
            found[label] = place
        return found


def _place_of(label: str, index: np.ndarray, actor: np.ndarray) -> int | None:
    """Return the position of the clip of a label (:attr:`~stickgen.data.clips.ClipInfo.label`), None where none is."""
    parts = _LABEL.fullmatch(label)
    if parts is None:
        return None
    places = np.flatnonzero((index == int(parts[1])) & (actor == int(parts[2] or 0)))
    return int(places[0]) if len(places) else None


def read_curation(path: Path) -> Curation:
    """Read a file.

    Raises:
        DataError: it is missing, or is none.
    """
    if not path.is_file():
        raise DataError(missing_file(path))
    if path.stat().st_size > _MOST_BYTES:
        raise DataError(f"{path}: not a curation file: {path.stat().st_size} bytes; at most {_MOST_BYTES} expected")
    content = path.read_bytes()
    leave_out: dict[str, str] = {}
    captions: dict[str, tuple[str, str]] | None = None
    head = [f"format: {FORMAT}", "leave_out:"]
    try:
        lines = content.decode("utf-8").splitlines()
    except ValueError:
        raise DataError(f"{path}: not a curation file: UTF-8 expected") from None
    for number, line in enumerate(lines):
        text = line.partition("#")[0].rstrip()
        if captions is not None and text:
            label, digest, caption = _read_caption(line, f"{path}: line {number + 1}")
            if label in captions:
                raise DataError(f"{path}: line {number + 1}: {label} has a caption already; remove one of the two")
            captions[label] = (digest, caption)
            continue
        if not text:
            continue
        if not head and text == _CAPTIONS:
            captions = {}
            continue
        if head:
            if text != head.pop(0):
                raise DataError(
                    f"{path}: not a curation file: 'format: {FORMAT}' expected; stickgen inspect writes one"
                )
            continue
        found = _CLIP.fullmatch(text)
        if found is None or found[1] in leave_out:
            raise DataError(
                f"{path}: line {number + 1}: a line such as 'clip 17: \"0a1b2c3d4e5f6071\"' expected, once a clip, "
                f"{text.strip()[:80]!r} found"
            )
        leave_out[found[1]] = found[2]
    if head:
        raise DataError(f"{path}: not a curation file: 'format: {FORMAT}' expected; stickgen inspect writes one")
    return Curation(path, leave_out, hashlib.sha256(content).hexdigest(), captions or {})


def _read_caption(line: str, at: str) -> tuple[str, str, str]:
    """Return label, digest and new caption of a line."""
    # A caption may have a # in it, so a remark is looked for behind it.
    found = _CAPTION.match(line)
    rest = "" if found is None else line[found.end() :].strip()
    if found is None or (rest and not rest.startswith("#")):
        raise DataError(
            f'{at}: a line such as \'clip 17: ["0a1b2c3d4e5f6071", "a person walks"]\' expected, {line.strip()[:80]!r} '
            "found"
        )
    try:
        caption = json.loads(found[3])
    except ValueError:
        raise DataError(f"{at}: a caption in double quotes expected, {found[3][:80]} found") from None
    return found[1], found[2], checked_caption(caption, at)


def checked_caption(caption: str, at: str) -> str:
    """Return an edited caption in one line.

    Raises:
        DataError: it is empty, too long, or no valid Unicode; the message begins with ``at``.
    """
    caption = " ".join(checked_text(caption, at).split())
    if not 1 <= len(caption) <= _LONGEST_CAPTION:
        raise DataError(f"{at}: a caption of 1 to {_LONGEST_CAPTION} characters expected, {len(caption)} found")
    return caption


def write_curation(
    path: Path,
    clips: Iterable[tuple[str, str, str]],
    *,
    captions: Mapping[str, tuple[str, str]] | None = None,
    overwrite: bool = False,
) -> None:
    """Write a file.

    Args:
        path: where to.
        clips: label, digest and a remark of each clip to leave out.
        captions: label → digest and new caption of each clip whose caption was edited.
        overwrite: replace an existing file.

    Raises:
        OutputExistsError: the file exists and ``overwrite`` is false, or it is a folder.
    """
    lines = [f"format: {FORMAT}", "leave_out:"]
    lines += [f'  {label}: "{digest}"  # {_in_one_line(remark)}' for label, digest, remark in clips]
    if captions:
        lines.append(_CAPTIONS)
        lines += [f'  {label}: ["{digest}", {json.dumps(caption)}]' for label, (digest, caption) in captions.items()]
    with atomic_write(path, overwrite=overwrite) as scratch:
        scratch.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _in_one_line(remark: str) -> str:
    """Return a remark that cannot end its line: a caption is the data file's own."""
    text = " ".join("".join(c if c.isprintable() else " " for c in remark).split())
    return text if len(text) <= _LONGEST_REMARK else text[: _LONGEST_REMARK - 1] + "…"
