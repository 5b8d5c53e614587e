"""From motion capture to a data file: read, describe, cut, project, score, embed, write."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

import stickgen
from stickgen.artifacts.base_lookup import encoder_of_base
from stickgen.data.file import check_data_name, is_packed, write_sequences
from stickgen.data.sequences import clips_from_sequences
from stickgen.data.split import fixed_splits
from stickgen.errors import ConfigError, DataError
from stickgen.files import check_absent, check_writable
from stickgen.locks import unfinished_folder
from stickgen.mocap.captions import Captioner
from stickgen.mocap.cutting import PrepareOptions, action_of, make_sequences, windows
from stickgen.mocap.importers.importer import Importer, ImportOptions
from stickgen.mocap.importers.registry import find_sources
from stickgen.mocap.merge_files import LabelFilter, fix_splits, gather_sequences
from stickgen.mocap.pool import Kept, Progress, each
from stickgen.mocap.projection import Recording
from stickgen.mocap.unfinished import Unfinished, key_of, state_of
from stickgen.motion.resampling import resample
from stickgen.motion.skeleton import FPS, skeleton_of
from stickgen.text.encoder import DEFAULT_ENCODER, canonical_id

_EMBEDDED_AT_ONCE = 256


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
        unknown_actions: action labels that mean no class of the vocabulary, and the recordings that have them.
        high_quality: clips that score 0.8 or more.
        flat: recordings on a plane, such as keypoints of a video, which have no view but the camera's.
    """

    clips: int
    takes: int
    frames: int
    gathered: int
    left_out: int
    unlabelled: int
    high_quality: int
    unknown_actions: dict[str, int] = field(default_factory=dict)
    flat: int = 0


def prepare(
    sources: Sequence[Path],
    output: Path,
    load_encoder: Callable[[], Encoder],
    options: PrepareOptions | None = None,
    *,
    captioner: Captioner | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> PrepareSummary:
    """Make a data file (docs/data.md) of motion.

    If it is stopped, the same call continues where it was: see :mod:`stickgen.mocap.unfinished`.

    Args:
        sources: files and folders of the formats of :mod:`stickgen.mocap.importers.registry`, and data files, whose
            clips are taken over as they are but for their embeddings.
        output: the file to write.
        load_encoder: makes what embeds the captions; called once the sources are read and found usable.
        options: see :class:`PrepareOptions`.
        captioner: captions and labels that the sources do not have themselves.
        overwrite: replace an existing output.
        workers: processes that read and project; the file is the same for any number of them.
        progress: is told what is done; see :func:`~stickgen.mocap.pool.each`.

    Raises:
        OutputExistsError: the output exists and ``overwrite`` is false, or it is a folder.
        DataError: a source cannot be read or used, has no caption, nothing is left to write, or sources fix a take in
            two splits.
        FolderInUseError: another process is making the same output.
        StickgenError: an optional package is not installed.
    """
    options, captioner = options or PrepareOptions(), captioner or Captioner()
    check_absent(output, overwrite=overwrite, file=True)
    check_data_name(output)
    check_writable(output)
    found = _find(sources)
    captured = [(path, importer) for path, importer in found if importer is not None]
    wanted = LabelFilter(options.only)
    gathered = [s for path, importer in found if not importer for s in gather_sequences(path, options.dim, wanted)]
    if options.source is not None:
        gathered = [{**sequence, "source": options.source} for sequence in gathered]
    with unfinished_folder(output) as folder, Unfinished(folder) as done:
        key = key_of(stickgen.__version__, options, captioner, state_of(found, options.reading.pose_model))
        recordings = _read(captured, options, wanted, captioner, workers, progress, done.step("reading", key))
        wanted.check()
        kept = done.step("projecting", key)
        sequences = make_sequences(recordings, options, workers, progress, kept) if recordings else []
        sequences += gathered
        encoder = load_encoder()
        embed(sequences, encoder, progress, done)
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
        unknown_actions=dict(Counter(r.action for r in recordings if r.action and action_of(r) is None)),
        high_quality=sum((clip.quality or 0) >= 0.8 for clip in clips),
        flat=sum(r.flat for r in recordings),
    )


def encoder_for(base: Path | None, encoder: str | None) -> str:
    """Return the text encoder, a hub id or a folder, that captions for a base are to be embedded by.

    Args:
        base: the base that will be trained; None: the one that training adapts by default.
        encoder: the encoder that was asked for; None: the base's, or the reference system's where a base does not
            record one.

    Raises:
        ConfigError: ``base`` was named, and is another encoder's.
        CheckpointError: the base is missing or damaged.
    """
    if encoder is not None and base is None:
        return encoder
    theirs = encoder_of_base(base)
    if encoder is None:
        return theirs or DEFAULT_ENCODER
    if theirs not in (None, canonical_id(encoder)):
        raise ConfigError(f"--encoder {encoder}: {base} was trained with {theirs}; leave --encoder or --base out")
    return encoder


def embed(
    sequences: Sequence[dict[str, Any]],
    encoder: Encoder,
    progress: Progress | None = None,
    done: Unfinished | None = None,
) -> None:
    """Give every sequence the ``embedding [E]`` of its caption.

    Args:
        sequences: what to embed.
        encoder: embeds some hundred different captions at a time, the same ones whatever is done already.
        progress: is told what is done; see :func:`~stickgen.mocap.pool.each`.
        done: keeps what is done.
    """
    captions = list(dict.fromkeys(sequence["description"] for sequence in sequences))
    batches = [captions[at : at + _EMBEDDED_AT_ONCE] for at in range(0, len(captions), _EMBEDDED_AT_ONCE)]
    kept = done.step("embedding", key_of(encoder.record, captions)) if done else None
    rows = torch.from_numpy(np.concatenate(each(encoder.encode, batches, 1, "embedding", progress, kept)))
    place = {caption: row for row, caption in enumerate(captions)}
    for sequence in sequences:
        # A row of a shared array would be saved with the whole of it.
        sequence["embedding"] = rows[place[sequence["description"]]].clone()


def _find(sources: Sequence[Path]) -> list[tuple[Path, Importer | None]]:
    if not sources:
        raise DataError("no sources; name files or folders of motion (see docs/preparing.md)")
    for path in sources:
        if is_packed(path):
            raise DataError(
                f"{path}: a packed file, which has lost meta.action and other keys of a sequence; name the .pt it was "
                "made from"
            )
    return find_sources(sources)


def _read(
    sources: Sequence[tuple[Path, Importer]],
    options: PrepareOptions,
    wanted: LabelFilter,
    captioner: Captioner,
    workers: int = 1,
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> list[Recording]:
    read_one = partial(_read_source, options=options.reading, captioner=captioner)
    read = [
        [Recording(**{**facts, "captions": tuple(facts["captions"])}) for facts in of_one]
        for of_one in each(read_one, sources, workers, "reading", progress, kept)
    ]
    if captioner.pattern and sources:
        pairs = [(recording, path) for (path, _), of_one in zip(sources, read, strict=True) for recording in of_one]
        if not any(captioner.matches(recording, path) for recording, path in pairs):
            first = pairs[0][0].clip_id if pairs else sources[0][0].stem
            raise DataError(f"--caption-from {captioner.pattern!r}: matches no source; the first is {first!r}")
    recordings = [
        recording
        for of_one in read
        for recording in of_one
        if wanted({label for label in (recording.action, recording.stickgen_action) if label})
    ]
    for recording in recordings:
        if not any(caption.strip() for caption in recording.captions):
            raise DataError(
                f"{recording.where}: no caption; name one in a caption table (--captions-file), in a .txt beside the "
                "file, or by --caption"
            )
    return recordings


def _read_source(source: tuple[Path, Importer], options: ImportOptions, captioner: Captioner) -> list[dict[str, Any]]:
    """Read one source, in whichever process; return the attributes of its recordings, which can be kept."""
    path, importer = source
    described = captioner.describe(importer.read(path, options), path)
    return [{**vars(recording), "joints": _resampled(recording), "fps": float(FPS)} for recording in described]


def _resampled(recording: Recording) -> np.ndarray:
    try:
        return resample(recording.joints, recording.fps)
    except DataError as error:
        raise DataError(f"{recording.where}: {error}") from None
