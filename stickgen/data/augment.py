"""What a training clip is made into before it is shown: mirrored, at another pace and size, going on, starting anew."""

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stickgen.data.clips import Clip
from stickgen.data.loops import Loop, continued
from stickgen.model.motion_code import motion_code, with_code, without
from stickgen.motion.bones import at_rest, bone_shares
from stickgen.motion.physics import body_physics
from stickgen.motion.resampling import resample
from stickgen.motion.skeleton import FPS, Skeleton, other_side, skeleton_of

BLEND_FRAMES = 12
"""Frames from the end of the rest to the clip's own first frame: half a second, as people set off."""


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
        drift: size of the drift, likewise (stickgen/data/input_noise.py).
        uneven: it is read at an uneven pace (stickgen/data/uneven.py).
        noise_seed: of all three.
        code_summary: the clip's motion as a whole is described at the end of the text embedding.
        code_start: its beginning is.
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
    uneven: bool = False
    noise_seed: int = 0
    code_summary: bool = False
    code_start: bool = False

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
        undisturbed = replace(self, drop_text=False, noise=0.0, drift=0.0, uneven=False, noise_seed=0)
        return replace(undisturbed, code_summary=False, code_start=False) != Variation(frames=self.frames)

    @property
    def disturbs(self) -> bool:
        """Whether the clip is read otherwise than it is asked for."""
        return bool(self.noise or self.drift or self.uneven)


def vary(clip: Clip, variation: Variation) -> Clip:
    """Return the clip as the variation makes it, without what disturbs its input.

    Partner and camera go with the figure; physics, where a clip has it, is computed anew from the motion
    (:func:`~stickgen.motion.physics.body_physics`), so it fits whatever was done to it.
    """
    if variation.drop_text:
        clip = replace(clip, embedding=torch.zeros_like(clip.embedding))
    if variation.moves:
        clip = _moved(clip, variation)
    if variation.code_summary or variation.code_start:
        # The way out of the rest is the same for all; what follows it is what is described.
        begins = variation.rest + BLEND_FRAMES if variation.rest else 0
        code = motion_code(clip.motion[min(begins, clip.length - 1) :])
        code = without(code, summary=not variation.code_summary, start=not variation.code_start)
        clip = replace(clip, embedding=with_code(clip.embedding, code))
    return clip


def _moved(clip: Clip, variation: Variation) -> Clip:
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
    """Return how many frames a clip has at another pace; see :func:`~stickgen.motion.resampling.resample`."""
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
    ends = [(segment.start, segment.end) for segment in skeleton.segments]
    order: list[int] = []
    for start, end in ends:
        swapped = (other_side(start), other_side(end))
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
    standing = at_rest(motion.shape[1], bone_shares(motion)).to(motion)
    pelvis = skeleton.joint("pelvis")
    standing[0::2] += skeleton.to_joints(motion[0])[pelvis, 0] - skeleton.to_joints(standing)[pelvis, 0]
    # Smoothstep: it sets off and arrives without a jerk.
    u = torch.arange(1, BLEND_FRAMES + 1) / (BLEND_FRAMES + 1)
    weight = (u * u * (3 - 2 * u))[:, None]
    # On the way it goes on as the clip does, so that it arrives at the clip's own speed.
    back = motion[0] - (motion[1] - motion[0]) * torch.arange(BLEND_FRAMES, 0, -1)[:, None]
    return torch.cat((standing.expand(rest, -1), torch.lerp(standing, back, weight), motion))
