"""Sequences: the dicts of a data file, checked in structure when they are opened, in numbers when they are used."""

import math
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from stickgen.data.clips import (
    CAMERA_DIM,
    PHYSICS_DIM,
    Clip,
    ClipInfo,
    check_finite,
    checked_text,
    clip_digest,
    count_actions,
)
from stickgen.data.stores import check_one_width
from stickgen.data.table import ClipInfos
from stickgen.errors import DataError
from stickgen.motion.actions import NUM_ACTIONS
from stickgen.motion.skeleton import SKELETONS


class SequenceClips:
    """The clips of the dicts of a data file, one for each moving actor.

    Keys, types and shapes are checked at once. Of the numbers only action labels are read, which filters and splits
    need, and the motion of sequences with several actors, to tell figures from filled-up slots.

    Args:
        sequences: the dicts (docs/data.md).
        where: the file or source they come from, for messages.
        max_frames: longer clips are cut to their first frames.

    Raises:
        DataError: a sequence is not as documented; the message holds its index, the key, what was expected and
            what was found. Nothing is repaired silently.
    """

    files: Mapping[str, str | None] = {}

    def __init__(self, sequences: Sequence[Any], where: str, max_frames: int | None = None) -> None:
        self.sequences = len(sequences)
        infos: list[ClipInfo] = []
        self._sequences = sequences
        self._where = where
        self._max_frames = max_frames
        for index, sequence in enumerate(sequences):
            infos += self._infos_of(sequence, index, first=len(infos))
        self.infos = ClipInfos.of(infos)
        check_one_width(self.infos, "embedding", where, "keep one embedding width a file")

    def load(self, position: int) -> Clip:
        """Read a clip and check its numbers.

        Raises:
            DataError: a number is not finite, or cannot be read as float32.
        """
        info = self.infos[position]
        sequence, at = self._sequences[info.index], self._at(info.index)

        def track(key: str, actor: int = info.actor) -> Tensor | None:
            if sequence.get(key) is None:
                return None
            given = self._part(sequence[key], key, actor)
            track = _converted(given, key, at)
            # Asked of the converted numbers: float64 holds some that float32 cannot.
            return check_finite(track, given, key, at) if track.is_floating_point() else track

        motion, embedding = track("motion"), track("embedding")
        assert motion is not None
        assert embedding is not None
        return Clip(
            motion=motion,
            embedding=embedding,
            description=info.description,
            take=info.take,
            source=info.source,
            actions=track("actions"),
            physics=track("physics"),
            camera=track("camera"),
            partner=None if info.partner is None else track("motion", self.infos[info.partner].actor),
            quality=info.quality,
            split=info.split,
            index=info.index,
            actor=info.actor,
            style=info.style,
            subject=info.subject,
        )

    def digest(self, position: int) -> str:
        """Return a clip's digest; see :class:`~stickgen.data.clips.ClipStore`."""
        info = self.infos[position]
        motion = self._sequences[info.index]["motion"]
        return clip_digest(motion if motion.ndim == 2 else motion[:, info.actor], info.description)

    def _at(self, index: int) -> str:
        return f"{self._where}: clip {index}"

    def _part(self, values: Tensor, key: str, actor: int) -> Tensor:
        """Return an actor's frames up to the longest length; keys may be shared by all actors."""
        if key == "embedding":
            return values
        values = values[: self._max_frames]
        return values[:, actor] if values.ndim > _SHARED_NDIM[key] else values

    def _infos_of(self, sequence: Any, index: int, first: int) -> list[ClipInfo]:
        at = self._at(index)
        if not isinstance(sequence, dict):
            raise DataError(f"{at}: a dict expected, {type(sequence).__name__} found (see docs/data.md)")
        motion = _tensor(sequence, "motion", at)
        if motion is None:
            raise DataError(f"{at}: motion: a tensor expected, none found (see docs/data.md)")
        actors = _actors(motion, at)
        embedding = _tensor(sequence, "embedding", at)
        if embedding is None:
            raise DataError(f"{at}: embedding: a tensor expected, none found (see docs/data.md)")
        if embedding.ndim != 1 or embedding.shape[0] == 0:
            raise DataError(f"{at}: embedding: shape [E] expected, {list(embedding.shape)} found")
        frames, each = motion.shape[0], tuple(motion.shape[:-1])
        actions = _tensor(sequence, "actions", at, shapes=(each, (frames,)))
        physics = _tensor(sequence, "physics", at, shapes=((*each, PHYSICS_DIM), (frames, PHYSICS_DIM)))
        camera = _tensor(sequence, "camera", at, shapes=((frames, CAMERA_DIM),))
        meta = _mapping(sequence, "meta", at)
        return [
            ClipInfo(
                position=first + place,
                length=min(frames, self._max_frames or frames),
                dim=motion.shape[-1],
                width=embedding.shape[0],
                description=_text(sequence, "description", at),
                take=_take(meta, index, at),
                source=_text(sequence, "source", at, required=False),
                action_counts=None if actions is None else _labels(self._part(actions, "actions", actor), at),
                has_physics=physics is not None,
                has_camera=camera is not None,
                # With exactly two figures, each is the other's partner.
                partner=first + 1 - place if len(actors) == 2 else None,
                quality=_quality(sequence, at),
                split=_split(meta, at),
                index=index,
                actor=actor,
                style=_label(meta, "style"),
                subject=_label(meta, "subject"),
            )
            for place, actor in enumerate(actors)
        ]


def clips_from_sequences(sequences: Sequence[Any], where: str) -> list[Clip]:
    """Check every sequence, its numbers too, and make each of its moving actors a clip.

    Embeddings are all of one width; motion is as each sequence has it.

    Args:
        sequences: the dicts of the data file (docs/data.md).
        where: the file or source they come from, for messages.

    Raises:
        DataError: see :class:`SequenceClips`.
    """
    store = SequenceClips(sequences, where)
    return [store.load(info.position) for info in store.infos]


_DTYPES = {
    "motion": torch.float32,
    "embedding": torch.float32,
    "actions": torch.int64,
    "physics": torch.float32,
    "camera": torch.float32,
}

_SHARED_NDIM = {"motion": 2, "actions": 1, "physics": 2, "camera": 2}
"""Dimensions of a track that is one figure's, or shared by all."""


def _tensor(sequence: dict[str, Any], key: str, at: str, shapes: tuple[tuple[int, ...], ...] = ()) -> Tensor | None:
    """Return a sequence's tensor, its kind and shape checked and its numbers not looked at."""
    value = sequence.get(key)
    if value is None:
        return None
    if not isinstance(value, Tensor):
        raise DataError(f"{at}: {key}: a tensor expected, {type(value).__name__} found (see docs/data.md)")
    kind = _special(value)
    if kind is None and value.numel() * value.element_size() > value.untyped_storage().nbytes():
        kind = "repeated"  # a few bytes that stand for any number of frames
    if kind is not None:
        raise DataError(f"{at}: {key}: a plain tensor expected, a {kind} one found")
    dtype = _DTYPES[key]
    if value.is_floating_point() != dtype.is_floating_point or value.is_complex() or value.dtype == torch.bool:
        raise DataError(f"{at}: {key}: {dtype} expected, {value.dtype} found")
    if shapes and tuple(value.shape) not in shapes:
        expected = " or ".join(str(list(shape)) for shape in dict.fromkeys(shapes))
        raise DataError(f"{at}: {key}: shape {expected} expected, {list(value.shape)} found")
    return value


def _actors(motion: Tensor, at: str) -> list[int]:
    """Return which actors move; the others are filled-up slots, not figures."""
    if motion.ndim not in (2, 3):
        raise DataError(f"{at}: motion: shape [T, D] or [T, A, D] expected, {list(motion.shape)} found")
    if motion.shape[-1] not in SKELETONS:
        known = " or ".join(str(d) for d in SKELETONS)
        raise DataError(f"{at}: motion has {motion.shape[-1]} numbers a frame; {known} expected (see docs/data.md)")
    if 0 in motion.shape:
        raise DataError(f"{at}: motion is empty (shape {list(motion.shape)}); remove the clip")
    if motion.ndim == 2:
        return [0]
    moving = [actor for actor in range(motion.shape[1]) if bool(_converted(motion[:, actor], "motion", at).any())]
    if not moving:
        raise DataError(f"{at}: motion: every actor is zero throughout; remove the clip")
    return moving


def _converted(values: Tensor, key: str, at: str) -> Tensor:
    dtype = _DTYPES[key]
    try:
        return values.detach().to(dtype)
    except RuntimeError:
        raise DataError(f"{at}: {key}: {dtype} expected, {values.dtype} found") from None


def _labels(actions: Tensor, at: str) -> dict[int, int]:
    counts = count_actions(_converted(actions, "actions", at).tolist())
    for label in counts:
        if not 0 <= label < NUM_ACTIONS:
            raise DataError(f"{at}: actions: class indices 0 to {NUM_ACTIONS - 1} expected, {label} found")
    return counts


def _special(value: Tensor) -> str | None:
    """Return what sets a tensor apart from plain numbers in memory, None where nothing does."""
    if value.is_quantized:
        return "quantized"
    if value.is_nested:
        return "nested"
    if value.is_meta:
        return "meta"
    return None if value.layout == torch.strided else "sparse"


def _text(sequence: dict[str, Any], key: str, at: str, *, required: bool = True) -> str:
    value = sequence.get(key)
    if isinstance(value, str):
        return checked_text(value, f"{at}: {key}")
    if value is None and not required:
        return ""
    raise DataError(f"{at}: {key}: a string expected, {type(value).__name__} found (see docs/data.md)")


def _mapping(sequence: dict[str, Any], key: str, at: str) -> dict[str, Any]:
    value = sequence.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise DataError(f"{at}: {key}: a dict expected, {type(value).__name__} found (see docs/data.md)")
    return value


def _quality(sequence: dict[str, Any], at: str) -> float | None:
    score = sequence.get("quality_score")
    if score is None:
        quality = _mapping(sequence, "annotations", at).get("quality")
        score = quality.get("score") if isinstance(quality, dict) else None
    if score is None:
        return None
    try:
        value = float(score)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise DataError(f"{at}: quality_score: a number expected, {type(score).__name__} found") from None
    if math.isnan(value) or not 0 <= value <= 1:
        raise DataError(f"{at}: quality_score: a number from 0 to 1 expected, {value} found")
    return value


def _take(meta: dict[str, Any], index: int, at: str) -> str:
    for key in ("take", "cmu_id"):
        value = meta.get(key)
        if value is None or (isinstance(value, str) and not value.strip()):
            continue
        if not isinstance(value, str | Number):
            raise DataError(f"{at}: meta.{key}: a string or a number expected, {type(value).__name__} found")
        return checked_text(str(value), f"{at}: meta.{key}")
    # Without a take, a sequence is a take of its own; its actors always stay together.
    return f"#{index}"


def _label(meta: dict[str, Any], key: str) -> str:
    # Files that were accepted before these were read may hold anything here.
    label = meta.get(key)
    return label.strip() if isinstance(label, str) else ""


def _split(meta: dict[str, Any], at: str) -> str | None:
    split = meta.get("split")
    if split is None or split in ("train", "val", "test"):
        return split
    raise DataError(f"{at}: meta.split: train, val or test expected, {split!r} found")
