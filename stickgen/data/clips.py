"""Clips: what a sequence of the data file becomes once it is checked and taken apart into actors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Number
from typing import Any, Literal

import torch
from torch import Tensor

from stickgen.actions import NUM_ACTIONS
from stickgen.errors import DataError
from stickgen.skeleton import SKELETONS

PHYSICS_DIM = 6
CAMERA_DIM = 3


@dataclass(frozen=True, eq=False)
class Clip:
    """One moving figure, its caption, and whatever labels its file had for it.

    Attributes:
        motion: float32 ``[T, D]``, D = 20 or 48.
        embedding: float32 ``[E]``, the text embedding of :attr:`description`.
        description: the caption.
        take: the recording the clip was cut from; splits never divide a take.
        source: id of the data set, "" where the file names none.
        actions: int64 ``[T]``, or None.
        physics: float32 ``[T, 6]``, or None.
        camera: float32 ``[T, 3]``, or None.
        partner: float32 ``[T, D]``, the other actor of a two-actor sequence, or None.
        quality: score in [0, 1], or None where the file has none.
        split: "train", "val" or "test" where the file fixes it, else None.
        index: position of the sequence in the file.
        actor: which actor of the sequence this is.
    """

    motion: Tensor
    embedding: Tensor
    description: str
    take: str
    source: str = ""
    actions: Tensor | None = None
    physics: Tensor | None = None
    camera: Tensor | None = None
    partner: Tensor | None = None
    quality: float | None = None
    split: str | None = None
    index: int = 0
    actor: int = 0

    @property
    def length(self) -> int:
        """Number of frames."""
        return self.motion.shape[0]

    @property
    def label(self) -> str:
        """Where the clip stands in its file, for messages."""
        return f"clip {self.index}" + (f" actor {self.actor}" if self.actor else "")


def clips_from_sequences(sequences: Sequence[Any], where: str) -> list[Clip]:
    """Check every sequence and make each of its moving actors a clip.

    Embeddings are all of one width; motion is as each sequence has it.

    Args:
        sequences: the dicts of the data file (docs/data.md).
        where: the file or source they come from, for messages.

    Raises:
        DataError: a sequence is not as documented; the message holds its index, the key, what was expected and
            what was found. Nothing is repaired silently.
    """
    clips: list[Clip] = []
    for index, sequence in enumerate(sequences):
        clips.extend(_clips_of(sequence, index, f"{where}: clip {index}"))
    check_one_width(clips, "embedding", where, "keep one embedding width a file")
    return clips


def _clips_of(sequence: Any, index: int, at: str) -> list[Clip]:
    if not isinstance(sequence, dict):
        raise DataError(f"{at}: a dict expected, {type(sequence).__name__} found (see docs/data.md)")
    motion = _tensor(sequence, "motion", at, torch.float32, required=True)
    assert motion is not None
    if motion.ndim not in (2, 3):
        raise DataError(f"{at}: motion: shape [T, D] or [T, A, D] expected, {list(motion.shape)} found")
    frames, dim = motion.shape[0], motion.shape[-1]
    if dim not in SKELETONS:
        known = " or ".join(str(d) for d in SKELETONS)
        raise DataError(f"{at}: motion has {dim} numbers a frame; {known} expected (see docs/data.md)")
    if frames == 0 or 0 in motion.shape:
        raise DataError(f"{at}: motion is empty (shape {list(motion.shape)}); remove the clip")
    actors = motion.shape[1] if motion.ndim == 3 else 1
    per_actor = (frames, actors) if motion.ndim == 3 else (frames,)

    embedding = _tensor(sequence, "embedding", at, torch.float32, required=True)
    assert embedding is not None
    if embedding.ndim != 1 or embedding.shape[0] == 0:
        raise DataError(f"{at}: embedding: shape [E] expected, {list(embedding.shape)} found")
    actions = _tensor(sequence, "actions", at, torch.int64, shapes=(per_actor, (frames,)))
    if actions is not None and not bool(((actions >= 0) & (actions < NUM_ACTIONS)).all()):
        worst = int(actions[(actions < 0) | (actions >= NUM_ACTIONS)].flatten()[0])
        raise DataError(f"{at}: actions: class indices 0 to {NUM_ACTIONS - 1} expected, {worst} found")
    physics = _tensor(sequence, "physics", at, torch.float32, shapes=((*per_actor, PHYSICS_DIM), (frames, PHYSICS_DIM)))
    camera = _tensor(sequence, "camera", at, torch.float32, shapes=((frames, CAMERA_DIM),))
    meta = _mapping(sequence, "meta", at)

    if motion.ndim == 2:
        tracks = {0: motion}
    else:
        # An actor that is zero throughout is a filled-up slot, not a figure.
        tracks = {a: motion[:, a] for a in range(actors) if bool(motion[:, a].any())}
        if not tracks:
            raise DataError(f"{at}: motion: every actor is zero throughout; remove the clip")
    partners: dict[int, Tensor] = {}
    if len(tracks) == 2:
        first, second = tracks
        partners = {first: tracks[second], second: tracks[first]}

    def of_actor(values: Tensor | None, actor: int, shared_ndim: int) -> Tensor | None:
        return values if values is None or values.ndim == shared_ndim else values[:, actor]

    return [
        Clip(
            motion=track,
            embedding=embedding,
            description=_text(sequence, "description", at),
            take=_take(meta, index, at),
            source=_text(sequence, "source", at, required=False),
            actions=of_actor(actions, actor, 1),
            physics=of_actor(physics, actor, 2),
            camera=camera,
            partner=partners.get(actor),
            quality=_quality(sequence, at),
            split=_split(meta, at),
            index=index,
            actor=actor,
        )
        for actor, track in tracks.items()
    ]


def _tensor(
    sequence: dict[str, Any],
    key: str,
    at: str,
    dtype: torch.dtype,
    *,
    required: bool = False,
    shapes: tuple[tuple[int, ...], ...] = (),
) -> Tensor | None:
    value = sequence.get(key)
    if value is None:
        if required:
            raise DataError(f"{at}: {key}: a tensor expected, none found (see docs/data.md)")
        return None
    if not isinstance(value, Tensor):
        raise DataError(f"{at}: {key}: a tensor expected, {type(value).__name__} found (see docs/data.md)")
    kind = _special(value)
    if kind is not None:
        raise DataError(f"{at}: {key}: a plain tensor expected, a {kind} one found")
    if value.is_floating_point() != dtype.is_floating_point or value.is_complex() or value.dtype == torch.bool:
        raise DataError(f"{at}: {key}: {dtype} expected, {value.dtype} found")
    if shapes and tuple(value.shape) not in shapes:
        expected = " or ".join(str(list(shape)) for shape in dict.fromkeys(shapes))
        raise DataError(f"{at}: {key}: shape {expected} expected, {list(value.shape)} found")
    try:
        converted = value.detach().to(dtype)
    except RuntimeError:
        raise DataError(f"{at}: {key}: {dtype} expected, {value.dtype} found") from None
    # Asked of the converted numbers: float64 holds some that float32 cannot.
    if dtype.is_floating_point and not bool(torch.isfinite(converted).all()):
        first = (~torch.isfinite(torch.atleast_1d(converted))).nonzero()[0]
        number = float(torch.atleast_1d(value.detach())[tuple(first)])
        found = f"{number:g}, beyond {dtype}," if math.isfinite(number) else "NaN or infinity"
        raise DataError(f"{at}: {key}: finite numbers expected, {found} found at position {int(first[0])}")
    return converted


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
        return value
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
        return str(value)
    # Without a take, a sequence is a take of its own; its actors always stay together.
    return f"#{index}"


def _split(meta: dict[str, Any], at: str) -> str | None:
    split = meta.get("split")
    if split is None or split in ("train", "val", "test"):
        return split
    raise DataError(f"{at}: meta.split: train, val or test expected, {split!r} found")


def check_one_width(clips: Sequence[Clip], key: Literal["motion", "embedding"], where: str, way_out: str) -> None:
    """Refuse clips of several widths, which no batch can hold.

    Args:
        clips: the clips.
        key: whose last dimension is compared.
        where: the file or source they come from, for the message.
        way_out: what to do about it, for the message.

    Raises:
        DataError: a clip is wider or narrower than the first.
    """
    for clip in clips[1:]:
        width, first = getattr(clip, key).shape[-1], getattr(clips[0], key).shape[-1]
        if width != first:
            raise DataError(
                f"{where}: {clip.label}: {key} is {width} wide, {first} expected as in {clips[0].label}; {way_out}"
            )
