"""Captions and labels that a file of motion cannot say itself: from tables, text files beside it, and its name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stickgen.data.clips import checked_text
from stickgen.errors import ConfigError, DataError
from stickgen.mocap.caption_tables import Description, read_captions
from stickgen.mocap.projection import Recording

PATTERN_FIELDS = ("caption", "action", "stickgen_action", "style", "take", "subject", "split")
"""What a pattern of file names can hold."""

TEMPLATE_FIELDS = ("action", "stickgen_action", "style", "take", "subject", "source")
"""What a template of captions can hold."""

_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Captioner:
    """Adds captions and labels to recordings.

    The caption table counts most, then a text file beside the motion (``walk.txt`` beside ``walk.bvh``, a caption a
    line), then the template, then what the format says itself. Labels come from the table, then the pattern, then the
    format.

    Attributes:
        table: what a caption table says, by the names in it.
        pattern: of file names, "" for none; see :func:`compile_pattern`.
        template: of captions, "" for none: ``A person {action}s, {style}.``
    """

    table: Mapping[str, Description] = field(default_factory=dict)
    pattern: str = ""
    template: str = ""

    def __post_init__(self) -> None:
        """Check pattern and template.

        Raises:
            ConfigError: one names a field that is not known.
        """
        if self.pattern:
            compile_pattern(self.pattern)
        for name in _FIELD.findall(self.template):
            if name not in TEMPLATE_FIELDS:
                known = ", ".join(f"{{{known}}}" for known in TEMPLATE_FIELDS)
                raise ConfigError(f"--caption: unknown field {{{name}}}; choose from: {known}")

    @classmethod
    def of(cls, table: Path | None = None, pattern: str = "", template: str = "") -> "Captioner":
        """Read the caption table, if there is one.

        Raises:
            DataError: see :func:`~stickgen.mocap.caption_tables.read_captions`.
            ConfigError: pattern or template name a field that is not known.
        """
        return cls(read_captions(table) if table else {}, pattern, template)

    def describe(self, recordings: Sequence[Recording], path: Path) -> list[Recording]:
        """Return the recordings of a file with what is known of them.

        Raises:
            DataError: the text file beside the motion cannot be read, the template needs a label that is missing, or a
                part of the table lies outside the motion.
        """
        beside = _captions_beside(path) if path.is_file() else ()
        described: list[Recording] = []
        for recording in recordings:
            whole = self._described(recording, path, beside, len(recordings))
            found = self._in_table(recording, path)
            # Where only parts are described, the whole has nothing to say.
            if not found.parts or found.captions:
                described.append(whole)
            described += [_part_of(whole, bounds, part) for bounds, part in found.parts.items()]
        return described

    def matches(self, recording: Recording, path: Path) -> bool:
        """Return whether the pattern matches a recording."""
        return bool(self.pattern) and self._by_name(recording, path) is not None

    def _described(self, recording: Recording, path: Path, beside: tuple[str, ...], recordings: int) -> Recording:
        by_name = self._by_name(recording, path)
        if by_name is not None:
            recording = _with(recording, by_name)
        found = self._in_table(recording, path)
        recording = _with(recording, found)
        if found.captions or found.parts:
            return recording
        if beside and (recordings == 1 or not recording.captions):
            return replace(recording, captions=beside)
        if self.template:
            return replace(recording, captions=(_filled(self.template, recording),))
        return recording

    def _in_table(self, recording: Recording, path: Path) -> Description:
        names = _names(recording, path) if self.table else []
        return next((self.table[name] for name in names if name in self.table), Description())

    def _by_name(self, recording: Recording, path: Path) -> Description | None:
        if not self.pattern:
            return None
        expression = compile_pattern(self.pattern)
        for name in (recording.clip_id, path.with_suffix("").as_posix()):
            match = expression.fullmatch(name)
            if match:
                facts: dict[str, Any] = {key: value for key, value in match.groupdict().items() if value}
                caption = facts.pop("caption", "").replace("_", " ").replace("-", " ")
                return Description((caption,) if caption else (), **facts)
        return None


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Return the expression of a pattern of file names.

    ``dataset-2_{action}_{style}_*`` matches names without their suffix; ``{…}`` is a field, as short as it can be, and
    ``*`` is anything. A pattern with a slash also names folders: ``{subject}/{action}_*``.

    Raises:
        ConfigError: it has no field, or one that is not known or is there twice.
    """
    names = _FIELD.findall(pattern)
    for name in names:
        if name not in PATTERN_FIELDS or names.count(name) > 1:
            what = "is there twice" if name in PATTERN_FIELDS else "is unknown"
            known = ", ".join(f"{{{known}}}" for known in PATTERN_FIELDS)
            raise ConfigError(f"--caption-from {pattern!r}: field {{{name}}} {what}; choose from: {known}, each once")
    if not names:
        raise ConfigError(f"--caption-from {pattern!r}: no field in it; write {{action}} where the action stands")
    parts = re.split(r"(\{[^{}]*\}|\*)", pattern)
    expression = "".join(
        f"(?P<{part[1:-1]}>[^/]+?)" if part.startswith("{") else "[^/]*?" if part == "*" else re.escape(part)
        for part in parts
    )
    return re.compile(f"(?:.*/)?{expression}")


def _names(recording: Recording, path: Path) -> list[str]:
    """Return what a table may call a recording, the most particular name first."""
    tails = ["/".join(path.parts[-count:]) for count in range(min(4, len(path.parts)), 0, -1)]
    return [recording.clip_id, str(path), *tails, path.stem]


def _with(recording: Recording, found: Description) -> Recording:
    keys = ("captions", "action", "take", "stickgen_action", "style", "subject", "split", "license")
    facts = {key: getattr(found, key) for key in keys if getattr(found, key)}
    if facts.get("action", recording.action) != recording.action:
        facts.setdefault("stickgen_action", None)  # the class that is known is of another label
    return replace(recording, **facts)


def _part_of(whole: Recording, bounds: tuple[float, float], found: Description) -> Recording:
    """Cut a part out, given by its start and end in seconds."""
    first, last = round(bounds[0] * whole.fps), min(round(bounds[1] * whole.fps), len(whole.joints))
    if first >= last:
        raise DataError(
            f"{whole.where}: the caption table describes {bounds[0]:g} s to {bounds[1]:g} s; the motion has "
            f"{len(whole.joints) / whole.fps:.1f} s"
        )
    name = f"{whole.clip_id}_{first:04d}_{last:04d}"
    return _with(replace(whole, joints=whole.joints[first:last], clip_id=name), found)


def _filled(template: str, recording: Recording) -> str:
    def value(match: re.Match[str]) -> str:
        text = getattr(recording, match[1]) or ""
        if not text:
            raise DataError(f"{recording.where}: --caption needs its {match[1]}, which is not known")
        return str(text).replace("_", " ").replace("-", " ")

    return _FIELD.sub(value, template)


def _captions_beside(path: Path) -> tuple[str, ...]:
    """Return the lines of the text file beside a motion; of HumanML3D's lines, what stands before the first #."""
    beside = path.with_suffix(".txt")
    if beside == path or not beside.is_file():
        return ()
    try:
        lines = beside.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{beside}: captions cannot be read: {error}") from None
    captions = (line.partition("#")[0].strip() for line in lines)
    return tuple(checked_text(caption, str(beside)) for caption in captions if caption)
