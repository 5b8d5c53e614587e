"""From motion capture to a data file: read, cut, project, score, embed, write."""

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch

import stickgen
from stickgen.actions import ACTIONS, action_index
from stickgen.data.captions import Description, describe, read_captions
from stickgen.data.file import is_packed, write_sequences
from stickgen.data.gather import LabelFilter, fix_splits, gather_sequences
from stickgen.data.importers.bvh import SKIP_SECONDS, read_bvh
from stickgen.data.importers.joints import read_joint_map
from stickgen.data.importers.npz import read_npz
from stickgen.data.physics import body_physics
from stickgen.data.projection import VIEWS, Recording, project, resample, view_yaw
from stickgen.data.quality import quality_score
from stickgen.data.sequences import clips_from_sequences
from stickgen.data.split import fixed_splits
from stickgen.errors import ConfigError, DataError
from stickgen.files import check_absent
from stickgen.skeleton import FPS, skeleton_of


class Encoder(Protocol):
    """What :func:`make_sequences` needs of a :class:`~stickgen.data.text.TextEncoder`."""

    @property
    def record(self) -> dict[str, Any]:
        """What the data file says about its embeddings."""

    def encode(self, captions: Sequence[str]) -> np.ndarray:
        """Embed N captions: float32 ``[N, E]``."""


@dataclass(frozen=True)
class PrepareOptions:
    """How a data file is made.

    Attributes:
        views: "side", "front", "both", or yaw angles in degrees; every view makes a clip of its own of the same take.
        random_views: views of each clip besides, whose yaw is drawn from −90° to 90°: there who walks forward still
            walks to +x, and the rest are mirror images.
        name_views: say in the caption from where a clip is seen, if not from the side.
        seed: of those draws, which depend on the clip's name and nothing else.
        fix_split: write the default split into every clip.
        dim: 20 or 48 numbers a frame.
        window: most frames of a clip; longer recordings are cut into equal pieces.
        minimum: fewest frames of a clip; shorter ones are left out.
        captions: of several captions, "first" takes one, "all" makes a clip of each.
        only: action labels to keep, fine or of the vocabulary; empty keeps all.
        source: data set id; None: as the file says, else "mocap".
        joint_map: JSON file that names the joints of the sources.
        up: their up axis, or "auto".
        skip_seconds: time dropped at the start of a BVH file.
    """

    views: tuple[str, ...] = ("side",)
    random_views: int = 0
    name_views: bool = False
    seed: int = 0
    fix_split: bool = False
    dim: int = 20
    window: int = 250
    minimum: int = 25
    captions: Literal["first", "all"] = "first"
    only: tuple[str, ...] = ()
    source: str | None = None
    joint_map: Path | None = None
    up: str = "auto"
    skip_seconds: float = SKIP_SECONDS

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: a value cannot work.
            DataError: a view or the skeleton is unknown.
        """
        skeleton_of(self.dim)
        for view in self.all_views:
            view_yaw(view)
        if self.random_views < 0:
            raise ConfigError(f"random_views={self.random_views}: 0 or more expected")
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed}: 0 or more expected")
        if not self.all_views and not self.random_views:
            raise ConfigError("views: at least one expected")
        if not 1 <= self.minimum <= self.window:
            raise ConfigError(f"window={self.window}: at least the minimum of {self.minimum} frames expected")
        if self.captions not in ("first", "all"):
            raise ConfigError(f"captions={self.captions}: first or all expected")
        if not self.skip_seconds >= 0:
            raise ConfigError(f"skip_seconds={self.skip_seconds}: a time of 0 s or more expected")

    @property
    def all_views(self) -> tuple[str, ...]:
        """The views, "both" spelt out, each once."""
        spelt = [v for view in self.views for v in (("side", "front") if view == "both" else (view,))]
        return tuple(dict.fromkeys(spelt))

    def views_of(self, clip: Recording) -> tuple[str, ...]:
        """The views of one clip, its random ones drawn."""
        rng = np.random.default_rng([self.seed, zlib.crc32(f"{clip.take}/{clip.clip_id}".encode())])
        return (*self.all_views, *(f"{yaw:.1f}" for yaw in rng.uniform(-90, 90, size=self.random_views)))


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
        sources: ``.npz`` joint archives and ``.bvh`` files, and ``.pt`` data files, whose clips are taken over as they
            are but for their embeddings.
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
    captured = [path for path in sources if path.suffix.lower() != ".pt"]
    wanted = LabelFilter(options.only)
    gathered = [s for path in sources if path not in captured for s in gather_sequences(path, options.dim, wanted)]
    if options.source is not None:
        gathered = [{**sequence, "source": options.source} for sequence in gathered]
    recordings = read_sources(captured, options, wanted, captions=captions) if captured or not sources else []
    wanted.check()
    sequences = (_figures(recordings, options) if recordings else []) + gathered
    encoder = load_encoder()
    _embed(sequences, encoder)
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
        left_out=sum(next(_windows(r, options), None) is None for r in recordings),
        unlabelled=sum(clip.actions is None for clip in clips),
        high_quality=sum((clip.quality or 0) >= 0.8 for clip in clips),
    )


def read_sources(
    sources: Sequence[Path],
    options: PrepareOptions,
    wanted: LabelFilter | None = None,
    *,
    captions: Path | None = None,
) -> list[Recording]:
    """Read and describe the recordings of all sources, resampled to 25 fps.

    Args:
        sources: ``.npz`` and ``.bvh`` files.
        options: see :class:`PrepareOptions`.
        wanted: keeps recordings by their labels; None: those of ``options.only``. There may be none.
        captions: caption table.

    Raises:
        DataError: a source cannot be read or has no caption.
    """
    if not sources:
        raise DataError("no sources; name .npz, .bvh or .pt files")
    table: dict[str, Description] = read_captions(captions) if captions else {}
    joint_map = read_joint_map(options.joint_map) if options.joint_map else None
    recordings: list[Recording] = []
    for path in sources:
        suffix = path.suffix.lower()
        if suffix == ".npz":
            read = read_npz(path, joint_map=joint_map, up=options.up)
        elif suffix == ".bvh":
            read = [read_bvh(path, joint_map=joint_map, up=options.up, skip_seconds=options.skip_seconds)]
        else:
            raise DataError(f"{path}: {_not_a_source(path)}")
        recordings += describe(read, path, table)
    wanted = wanted or LabelFilter(options.only)
    recordings = [r for r in recordings if wanted({label for label in (r.action, r.stickgen_action) if label})]
    for recording in recordings:
        if not any(caption.strip() for caption in recording.captions):
            raise DataError(f"{recording.where}: no caption; name one in a caption table (--captions-file)")
    return [replace(r, joints=_resampled(r), fps=float(FPS)) for r in recordings]


def make_sequences(recordings: Sequence[Recording], encoder: Encoder, options: PrepareOptions) -> list[dict[str, Any]]:
    """Turn recordings at 25 fps into the sequences of a data file.

    Raises:
        DataError: every recording is too short, or one has joints or labels that cannot be used.
    """
    sequences = _figures(recordings, options)
    _embed(sequences, encoder)
    return sequences


def _figures(recordings: Sequence[Recording], options: PrepareOptions) -> list[dict[str, Any]]:
    """Return the sequences without their embeddings."""
    sequences = [
        sequence
        for recording in recordings
        for piece in _windows(recording, options)
        for sequence in _sequences_of(piece, options)
    ]
    if not sequences:
        raise DataError(f"none of the {len(recordings)} recordings has the {options.minimum} frames of a clip")
    return sequences


def _embed(sequences: Sequence[dict[str, Any]], encoder: Encoder) -> None:
    embeddings = torch.from_numpy(encoder.encode([sequence["description"] for sequence in sequences]))
    for sequence, embedding in zip(sequences, embeddings, strict=True):
        # A row of a shared array would be saved with the whole of it.
        sequence["embedding"] = embedding.clone()


def _not_a_source(path: Path) -> str:
    if is_packed(path):
        return "a packed file, which has lost meta.action and other keys of a sequence; name the .pt it was made from"
    return ".npz, .bvh or .pt expected"


def _resampled(recording: Recording) -> np.ndarray:
    try:
        return resample(recording.joints, recording.fps)
    except DataError as error:
        raise DataError(f"{recording.where}: {error}") from None


def _windows(recording: Recording, options: PrepareOptions) -> Iterator[Recording]:
    """Cut a recording into pieces of at most ``window`` and at least ``minimum`` frames.

    Equal pieces use every frame; where they would be too short, whole windows are cut and the rest is dropped.
    """
    frames = len(recording.joints)
    if frames < options.minimum:
        return
    if frames <= options.window:
        yield recording
        return
    pieces = -(-frames // options.window)
    if frames // pieces >= options.minimum:
        bounds = [round(i * frames / pieces) for i in range(pieces + 1)]
    else:
        bounds = list(range(0, frames + 1, options.window))
    for start, end in pairwise(bounds):
        yield replace(recording, joints=recording.joints[start:end], clip_id=f"{recording.clip_id}_{start:04d}")


def _sequences_of(clip: Recording, options: PrepareOptions) -> Iterator[dict[str, Any]]:
    try:
        action = _action_class(clip)
        for view in options.views_of(clip):
            motion = project(clip.joints, dim=options.dim, view=view, height=clip.height, floor=clip.floor)
            physics = body_physics(motion)
            sequence: dict[str, Any] = {
                "motion": torch.from_numpy(motion),
                "physics": torch.from_numpy(physics),
                "source": options.source or clip.source or "mocap",
                "quality_score": round(quality_score(motion, physics), 4),
                "meta": _meta(clip, view),
            }
            if action is not None:
                sequence["actions"] = torch.full((len(motion),), action, dtype=torch.int64)
            captions = [" ".join(caption.split()) for caption in clip.captions if caption.strip()]
            for caption in captions if options.captions == "all" else captions[:1]:
                yield {"description": caption + (_seen_from(view) if options.name_views else ""), **sequence}
    except DataError as error:
        raise DataError(f"{clip.where}: {error}") from None


def _seen_from(view: str) -> str:
    """Return how a caption goes on, to name the view: not for the side, which a prompt that names none then means."""
    return {VIEWS["side"]: "", VIEWS["front"]: ", seen from the front"}.get(view_yaw(view), ", seen at an angle")


def _action_class(clip: Recording) -> int | None:
    """Return the class: the vocabulary's own label, or the fine one where it is in the vocabulary, else None."""
    if clip.stickgen_action:
        return action_index(clip.stickgen_action)
    return action_index(clip.action) if clip.action in ACTIONS else None


def _meta(clip: Recording, view: str) -> dict[str, str]:
    meta = {
        "take": clip.take,
        "action": clip.action or clip.stickgen_action or "",
        "view": view,
        "clip_id": clip.clip_id,
    }
    # CMU numbers its takes subject_trial.
    cmu = re.fullmatch(r"(\d+)_\d+", clip.take)
    return {**meta, "subject": cmu[1]} if cmu else meta
