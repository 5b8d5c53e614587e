"""Batches: clips of different lengths side by side, and the counts that make a loss independent of how they lie."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stickgen.data.clips import PHYSICS_DIM, Clip, ClipInfo

NO_ACTION = -100
"""Label of frames without one: padding, and clips whose file has no actions."""

STILL_CAMERA = (0.0, 0.0, 1.0)
"""Camera at the origin, zoom 1: what a clip without camera data is given."""


@dataclass(frozen=True)
class TargetCounts:
    """How many targets a set of clips has. A clip's targets are its frames 1 to T − 1, predicted from 0 to T − 2.

    Attributes:
        frames: target frames.
        pairs: neighbouring target frames, for terms on first differences.
        action_frames: target frames with an action label.
        physics_frames: target frames with physics.
        physics_pairs: neighbouring target frames with physics.
    """

    frames: int = 0
    pairs: int = 0
    action_frames: int = 0
    physics_frames: int = 0
    physics_pairs: int = 0

    @classmethod
    def of(cls, clips: Sequence[Clip | ClipInfo], lengths: Sequence[int] | None = None) -> "TargetCounts":
        """Count the targets of clips, where given with other lengths than their own."""
        lengths = [clip.length for clip in clips] if lengths is None else lengths
        labelled = ([getattr(clip, name) for clip in clips] for name in ("has_actions", "has_physics"))
        return cls.of_columns(np.array(lengths, dtype=np.int64), *(np.array(has, dtype=bool) for has in labelled))

    @classmethod
    def of_columns(cls, lengths: np.ndarray, has_actions: np.ndarray, has_physics: np.ndarray) -> "TargetCounts":
        """Count the targets of clips by their lengths and labels, each ``[n]``."""
        frames, pairs = lengths - 1, np.maximum(lengths - 2, 0)
        return cls(
            frames=int(frames.sum()),
            pairs=int(pairs.sum()),
            action_frames=int(frames[has_actions].sum()),
            physics_frames=int(frames[has_physics].sum()),
            physics_pairs=int(pairs[has_physics].sum()),
        )


@dataclass(frozen=True, eq=False)
class Batch:
    """Clips of one forward pass, sequence first, padded at the end to the longest.

    Attributes:
        motion: float32 ``[T, B, D]``, zero in the padding.
        embedding: float32 ``[B, E]``.
        padding_mask: bool ``[B, T]``, True in the padding.
        actions: int64 ``[T, B]``, :data:`NO_ACTION` where there is no label.
        physics: float32 ``[T, B, 6]``, zero where there is none.
        has_physics: bool ``[B]``.
        camera: float32 ``[T, B, 3]``, or None where it is not a condition.
        partner: float32 ``[T, B, D]``, or None where it is not a condition.
        step_counts: targets of all clips of the optimizer step this batch belongs to.
        ends_step: whether this is the step's last batch.
        feed_actions: whether this step is given the action labels as input.
        input_offset: float32 ``[T, B, D]``, added to the motion where it is read, or None.
        target_offset: the same, where it is asked for.
        clip_steps: float32 ``[T, B, D]``, how the clips go on from each frame at their own pace;
            None: as ``motion`` does.
        counted: whether its targets count; not in a batch that only keeps a process in step with the others.
        hidden: float32 ``[B, T, d]``, what the frozen layers give for the text and frames 0 to T − 2, where that is
            stored (:mod:`stickgen.data.hidden`).
        hidden_layers: how many layers those are.
    """

    motion: Tensor
    embedding: Tensor
    padding_mask: Tensor
    actions: Tensor
    physics: Tensor
    has_physics: Tensor
    camera: Tensor | None
    partner: Tensor | None
    step_counts: TargetCounts
    ends_step: bool = True
    feed_actions: bool = False
    input_offset: Tensor | None = None
    target_offset: Tensor | None = None
    clip_steps: Tensor | None = None
    counted: bool = True
    hidden: Tensor | None = None
    hidden_layers: int = 0

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """Return the batch with its tensors on a device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """Return the batch in page-locked memory, for faster copies to a GPU."""
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, move) -> "Batch":  # type: ignore[no-untyped-def]
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: move(value) for name, value in values.items() if isinstance(value, Tensor)})


def collate(
    clips: Sequence[Clip],
    conditions: Sequence[str] = (),
    *,
    step_counts: TargetCounts | None = None,
    ends_step: bool = True,
    feed_actions: bool = False,
    counted: bool = True,
) -> Batch:
    """Lay clips side by side.

    Args:
        clips: at least one; all of one width.
        conditions: "camera" and "partner" where the model is to be given them; a clip without gets a still camera
            or an absent (zero) partner.
        step_counts: see :class:`Batch`; by default these clips are a step of their own.
        ends_step: see :class:`Batch`.
        feed_actions: see :class:`Batch`.
        counted: see :class:`Batch`.
    """
    lengths = torch.tensor([clip.length for clip in clips])
    motion = pad_sequence([clip.motion for clip in clips])

    def padded(name: str, missing: Tensor, fill: float = 0.0) -> Tensor:
        tracks = [getattr(clip, name) for clip in clips]
        filled = [
            missing.expand(clip.length, *missing.shape) if track is None else track
            for clip, track in zip(clips, tracks, strict=True)
        ]
        return pad_sequence(filled, padding_value=fill)

    return Batch(
        motion=motion,
        embedding=torch.stack([clip.embedding for clip in clips]),
        padding_mask=torch.arange(motion.shape[0]) >= lengths[:, None],
        actions=padded("actions", torch.tensor(NO_ACTION), fill=NO_ACTION),
        physics=padded("physics", torch.zeros(PHYSICS_DIM)),
        has_physics=torch.tensor([clip.has_physics for clip in clips]),
        camera=padded("camera", torch.tensor(STILL_CAMERA)) if "camera" in conditions else None,
        partner=padded("partner", torch.zeros(motion.shape[-1])) if "partner" in conditions else None,
        step_counts=step_counts or TargetCounts.of(clips),
        ends_step=ends_step,
        feed_actions=feed_actions,
        counted=counted,
    )
