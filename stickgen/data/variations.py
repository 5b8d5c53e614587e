"""Which clip is varied how in which epoch: a function of seed, epoch and position alone.

With ``data.augment.variants``, the variations of so many epochs return in turn. So a resumed run, another number of
workers and another division into micro-batches show the same clips. A variation is drawn before the clip's numbers are
needed, since the step's target counts depend on its length.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from torch import Tensor

from stickgen.config import AugmentConfig
from stickgen.data.augment import Variation
from stickgen.data.clips import Clip, ClipInfo
from stickgen.data.loops import Loop, find_loop
from stickgen.motion.skeleton import skeleton_of

MIN_FRAMES = 25
"""Frames that cropping leaves at least, and that a clip needs for a change of pace."""

REST_FRAMES = (1, 4)
"""Fewest and most frames of rest before a clip that starts from rest. A rollout from rest is given one; the longer the
rest may last, the less a model can tell when to set off, and it may never."""

CODE_SUMMARY, CODE_START = 0.9, 0.6
"""Shares of clips that are given the two parts of their motion code: a base has to do without either."""

LEAVING = 0.3
"""Body heights along x beyond which a clip leads to one side."""

_SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Varying:
    """Draws variations.

    Attributes:
        augment: the shares and sizes.
        max_frames: most frames of a varied clip.
        drop_text: share of clips without their text.
        input_noise: largest noise in the input, in body heights; half of the clips have none.
        input_drift: largest drift of the input, likewise, in the same clips.
        input_pace: share of clips that are read at an uneven pace.
        codes: whether clips carry a description of their motion at the end of their embedding.
        seed: of the draws.
    """

    augment: AugmentConfig
    max_frames: int
    drop_text: float = 0.0
    input_noise: float = 0.0
    input_drift: float = 0.0
    input_pace: float = 0.0
    seed: int = 0
    codes: bool = False
    _loops: dict[int, Loop | None] = field(default_factory=dict, init=False, repr=False, compare=False)
    _starts: dict[int, tuple[int, bool]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def active(self) -> bool:
        """Whether any clip is ever changed."""
        shown = max(self.drop_text, self.input_noise, self.input_drift, self.input_pace) > 0
        return self.codes or shown or replace(self.augment, variants=None) != AugmentConfig()

    @property
    def variants(self) -> int | None:
        """How many variations of a clip there are; None where every epoch has others."""
        return self.augment.variants if self.active else 1

    def variant(self, epoch: int) -> int:
        """Return the number of the variations that an epoch shows."""
        return epoch % self.augment.variants if self.augment.variants else epoch

    def draw(
        self, clip: Clip | ClipInfo, index: int, epoch: int, read: Callable[[int], Clip] | None = None
    ) -> Variation:
        """Draw the variation of the clip at a position, in an epoch; ``read`` gives an unread clip where it must be."""
        rng = np.random.default_rng([self.seed, self.variant(epoch), index, 1])
        # Every number is drawn whatever is asked for, so that turning one setting leaves the others' draws alone.
        start, pace, size, place, until, *chances = rng.uniform(size=11)
        rest = int(rng.integers(REST_FRAMES[0], REST_FRAMES[1] + 1))
        level, noise_seed = max(2 * rng.uniform() - 1, 0.0), int(rng.integers(2**63))
        goes_on, crop, mirror, swap, rests, drop = chances
        summary, beginning, pacing = rng.uniform(size=3)
        settings = self.augment
        from_rest = rests < settings.rest_start
        loop = (
            self._loop_of(clip, index, read) if goes_on < (settings.loop > 0 if from_rest else settings.loop) else None
        )
        sided = bool(_SIDES.search(clip.description))  # its caption would name the wrong side
        room = min(clip.length // 2, max(clip.length - MIN_FRAMES, 0))
        first = int(start * (room + 1)) if crop < settings.crop else 0
        turned, exchanged = mirror < settings.mirror and not sided, swap < settings.swap_sides and not sided
        if from_rest:
            first, back = self._rest_start(clip, index, read, loop.end - 1 if loop else room)
            turned, exchanged = back and not sided, False
        longest = max(self.max_frames - clip.length - first + 1, 0)
        return Variation(
            loop=loop,
            loop_frames=clip.length + first + int(until * longest) if loop else 0,
            start=first,
            speed=_between(pace, settings.speed) if clip.length >= MIN_FRAMES else 1.0,
            frames=self.max_frames,
            mirror=turned,
            swap_sides=exchanged,
            scale=_between(size, settings.scale),
            shift=settings.shift * (2 * place - 1),
            rest=rest if from_rest else 0,
            drop_text=drop < self.drop_text,
            noise=level * self.input_noise,
            drift=level * self.input_drift,
            uneven=pacing < self.input_pace,
            noise_seed=noise_seed,
            code_summary=self.codes and summary < CODE_SUMMARY,
            code_start=self.codes and beginning < CODE_START,
        )

    def _loop_of(self, clip: Clip | ClipInfo, index: int, read: Callable[[int], Clip] | None) -> Loop | None:
        # A partner or a camera would have to come along, and neither repeats itself with the figure.
        if clip.partner is not None or clip.has_camera:
            return None
        if index not in self._loops:
            self._loops[index] = find_loop(_whole(clip, index, read).motion)
        return self._loops[index]

    def _rest_start(
        self, clip: Clip | ClipInfo, index: int, read: Callable[[int], Clip] | None, room: int
    ) -> tuple[int, bool]:
        if index not in self._starts:
            self._starts[index] = rest_start(_whole(clip, index, read).motion, room)
        return self._starts[index]


def rest_start(motion: Tensor, room: int) -> tuple[int, bool]:
    """Return where a clip ``[T, D]`` that starts from rest begins, and whether it is turned round for it.

    It goes to +x and with the left foot first. A figure at rest does not show what it will do, and a model that
    minimises squared errors answers with the mean of all it has seen, which for strides is to glide with the legs
    together; so from rest there is one way only. Clips that stay where they are begin with their first frame.

    Args:
        motion: the clip.
        room: the last frame it may begin with.
    """
    skeleton = skeleton_of(motion.shape[1])
    x = skeleton.to_joints(motion)[..., 0]
    ahead = x[: room + 1, skeleton.joint("left_ankle")] - x[: room + 1, skeleton.joint("right_ankle")]
    pelvis = x[:, skeleton.joint("pelvis")]
    came = float(pelvis[-1] - pelvis[0])
    # A mirror image has its sides exchanged as well, so the same foot is ahead of the other in it.
    return int(ahead.argmax()) if abs(came) > LEAVING else 0, came < -LEAVING


def _whole(clip: Clip | ClipInfo, index: int, read: Callable[[int], Clip] | None) -> Clip:
    return clip if isinstance(clip, Clip) else cast("Callable[[int], Clip]", read)(index)


def _between(at: float, largest: float) -> float:
    """Return a factor between 1/largest and largest, evenly in its logarithm, for ``at`` in [0, 1)."""
    return largest ** (2 * at - 1)
