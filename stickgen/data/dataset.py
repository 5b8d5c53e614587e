"""The data set of a run: a file or the built-in sample, filtered and split, with no clip's motion read yet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from stickgen.config import DataConfig
from stickgen.data.clips import ClipInfo, ClipSet, ClipStore, check_one_width
from stickgen.data.curation import Curation, read_curation
from stickgen.data.file import open_clips
from stickgen.data.sequences import SequenceClips
from stickgen.data.split import SPLITS, Split, split_by_take
from stickgen.errors import DataError
from stickgen.motion.skeleton import skeleton_of

FLAGGED = "flagged in data.curation"
"""Why clips are left out, in reports."""

MIN_FRAMES = 2
"""A clip needs a frame to predict from and one to predict."""


@dataclass(frozen=True)
class DataReport:
    """What was read and what was left out, for the summary."""

    source: str
    sequences: int
    clips: int
    dropped: dict[str, int]
    """Clips left out, by reason."""
    text_encoder: dict[str, Any]
    """The record of the encoder of the captions; {} where the file does not tell."""
    curation: Curation | None = None
    """What data.curation says; None without one."""

    def record(self, split: Split[ClipSet]) -> dict[str, Any]:
        """Return what a run keeps of its data: where from, what was left out, and how much each split holds."""
        clips = [info for part in (split.train, split.val, split.test) for info in part.infos]
        return {
            "source": self.source,
            "sequences": self.sequences,
            "left_out": self.dropped,
            "curation": self.curation and {"path": str(self.curation.path), "sha256": self.curation.digest},
            "sources": dict(Counter(clip.source for clip in clips if clip.source)),
            "splits": {
                name: {
                    "clips": len(part),
                    "takes": len({clip.take for clip in part.infos}),
                    "frames": sum(clip.length for clip in part.infos),
                }
                for name, part in (("train", split.train), ("val", split.val), ("test", split.test))
            },
        }


def open_dataset(config: DataConfig) -> tuple[Split[ClipSet], DataReport]:
    """Open the clips of a run.

    Raises:
        DataError: the file is not as docs/data.md describes it, or the filter leaves too little of it, or fewer
            training clips than are wanted.
    """
    store, info, source = _open(config)
    curation = None if config.curation is None else read_curation(Path(config.curation))
    flagged = frozenset() if curation is None else curation.positions(store, source)
    kept, dropped = filter_clips(store.infos, config)
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise DataError(
            f"{source}: no clip left of {len(store.infos)} ({reasons}); see data.min_quality and data.sources"
        )
    kept = [_as_configured(clip, config) for clip in kept]
    check_one_width(kept, "motion", source, "data.dim=20 reduces the 48 numbers of the larger figures to 20")
    parts = split_by_take(kept, config.val_fraction, config.test_fraction, config.split_seed, source)
    if curation is not None:
        # After the split, which stays the same for the clips that are kept: so scores before and after are comparable.
        parts = parts.map(lambda infos: [info for info in infos if info.position not in flagged])
        _refuse_empty(parts, curation, source)
        dropped[FLAGGED] = sum(info.position in flagged for info in kept)
    clips = sum(len(part) for part in (parts.train, parts.val, parts.test))
    report = DataReport(source, store.sequences, clips, dropped, info.get("text_encoder") or {}, curation)
    if config.train_clips is not None:
        parts = replace(parts, train=_draw(parts.train, config.train_clips, config.split_seed, source))
    return parts.map(lambda infos: ClipSet(store, infos)), report


def _open(config: DataConfig) -> tuple[ClipStore, dict[str, Any], str]:
    """Return the clips, their file's own record, and what to call it."""
    if config.path is not None:
        path = Path(config.path)
        found = path.stat() if path.is_file() else None
        version = None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)
        return *_open_file(path, config.max_frames, version), config.path
    sample = config.sample
    return _make_sample(
        sample.clips, sample.seed, tuple(sample.styles), tuple(sample.actions), config.dim or 20, config.max_frames
    )


# A sweep's jobs follow each other in one process, mostly on the same data. What was opened is never changed: a store's
# clips are made anew each time they are asked for, and infos are replaced, not written to.


@lru_cache(maxsize=1)
def _open_file(path: Path, max_frames: int, version: tuple[int, ...] | None) -> tuple[ClipStore, dict[str, Any]]:
    """Open a data file, as it was at ``version``."""
    return open_clips(path, max_frames)


@lru_cache(maxsize=1)
def _make_sample(
    clips: int, seed: int, styles: tuple[str, ...], actions: tuple[str, ...], dim: int, max_frames: int
) -> tuple[ClipStore, dict[str, Any], str]:
    # Here, since most runs have a file and never need the generator.
    from stickgen.sample import SAMPLE_INFO, sample_sequences

    wanted: dict[str, Any] = {name: list(value) for name, value in (("styles", styles), ("actions", actions)) if value}
    sequences = sample_sequences(clips, seed=seed, dim=dim, **wanted)
    source = "built-in sample motion"
    return SequenceClips(sequences, source, max_frames), SAMPLE_INFO, source


def _refuse_empty(parts: Split[list[ClipInfo]], curation: Curation, source: str) -> None:
    for split in SPLITS:
        if not getattr(parts, split):
            raise DataError(f"{curation.path}: leaves no {split} clip of {source}; flag fewer clips")


def filter_clips(clips: Sequence[ClipInfo], config: DataConfig) -> tuple[list[ClipInfo], dict[str, int]]:
    """Return the clips to keep, and how many were left out for which reason."""

    def objection(clip: ClipInfo) -> str | None:
        if clip.length < MIN_FRAMES:
            return "of a single frame"
        if config.sources and clip.source not in config.sources:
            return "of other sources"
        if clip.quality is None:
            return None if config.keep_unscored else "without a quality score"
        return f"below quality {config.min_quality:g}" if clip.quality < config.min_quality else None

    objections = [objection(clip) for clip in clips]
    kept = [clip for clip, reason in zip(clips, objections, strict=True) if reason is None]
    return kept, dict(Counter(reason for reason in objections if reason is not None))


def _draw(clips: Sequence[ClipInfo], count: int, seed: int, source: str) -> list[ClipInfo]:
    """Draw clips, the fewer among the more: the first 5 of a seed are among its first 20."""
    if count > len(clips):
        raise DataError(f"data.train_clips={count}: {source} has {len(clips)} training clips")
    order = np.random.default_rng(seed).permutation(len(clips))
    return [clips[position] for position in sorted(order[:count])]


def _as_configured(clip: ClipInfo, config: DataConfig) -> ClipInfo:
    """Ask for a clip in the wanted number of segments."""
    if config.dim is None or clip.dim == config.dim:
        return clip
    if config.dim != 20:
        have = skeleton_of(clip.dim)
        raise DataError(f"data.dim={config.dim}: {clip.label} is a {have.name}; only 48 numbers can become 20")
    return replace(clip, dim=config.dim)
