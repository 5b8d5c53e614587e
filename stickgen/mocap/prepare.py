"""From motion capture to a data file: read, cut, project, score, embed, write."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

import stickgen
from stickgen.data.file import check_data_name, is_packed, write_sequences
from stickgen.data.sequences import clips_from_sequences
from stickgen.data.split import fixed_splits
from stickgen.errors import DataError
from stickgen.files import check_absent, check_writable
from stickgen.mocap.captions import Description, describe, read_captions
from stickgen.mocap.cutting import PrepareOptions, make_sequences, windows
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.joints import read_joint_map
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.merge_files import LabelFilter, fix_splits, gather_sequences
from stickgen.mocap.projection import Recording
from stickgen.motion.resampling import resample
from stickgen.motion.skeleton import FPS, skeleton_of


class Encoder(Protocol):
    """What :func:`embed` needs of a :class:`~stickgen.text.encoder.TextEncoder`."""

    @property
    def record(self) -> dict[str, Any]:
        """What the data file says about its embeddings."""

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """Embed N captions: float32 ``[N, E]``."""


@dataclass(frozen=True)
class PrepareSummary:
    """What became of the sources.

    Attributes:
        clips: clips written.
        takes: takes they come from.
        frames: their frames.
        gathered: of the clips, those that came from data files.
        left_out: recordings that were too short.
        unlabelled: clips without an action class.
        high_quality: clips that score 0.8 or more.
    """

    clips: int
    takes: int
    frames: int
    gathered: int
    left_out: int
    unlabelled: int
    high_quality: int


def prepare(
    sources: Sequence[Path],
    output: Path,
    load_encoder: Callable[[], Encoder],
    options: PrepareOptions | None = None,
    *,
    captions: Path | None = None,
    overwrite: bool = False,
) -> PrepareSummary:
    """Make a data file (docs/data.md) of motion capture.

    Args:
        sources: files and folders of the formats of :mod:`stickgen.mocap.importers.registry`, and data files, whose
            clips are taken over as they are but for their embeddings.
        output: the file to write.
        load_encoder: makes what embeds the captions; called once the sources are read and found usable.
        options: see :class:`PrepareOptions`.
        captions: caption table; needed where a source has no captions of its own.
        overwrite: replace an existing output.

    Raises:
        OutputExistsError: the output exists and ``overwrite`` is false, or it is a folder.
        DataError: a source cannot be read or used, has no caption, nothing is left to write, or sources fix a take in
            two splits.
        StickgenError: an optional package is not installed.
    """
    options = options or PrepareOptions()
    check_absent(output, overwrite=overwrite, file=True)
    check_data_name(output)
    check_writable(output)
    found = _find(sources)
    captured = [(path, importer) for path, importer in found if importer is not None]
    wanted = LabelFilter(options.only)
    gathered = [s for path, importer in found if not importer for s in gather_sequences(path, options.dim, wanted)]
    if options.source is not None:
        gathered = [{**sequence, "source": options.source} for sequence in gathered]
    recordings = _read(captured, options, wanted, captions)
    wanted.check()
    sequences = (make_sequences(recordings, options) if recordings else []) + gathered
    encoder = load_encoder()
    embed(sequences, encoder)
    if options.fix_split:
        fix_splits(sequences, str(output))
    clips = clips_from_sequences(sequences, str(output))
    fixed_splits(clips, str(output))  # as training will ask, or it would refuse the file
    info = {
        "text_encoder": encoder.record,
        "fps": FPS,
        "dim": options.dim,
        "skeleton": skeleton_of(options.dim).name,
        "views_named": options.name_views,
        "views": [*options.all_views, *["random"] * options.random_views],
        "clips": len(clips),
        "made_by": f"stickgen {stickgen.__version__}",
    }
    write_sequences(output, sequences, info, overwrite=overwrite)
    return PrepareSummary(
        clips=len(clips),
        takes=len({clip.take for clip in clips}),
        frames=sum(clip.length for clip in clips),
        gathered=len(gathered),
        left_out=sum(next(windows(r, options), None) is None for r in recordings),
        unlabelled=sum(clip.actions is None for clip in clips),
        high_quality=sum((clip.quality or 0) >= 0.8 for clip in clips),
    )


def read_sources(sources: Sequence[Path], options: PrepareOptions, *, captions: Path | None = None) -> list[Recording]:
    """Read and describe the recordings of all sources but data files, resampled to 25 fps.

    Args:
        sources: files and folders.
        options: see :class:`PrepareOptions`; of its labels there may be none.
        captions: caption table.

    Raises:
        DataError: a source cannot be read or has no caption.
    """
    found = [(path, importer) for path, importer in _find(sources) if importer is not None]
    return _read(found, options, LabelFilter(options.only), captions)


def _find(sources: Sequence[Path]) -> list[tuple[Path, Importer | None]]:
    if not sources:
        raise DataError("no sources; name files or folders of motion (see docs/data.md)")
    for path in sources:
        if is_packed(path):
            raise DataError(
                f"{path}: a packed file, which has lost meta.action and other keys of a sequence; name the .pt it was "
                "made from"
            )
    return find_sources(sources)


def _read(
    sources: Sequence[tuple[Path, Importer]], options: PrepareOptions, wanted: LabelFilter, captions: Path | None
) -> list[Recording]:
    table: dict[str, Description] = read_captions(captions) if captions else {}
    joint_map = read_joint_map(options.joint_map) if options.joint_map else {}
    given = ImportOptions(
        joint_map, options.up, options.skip_seconds, options.fps, options.image_size, options.min_confidence
    )
    recordings = [
        recording
        for path, importer in sources
        for recording in describe(importer.read(path, given), path, table)
        if wanted({label for label in (recording.action, recording.stickgen_action) if label})
    ]
    for recording in recordings:
        if not any(caption.strip() for caption in recording.captions):
            raise DataError(f"{recording.where}: no caption; name one in a caption table (--captions-file)")
    return [replace(r, joints=_resampled(r), fps=float(FPS)) for r in recordings]


def embed(sequences: Sequence[dict[str, Any]], encoder: Encoder) -> None:
    """Give every sequence the ``embedding [E]`` of its caption."""
    embeddings = torch.from_numpy(encoder.encode([sequence["description"] for sequence in sequences]))
    for sequence, embedding in zip(sequences, embeddings, strict=True):
        # A row of a shared array would be saved with the whole of it.
        sequence["embedding"] = embedding.clone()


def _resampled(recording: Recording) -> np.ndarray:
    try:
        return resample(recording.joints, recording.fps)
    except DataError as error:
        raise DataError(f"{recording.where}: {error}") from None
