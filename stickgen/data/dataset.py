"""The data set of a run: a file or the built-in sample, filtered and split, with no clip's motion read yet."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stickgen.config import DataConfig
from stickgen.data.curation import Curation, read_curation
from stickgen.data.file import open_clips, shards
from stickgen.data.sequences import SequenceClips
from stickgen.data.split import SPLITS, Split, split_by_take
from stickgen.data.stores import ClipSet, ClipStore, RecaptionedClips, check_one_width
from stickgen.data.table import ClipInfos
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
    files: Mapping[str, str | None] = field(default_factory=dict)
    """The packed files that the clips are read from, each with its digest."""

    def record(self, split: Split[ClipSet]) -> dict[str, Any]:
        """Return what a run keeps of its data: where from, what was left out, and how much each split holds."""
        parts = {"train": split.train.infos, "val": split.val.infos, "test": split.test.infos}
        sources: Counter[str] = Counter()
        for infos in parts.values():
            sources.update(infos.counts("source"))
        return {
            "source": self.source,
            "files": dict(self.files),
            "sequences": self.sequences,
            "left_out": self.dropped,
            "curation": self.curation and {"path": str(self.curation.path), "sha256": self.curation.digest},
            "sources": {source: clips for source, clips in sources.items() if source},
            "splits": {
                name: dict(zip(("clips", "takes", "frames"), infos.amount(), strict=True))
                for name, infos in parts.items()
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
    if curation is not None and curation.captions:
        store = _recaptioned(store, curation, info, source)
    kept, dropped = filter_clips(store.infos, config)
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise DataError(
            f"{source}: no clip left of {len(store.infos)} ({reasons}); see data.min_quality and data.sources"
        )
    kept = _as_configured(kept, config)
    check_one_width(kept, "motion", source, "data.dim=20 reduces the 48 numbers of the larger figures to 20")
    parts = split_by_take(kept, config.val_fraction, config.test_fraction, config.split_seed, source, config.split_by)
    if curation is not None:
        # After the split, which stays the same for the clips that are kept: so scores before and after are comparable.
        places = np.array(sorted(flagged), dtype=np.int64)
        parts = parts.map(lambda infos: infos.chosen(np.flatnonzero(~np.isin(infos.column("position"), places))))
        _refuse_empty(parts, curation, source)
        dropped[FLAGGED] = int(np.isin(kept.column("position"), places).sum())
    clips = sum(len(part) for part in (parts.train, parts.val, parts.test))
    report = DataReport(source, store.sequences, clips, dropped, info.get("text_encoder") or {}, curation, store.files)
    if config.train_clips is not None:
        parts = replace(parts, train=_draw(parts.train, config.train_clips, config.split_seed, source))
    return parts.map(lambda infos: ClipSet(store, infos)), report


def _recaptioned(store: ClipStore, curation: Curation, info: Mapping[str, Any], source: str) -> ClipStore:
    """Return the clips with the captions that were edited, embedded as the file's own were.

    Raises:
        DataError: a clip is not in the file, or the file does not name its text encoder.
        StickgenError: the encoder cannot be had.
    """
    captions = curation.new_captions(store, source)
    name = (info.get("text_encoder") or {}).get("id")
    if not name:
        raise DataError(
            f"{curation.path}: edits captions, and {source} does not name the text encoder that would embed them; "
            "remove its captions"
        )
    # Here, since most runs have no edited captions.
    from stickgen.text.encoder import TextEncoder

    rows = torch.from_numpy(TextEncoder(name).encode(list(captions.values())))
    embedded = {}
    for (position, caption), row in zip(captions.items(), rows, strict=True):
        width = store.infos[position].width
        if bool(row[width:].any()):
            raise DataError(f"{curation.path}: {name} gives {len(row)} numbers, and {source} holds {width}")
        embedded[position] = (caption, torch.nn.functional.pad(row, (0, max(width - len(row), 0)))[:width])
    return RecaptionedClips(store, embedded)


def _open(config: DataConfig) -> tuple[ClipStore, dict[str, Any], str]:
    """Return the clips, their file's own record, and what to call it."""
    if config.path is not None:
        path = Path(config.path)
        found = [(str(file), file.stat()) for file in shards(path) or [path] if file.is_file()]
        version = tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in found)
        return *_open_file(path, config.max_frames, version), config.path
    sample = config.sample
    return _make_sample(
        sample.clips, sample.seed, tuple(sample.styles), tuple(sample.actions), config.dim or 20, config.max_frames
    )


# A sweep's jobs follow each other in one process, mostly on the same data. What was opened is never changed: a store's
# clips are made anew each time they are asked for, and infos are replaced, not written to.


@lru_cache(maxsize=1)
def _open_file(path: Path, max_frames: int, version: tuple[tuple[Any, ...], ...]) -> tuple[ClipStore, dict[str, Any]]:
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


def _refuse_empty(parts: Split[ClipInfos], curation: Curation, source: str) -> None:
    for split in SPLITS:
        if not len(getattr(parts, split)):
            raise DataError(f"{curation.path}: leaves no {split} clip of {source}; flag fewer clips")


def filter_clips(clips: ClipInfos, config: DataConfig) -> tuple[ClipInfos, dict[str, int]]:
    """Return the clips to keep, and how many were left out for which reason."""
    quality = clips.column("quality")
    unscored = np.isnan(quality)
    objections = {
        "of a single frame": clips.column("length") < MIN_FRAMES,
        "of other sources": _of_other_sources(clips, config.sources),
        "without a quality score": unscored & (not config.keep_unscored),
        f"below quality {config.min_quality:g}": ~unscored & (quality < config.min_quality),
    }
    kept = np.ones(len(clips), dtype=bool)
    dropped: dict[str, tuple[int, int]] = {}
    for reason, objected in objections.items():
        places = np.flatnonzero(kept & objected)  # a clip counts for the first of its reasons
        if len(places):
            dropped[reason] = (int(places[0]), len(places))
        kept &= ~objected
    in_order = sorted(dropped, key=lambda reason: dropped[reason][0])
    return clips.chosen(np.flatnonzero(kept)), {reason: dropped[reason][1] for reason in in_order}


def _of_other_sources(clips: ClipInfos, wanted: Sequence[str]) -> np.ndarray:
    if not wanted:
        return np.zeros(len(clips), dtype=bool)
    sources = clips.table.source
    codes = [code for code in range(len(sources.ends)) if sources.text(code) in wanted]
    return ~np.isin(clips.column("source"), codes)


def _draw(clips: ClipInfos, count: int, seed: int, source: str) -> ClipInfos:
    """Draw clips, the fewer among the more: the first 5 of a seed are among its first 20."""
    if count > len(clips):
        raise DataError(f"data.train_clips={count}: {source} has {len(clips)} training clips")
    return clips.chosen(np.sort(np.random.default_rng(seed).permutation(len(clips))[:count]))


def _as_configured(clips: ClipInfos, config: DataConfig) -> ClipInfos:
    """Ask for clips in the wanted number of segments."""
    if config.dim is None:
        return clips
    others = np.flatnonzero(clips.column("dim") != config.dim)
    if len(others) and config.dim != 20:
        clip = clips[int(others[0])]
        have = skeleton_of(clip.dim)
        raise DataError(f"data.dim={config.dim}: {clip.label} is a {have.name}; only 48 numbers can become 20")
    return clips.changed(dim=config.dim)
