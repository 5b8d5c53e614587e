"""What a training clip is made into before it is shown: other views and paces of the same motion, and disturbed input.

A :class:`Variation` is drawn from seed, epoch and clip alone, so that a resumed run, another number of workers and
another division into micro-batches show the same clips. It is drawn before the clip's numbers are needed, since the
step's target counts depend on its length.
"""

import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from stickgen.config import AugmentConfig
from stickgen.data.clips import Clip, ClipInfo
from stickgen.data.loops import Loop, continued, find_loop
from stickgen.data.physics import body_physics
from stickgen.data.projection import resample
from stickgen.skeleton import FPS, Skeleton, rest_pose, skeleton_of

MIN_FRAMES = 25
"""Frames that cropping leaves at least, and that a clip needs for a change of pace."""

REST_FRAMES = (1, 4)
"""Fewest and most frames of rest before a clip that starts from rest. A rollout from rest is given one; the longer the
rest may last, the less a model can tell when to set off, and it may never."""

BLEND_FRAMES = 12
"""Frames from the end of the rest to the clip's own first frame: half a second, as people set off."""

_SIDES = re.compile(r"\b(left|right)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Variation:
    """How one clip is varied in one epoch; the defaults leave it as it is.

    Attributes:
        loop: cycle through which the clip is continued, or None.
        loop_frames: its frames then.
        start: first frame kept.
        speed: pace, 2 for twice as fast.
        frames: most frames kept, after the change of pace.
        mirror: x → −x, and left and right limbs exchanged.
        swap_sides: left and right limbs exchanged, x as it is.
        scale: size, about the ground at x = 0.
        shift: added to x, in body heights.
        rest: frames of rest before the clip; none where 0.
        drop_text: zeros in the place of the text embedding.
        noise: size of the white noise in the input, in body heights.
        drift: size of the drift, likewise (stickgen/data/disturb.py).
        noise_seed: of both.
    """

    loop: Loop | None = None
    loop_frames: int = 0
    start: int = 0
    speed: float = 1.0
    frames: int | None = None
    mirror: bool = False
    swap_sides: bool = False
    scale: float = 1.0
    shift: float = 0.0
    rest: int = 0
    drop_text: bool = False
    noise: float = 0.0
    drift: float = 0.0
    noise_seed: int = 0

    def length(self, frames: int) -> int:
        """Return how many frames a clip of ``frames`` has afterwards."""
        left = (self.loop_frames if self.loop else frames) - self.start
        if self.speed != 1:
            left = resampled_length(left, self.speed)
        if self.rest:
            left += self.rest + BLEND_FRAMES
        return left if self.frames is None else min(left, self.frames)

    @property
    def moves(self) -> bool:
        """Whether anything but the text and the input noise is changed."""
        return replace(self, drop_text=False, noise=0.0, drift=0.0, noise_seed=0) != Variation(frames=self.frames)


@dataclass(frozen=True)
class Varying:
    """Draws variations.

    Attributes:
        augment: the shares and sizes.
        max_frames: most frames of a varied clip.
        drop_text: share of clips without their text.
        input_noise: largest noise in the input, in body heights; half of the clips have none.
        input_drift: largest drift of the input, likewise, in the same clips.
        seed: of the draws.
    """

    augment: AugmentConfig
    max_frames: int
    drop_text: float = 0.0
    input_noise: float = 0.0
    input_drift: float = 0.0
    seed: int = 0
    _loops: dict[int, Loop | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def active(self) -> bool:
        """Whether any clip is ever changed."""
        return self.augment != AugmentConfig() or max(self.drop_text, self.input_noise, self.input_drift) > 0

    def draw(
        self, clip: Clip | ClipInfo, index: int, epoch: int, read: Callable[[int], Clip] | None = None
    ) -> Variation:
        """Draw the variation of the clip at a position, in an epoch; ``read`` gives an unread clip where it must be."""
        rng = np.random.default_rng([self.seed, epoch, index, 1])
        # Every number is drawn whatever is asked for, so that turning one setting leaves the others' draws alone.
        start, pace, size, place, until, *chances = rng.uniform(size=11)
        rest = int(rng.integers(REST_FRAMES[0], REST_FRAMES[1] + 1))
        level, noise_seed = max(2 * rng.uniform() - 1, 0.0), int(rng.integers(2**63))
        goes_on, crop, mirror, swap, rests, drop = chances
        settings = self.augment
        loop = self._loop_of(clip, index, read) if goes_on < settings.loop else None
        sided = bool(_SIDES.search(clip.description))  # its caption would name the wrong side
        room = min(clip.length // 2, max(clip.length - MIN_FRAMES, 0))
        return Variation(
            loop=loop,
            loop_frames=clip.length + int(until * max(self.max_frames - clip.length + 1, 0)) if loop else 0,
            start=int(start * (room + 1)) if crop < settings.crop else 0,
            speed=_between(pace, settings.speed) if clip.length >= MIN_FRAMES else 1.0,
            frames=self.max_frames,
            mirror=mirror < settings.mirror and not sided,
            swap_sides=swap < settings.swap_sides and not sided,
            scale=_between(size, settings.scale),
            shift=settings.shift * (2 * place - 1),
            rest=rest if rests < settings.rest_start else 0,
            drop_text=drop < self.drop_text,
            noise=level * self.input_noise,
            drift=level * self.input_drift,
            noise_seed=noise_seed,
        )

    def _loop_of(self, clip: Clip | ClipInfo, index: int, read: Callable[[int], Clip] | None) -> Loop | None:
        # A partner or a camera would have to come along, and neither repeats itself with the figure.
        if clip.partner is not None or clip.has_camera:
            return None
        if index not in self._loops:
            whole = clip if isinstance(clip, Clip) else cast("Callable[[int], Clip]", read)(index)
            self._loops[index] = find_loop(whole.motion)
        return self._loops[index]


def vary(clip: Clip, variation: Variation) -> Clip:
    """Return the clip as the variation makes it, without its input noise.

    Partner and camera go with the figure; physics, where a clip has it, is computed anew from the motion
    (:func:`~stickgen.data.physics.body_physics`), so it fits whatever was done to it.
    """
    if variation.drop_text:
        clip = replace(clip, embedding=torch.zeros_like(clip.embedding))
    if not variation.moves:
        return clip
    motion = _figure(clip.motion, variation)
    tracks: dict[str, Any] = {"motion": motion}
    if clip.partner is not None:
        tracks["partner"] = _figure(clip.partner, variation, rests=False)
    if clip.camera is not None:
        tracks["camera"] = _camera(clip.camera, variation)
    if clip.actions is not None:
        tracks["actions"] = _labels(clip.actions, variation)
    if clip.physics is not None:
        tracks["physics"] = torch.from_numpy(body_physics(motion.numpy()))
    return replace(clip, **tracks)


def resampled_length(frames: int, speed: float) -> int:
    """Return how many frames a clip has at another pace; see :func:`~stickgen.data.projection.resample`."""
    return math.floor((frames - 1) / speed + 1e-3) + 1 if frames > 1 else frames


def mirrored(motion: Tensor) -> Tensor:
    """Show frames ``[..., D]`` in a mirror: x → −x, and left and right limbs exchanged."""
    flipped = motion.clone()
    flipped[..., 0::2] *= -1
    return sides_swapped(flipped)


def sides_swapped(motion: Tensor) -> Tensor:
    """Exchange left and right limbs of frames ``[..., D]``: the mirror image of the body, seen from the same side."""
    return motion[..., _swap_order(skeleton_of(motion.shape[-1]))]


@functools.cache
def _swap_order(skeleton: Skeleton) -> list[int]:
    """Return, for every number of a frame, the position of the one that takes its place."""

    def other(joint: str) -> str:
        side, _, rest = joint.partition("_")
        return f"{ {'left': 'right', 'right': 'left'}[side] }_{rest}" if side in ("left", "right") else joint

    ends = [(segment.start, segment.end) for segment in skeleton.segments]
    order: list[int] = []
    for start, end in ends:
        swapped = (other(start), other(end))
        # The pelvis runs from one side to the other: its mirror image is itself, end for end.
        at = 4 * ends.index(swapped if swapped in ends else swapped[::-1])
        order += [at, at + 1, at + 2, at + 3] if swapped in ends else [at + 2, at + 3, at, at + 1]
    return order


def _figure(motion: Tensor, variation: Variation, *, rests: bool = True) -> Tensor:
    if variation.loop is not None:
        motion = continued(motion, variation.loop, variation.loop_frames)
    motion = _paced(motion, variation)
    if variation.mirror:
        motion = mirrored(motion)
    if variation.swap_sides:
        motion = sides_swapped(motion)
    if variation.rest:
        motion = _from_rest(motion, variation.rest) if rests else _held(motion, variation)
    motion = motion[: variation.frames] * variation.scale
    motion[:, 0::2] += variation.shift
    return motion


def _camera(camera: Tensor, variation: Variation) -> Tensor:
    camera = _held(_paced(camera, variation), variation)[: variation.frames].clone()
    camera[:, :2] *= variation.scale
    if variation.mirror:
        camera[:, 0] *= -1
    camera[:, 0] += variation.shift
    return camera


def _labels(actions: Tensor, variation: Variation) -> Tensor:
    if variation.loop is not None:
        loop, frames = variation.loop, torch.arange(variation.loop_frames)
        actions = actions[
            torch.where(frames < loop.end, frames, loop.start + (frames - loop.end) % (loop.end - loop.start))
        ]
    kept = actions[variation.start :]
    if variation.speed != 1:
        nearest = torch.arange(resampled_length(len(kept), variation.speed)) * variation.speed
        kept = kept[nearest.round().long().clamp(max=len(kept) - 1)]
    return _held(kept, variation)[: variation.frames]


def _paced(track: Tensor, variation: Variation) -> Tensor:
    track = track[variation.start :]
    if variation.speed == 1:
        return track
    values = resample(track.double().numpy()[..., None], FPS * variation.speed)
    return torch.from_numpy(values[..., 0].astype(np.float32))


def _held(track: Tensor, variation: Variation) -> Tensor:
    """Return a track with its first value held while the figure rests and sets off."""
    if not variation.rest:
        return track
    return torch.cat((track[:1].expand(variation.rest + BLEND_FRAMES, *track.shape[1:]), track))


def _from_rest(motion: Tensor, rest: int) -> Tensor:
    """Let the figure stand at rest below its first frame, then move into it."""
    skeleton = skeleton_of(motion.shape[1])
    standing = torch.tensor(rest_pose(motion.shape[1])).to(motion)
    pelvis = skeleton.joint("pelvis")
    standing[0::2] += skeleton.to_joints(motion[0])[pelvis, 0] - skeleton.to_joints(standing)[pelvis, 0]
    # Smoothstep: it sets off and arrives without a jerk.
    u = torch.arange(1, BLEND_FRAMES + 1) / (BLEND_FRAMES + 1)
    weight = (u * u * (3 - 2 * u))[:, None]
    # On the way it goes on as the clip does, so that it arrives at the clip's own speed.
    back = motion[0] - (motion[1] - motion[0]) * torch.arange(BLEND_FRAMES, 0, -1)[:, None]
    return torch.cat((standing.expand(rest, -1), torch.lerp(standing, back, weight), motion))


def _between(at: float, largest: float) -> float:
    """Return a factor between 1/largest and largest, evenly in its logarithm, for ``at`` in [0, 1)."""
    return largest ** (2 * at - 1)
