"""What a model may be given beside the text, frame by frame: an action, a camera, the other figure."""

import math

import torch
from torch import Tensor

from stickgen.artifacts.model import LoadedModel
from stickgen.data.batch import STILL_CAMERA
from stickgen.errors import ConfigError, DataError
from stickgen.motion.actions import ACTIONS, action_index
from stickgen.motion.skeleton import FPS


def read_actions(text: str, frames: int) -> Tensor:
    """Return the action of each frame, int64 ``[frames]``, that a text asks for.

    Args:
        text: an action, or several with the seconds that each takes, as ``walk:2,wave:1.5,walk``; the last goes on.
        frames: how many.

    Raises:
        ConfigError: an action or a time is none, one but the last has no time, or one would have no frame.
    """
    track = torch.empty(frames, dtype=torch.int64)
    parts = text.split(",")
    start = 0
    for number, part in enumerate(parts):
        name, _, seconds = part.strip().partition(":")
        last = number == len(parts) - 1
        if not name or bool(seconds) == last:
            raise ConfigError(f"action={text}: walk, or walk:2,wave:1,walk expected: seconds of each but the last")
        try:
            action = action_index(name)
        except DataError:
            raise ConfigError(f"action={text}: {name!r} is none; there are {', '.join(ACTIONS)}") from None
        if start >= frames:
            raise ConfigError(f"action={text}: {name} would begin after the {frames / FPS:g} s that are generated")
        length = frames if last else round(_number(f"action={text}", seconds, positive=True) * FPS)
        if length == 0:
            raise ConfigError(f"action={text}: {name} for {seconds} s is less than a frame of {1 / FPS:g} s")
        track[start:] = action
        start += length
    return track


def read_cameras(text: str, frames: int) -> Tensor:
    """Return the camera of each frame, float32 ``[frames, 3]``: x, y, zoom.

    Args:
        text: ``x,y,zoom``, or ``x,y,zoom..x,y,zoom``: the camera moves from the first to the second.
        frames: how many.

    Raises:
        ConfigError: it is neither.
    """
    ends = [part.split(",") for part in text.split("..")]
    if len(ends) > 2 or any(len(end) != 3 for end in ends):
        raise ConfigError(f"filmed={text}: x,y,zoom or x,y,zoom..x,y,zoom expected")
    first, last = (torch.tensor([_number(f"filmed={text}", part) for part in end]) for end in (ends[0], ends[-1]))
    return torch.lerp(first, last, torch.linspace(0, 1, frames)[:, None])


def _number(key: str, text: str, *, positive: bool = False) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (positive and value <= 0):
        raise ConfigError(f"{key}: {text.strip()!r} is no number{' above 0' * positive}")
    return value


def conditions_for(
    label: str, one: LoadedModel, given: Tensor, frames: int, actions: Tensor | None, cameras: Tensor | None
) -> dict[str, Tensor]:
    """Return the conditions that a model reads beside given and generated frames, as arguments of a rollout.

    Given frames have the action and the camera of the first generated one. A model that was trained with a camera or a
    partner and is given none has what such clips had in its training: a still camera, an absent partner.

    Args:
        label: of the model, for messages.
        one: the model.
        given: the frames to go on from ``[T0, B, D]``.
        frames: how many are generated.
        actions: of the generated frames, ``[frames]``.
        cameras: of the generated frames, ``[frames, 3]``.

    Raises:
        ConfigError: the model was trained without a camera, or a track has another length.
    """
    known = one.record.conditions
    clips = given.shape[1]
    for name, track in (("actions", actions), ("cameras", cameras)):
        if track is not None and len(track) != frames:
            raise ConfigError(f"{name}: one for each of {frames} frames expected, {len(track)} found")
    if cameras is not None and known is not None and "camera" not in known:
        raise ConfigError(f"{label}: was trained without a camera; leave it out")
    if cameras is None and "camera" in (known or ()):
        cameras = torch.tensor(STILL_CAMERA).expand(frames, 3)

    def whole(track: Tensor) -> Tensor:
        """Return ``[T0 + frames − 1, B, …]`` of ``[frames, …]``: the last generated frame is not read."""
        track = torch.cat((track[:1].expand(len(given), *track.shape[1:]), track))[:-1]
        return track.unsqueeze(1).expand(len(track), clips, *track.shape[1:])

    tracks = {}
    if actions is not None:
        tracks["actions"] = whole(actions)
    if cameras is not None:
        tracks["cameras"] = whole(cameras)
    if "partner" in (known or ()):
        tracks["partners"] = torch.zeros(len(given) + frames - 1, *given.shape[1:])
    return tracks
