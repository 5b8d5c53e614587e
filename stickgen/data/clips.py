"""Clips: one moving figure each, in memory, and what is known of one while its numbers still lie on the disk."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stickgen.digests import short_digest
from stickgen.errors import DataError
from stickgen.untrusted import check_text

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
        style: how the action is performed ("tired"), "" where the file names none.
        subject: who moves, "" where the file names none.
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
    style: str = ""
    subject: str = ""

    @property
    def length(self) -> int:
        """Number of frames."""
        return self.motion.shape[0]

    @property
    def with_partner(self) -> Tensor:
        """All that moves: ``[T, D]``, or ``[T, 2, D]`` with a partner."""
        return self.motion if self.partner is None else torch.stack((self.motion, self.partner), dim=1)

    def first(self, frames: int) -> "Clip":
        """Return the clip cut to at most so many frames."""
        tracks = ("motion", "actions", "physics", "camera", "partner")
        return replace(self, **{name: t[:frames] for name in tracks if (t := getattr(self, name)) is not None})

    @property
    def action_counts(self) -> dict[int, int] | None:
        """See :class:`ClipInfo`."""
        return None if self.actions is None else count_actions(self.actions.tolist())

    @property
    def has_actions(self) -> bool:
        """Whether frames have action labels."""
        return self.actions is not None

    @property
    def has_physics(self) -> bool:
        """Whether frames have physics."""
        return self.physics is not None

    @property
    def has_camera(self) -> bool:
        """Whether the clip has a camera."""
        return self.camera is not None


def counted(count: int, noun: str) -> str:
    """Return a count in words, as "1 clip" or "2 clips"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def amount(clips: int, takes: int, frames: int) -> str:
    """Return how much motion there is, as "16 clips of 6 takes, 1,600 frames"."""
    return f"{counted(clips, 'clip')} of {counted(takes, 'take')}, {counted(frames, 'frame')}"


@dataclass(frozen=True, eq=False, slots=True)
class ClipInfo:
    """What filters, splits and batch plans need to know of a clip; it is had without reading the clip's motion.

    Attributes:
        position: of the clip in its :class:`~stickgen.data.stores.ClipStore`.
        length: number of frames T.
        dim: numbers a frame D, 20 or 48.
        width: numbers of the text embedding E.
        action_counts: action label → frames, in the order of their first frames; None without labels.
        has_physics: whether the clip has physics.
        has_camera: whether the clip has a camera.
        partner: position of the clip of the other actor, or None.

    The others are those of :class:`Clip`.
    """

    position: int
    length: int
    dim: int
    width: int
    description: str
    take: str
    source: str = ""
    action_counts: dict[int, int] | None = None
    has_physics: bool = False
    has_camera: bool = False
    partner: int | None = None
    quality: float | None = None
    split: str | None = None
    index: int = 0
    actor: int = 0
    style: str = ""
    subject: str = ""

    @property
    def has_actions(self) -> bool:
        """Whether frames have action labels."""
        return self.action_counts is not None

    @property
    def main_action(self) -> int | None:
        """The label of most frames, the smallest of several; None without labels."""
        counts = self.action_counts or {}
        return min(counts, key=lambda action: (-counts[action], action), default=None)

    @property
    def label(self) -> str:
        """Where the clip stands in its file, for messages."""
        return f"clip {self.index}" + (f" actor {self.actor}" if self.actor else "")


def count_actions(labels: Iterable[int]) -> dict[int, int]:
    """Return label → frames of the labels of T frames, in the order of their first ones."""
    return dict(Counter(labels))


def clip_digest(motion: Tensor, description: str) -> str:
    """Return a digest of a clip's motion ``[T, D]`` and caption, 16 hexadecimal digits."""
    return short_digest(
        motion.float(), torch.frombuffer(bytearray(description.encode()) or bytearray(1), dtype=torch.uint8)
    )


def check_finite(track: Tensor, given: Tensor, key: str, at: str) -> Tensor:
    """Return a float32 track, refusing NaN, infinity and what float32 cannot hold.

    Args:
        track: the numbers.
        given: those they were converted from.
        key: what they are, for the message.
        at: where they stand, for the message.

    Raises:
        DataError: a number is not finite.
    """
    if bool(torch.isfinite(track).all()):
        return track
    first = (~torch.isfinite(track)).nonzero()[0]
    number = float(given.detach()[tuple(first)])
    # float64 holds numbers that float32 cannot.
    found = "NaN or infinity" if not -float("inf") < number < float("inf") else f"{number:g}, beyond {track.dtype},"
    raise DataError(f"{at}: {key}: finite numbers expected, {found} found at position {int(first[0])}")


def checked_text(text: str, at: str) -> str:
    """Return a text, refusing what no file could hold.

    Raises:
        DataError: it is not valid Unicode; the message begins with ``at``.
    """
    try:
        check_text(text)
    except ValueError as error:
        raise DataError(f"{at}: {error}") from None
    return text
