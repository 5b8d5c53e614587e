"""A motion to be shown, and the lines that a figure is drawn with."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from stickgen.errors import DataError
from stickgen.motion.skeleton import Skeleton, skeleton_of

_HEAD_ABOVE_NECK = 0.1
"""Of a body 1 high; see :func:`stickgen.motion.skeleton.rest_pose`."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One motion of a picture.

    Attributes:
        motion: ``[T, D]``, or ``[T, A, D]`` with A actors; D = 20 or 48. A NumPy array, or what becomes one, as a
            tensor on the CPU.
        label: whose motion it is, such as a model's name.
        caption: what it shows; neighbours with the same caption stand side by side under it.
        given: how many first frames were given, not generated; they are drawn faded.
        actions: names of the actions of the T frames, where known.

    Raises:
        DataError: the motion has another shape, no frame, or numbers that are not finite; ``actions`` does not fit it.
    """

    motion: Any
    label: str = ""
    caption: str = ""
    given: int = 0
    actions: Sequence[str] = ()

    def __post_init__(self) -> None:
        motion = np.asarray(self.motion, dtype=np.float32)
        object.__setattr__(self, "motion", motion)
        name = self.label or self.caption or "panel"
        if motion.ndim not in (2, 3) or 0 in motion.shape:
            raise DataError(f"{name}: motion: shape [T, D] or [T, A, D] expected, {list(motion.shape)} found")
        skeleton_of(motion.shape[-1])
        bad = ~np.isfinite(motion.reshape(len(motion), -1)).all(axis=1)
        if bad.any():
            raise DataError(f"{name}: motion: frame {int(bad.argmax())} is not finite")
        if self.actions and len(self.actions) != len(motion):
            raise DataError(f"{name}: actions: {len(self.actions)} for {len(motion)} frames")

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return len(self.motion)

    @property
    def skeleton(self) -> Skeleton:
        """The figure."""
        return skeleton_of(self.motion.shape[-1])

    @cached_property
    def actors(self) -> np.ndarray:
        """The motion as ``[T, A, D]``."""
        return self.motion.reshape(self.frames, -1, self.motion.shape[-1]).astype(np.float64)

    @cached_property
    def joints(self) -> np.ndarray:
        """The joints ``[T, A, J, 2]``."""
        return self.skeleton.to_joints(self.actors)

    @cached_property
    def heads(self) -> np.ndarray:
        """The middle of the heads ``[T, A, 2]``; where the figure has none, it goes on from the torso."""
        if "head" in self.skeleton.joints:
            return self._joint("head")
        neck = self._joint("neck")
        up = neck - self._joint("pelvis")
        length = np.linalg.norm(up, axis=-1, keepdims=True)
        direction = np.where(length > 1e-6, up / np.maximum(length, 1e-6), [0.0, 1.0])
        return neck + _HEAD_ABOVE_NECK * direction

    @cached_property
    def named_lines(self) -> list[tuple[str, str, np.ndarray]]:
        """The lines of a figure from back to front: name, limb, ends ``[T, A, 2, 2]``.

        Left before right: someone who walks to the right shows their right side. Beside the segments, the shoulders of
        the 12-segment figure are joined, for its arms not to float, and the head of the other one to its neck.
        """
        ends = self.actors.reshape(*self.actors.shape[:2], -1, 2, 2)
        lines = [(s.name, limb_of(s.name), ends[:, :, i]) for i, s in enumerate(self.skeleton.segments)]
        if "left_shoulder" in self.skeleton.joints:
            shoulders = [self._joint("left_shoulder"), self._joint("right_shoulder")]
            lines.append(("shoulders", "body", np.stack(shoulders, axis=2)))
        if "head" not in self.skeleton.joints:
            lines.append(("head", "body", np.stack([self._joint("neck"), self.heads], axis=2)))
        order = ("left_arm", "left_leg", "body", "right_leg", "right_arm")
        return sorted(lines, key=lambda line: order.index(line[1]))

    @property
    def lines(self) -> list[tuple[str, np.ndarray]]:
        """Limb and ends of the :attr:`named_lines`."""
        return [(limb, ends) for _, limb, ends in self.named_lines]

    @cached_property
    def tips(self) -> list[tuple[str, np.ndarray]]:
        """What trails follow: limb, points ``[T, A, 2]`` of hands and feet."""
        return [
            (f"{side}_{limb}", self._joint(f"{side}_{joint}"))
            for side in ("left", "right")
            for limb, joint in (("arm", "wrist"), ("leg", "ankle"))
        ]

    def _joint(self, name: str) -> np.ndarray:
        return self.joints[:, :, self.skeleton.joint(name)]


def limb_of(segment: str) -> str:
    """Return the limb that a segment of either figure is drawn as: "body", "left_arm", "left_leg", …."""
    side, _, part = segment.partition("_")
    if side not in ("left", "right"):
        return "body"
    return f"{side}_arm" if part in ("arm", "upper_arm", "forearm") else f"{side}_leg"
