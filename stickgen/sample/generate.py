"""The sample data set: clips of the built-in performers, as sequences of a data file."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

import stickgen
from stickgen.errors import DataError
from stickgen.motion.actions import action_index
from stickgen.motion.physics import body_physics
from stickgen.motion.quality import quality_score
from stickgen.motion.skeleton import FPS, STICK_12, skeleton_of
from stickgen.sample.body import FRONT, SIDE, Floats, Pose, assemble, mirror
from stickgen.sample.captions import CAPTIONS, caption_embeddings, encoder_record
from stickgen.sample.gait import run, walk
from stickgen.sample.gestures import clap, kick, punch, wave
from stickgen.sample.styles import STYLE_TABLE, STYLES, Performer, Scene
from stickgen.sample.whole_body import dance, idle, jump, sit

_MOTIONS: dict[str, tuple[Callable[[Scene], Pose], tuple[str, ...]]] = {
    "idle": (idle, (SIDE, FRONT)),
    "walk": (walk, (SIDE,)),
    "run": (run, (SIDE,)),
    "jump": (jump, (SIDE, FRONT)),
    "wave": (wave, (FRONT,)),
    "kick": (kick, (SIDE,)),
    "sit": (sit, (SIDE,)),
    "punch": (punch, (SIDE,)),
    "clap": (clap, (FRONT,)),
    "dance": (dance, (FRONT,)),
}
"""Of every action its motion, and the views from which it can be told what is done."""

ACTIONS_OF_SAMPLE: tuple[str, ...] = tuple(_MOTIONS)
"""The actions of the sample, by their names in ``stickgen.motion.actions``."""

SOURCE = "synthetic-sample"
"""What the clips give as their ``source``."""

CLIPS_A_TAKE = 3
"""Clips in succession that one performer appears in: a take, which a split does not divide."""

FRAMES = (60, 125)
"""Shortest and longest clip: 2.4 to 5 seconds."""

SAMPLE_INFO: dict[str, Any] = {
    "text_encoder": encoder_record(),
    "fps": FPS,
    "made_by": f"stickgen {stickgen.__version__} sample",
}
"""The record of a data file that holds the sample."""


def sample_sequences(
    clips: int,
    *,
    styles: Sequence[str] = STYLES,
    actions: Sequence[str] = ACTIONS_OF_SAMPLE,
    seed: int = 0,
    dim: int = 20,
    frames: tuple[int, int] = FRAMES,
) -> list[dict[str, Any]]:
    """Make sample clips.

    Actions and styles are balanced: any run of ``len(actions) * len(styles)`` clips that starts at a multiple of it
    holds every pair once. Clip i is the same however many clips are asked for.

    Args:
        clips: how many.
        styles: names out of ``STYLES``.
        actions: names out of ``ACTIONS_OF_SAMPLE``.
        seed: the same seed makes the same clips.
        dim: numbers a frame, 20 or 48.
        frames: shortest and longest clip, in frames.

    Returns:
        sequences of a data file (docs/data.md), each with ``description``, ``motion`` float32 ``[T, dim]``,
        ``embedding`` float32 ``[1024]``, ``actions`` int64 ``[T]``, ``physics`` float32 ``[T, 6]``, ``source``,
        ``quality_score`` and ``meta`` (take, action, style, view, fps).

    Raises:
        DataError: an argument names an unknown style, action or layout, or no clip at all.
    """
    _check_names("styles", styles, STYLES)
    _check_names("actions", actions, ACTIONS_OF_SAMPLE)
    skeleton_of(dim)
    if clips < 1:
        raise DataError(f"clips: at least 1 expected, {clips} found")
    shortest, longest = frames
    if not 2 <= shortest <= longest:
        raise DataError(f"frames: shortest and longest, 2 <= shortest <= longest, expected, {frames} found")
    sequences = []
    for index in range(clips):
        # Along a diagonal of actions and styles every style is met early, and every pair once in a full round.
        action = actions[index % len(actions)]
        style = styles[(index % len(actions) + index // len(actions)) % len(styles)]
        take = index // CLIPS_A_TAKE
        # Streams of their own for every performer and clip: what clip i is does not depend on clip i - 1.
        performer = Performer.random(np.random.default_rng([seed, 0, take]))
        rng = np.random.default_rng([seed, 1, index])
        joints, _, view = perform(action, style, performer, frames, rng)
        captions = CAPTIONS[action][style]
        sequences.append(
            _sequence(
                motion=_layout(joints, dim),
                description=captions[rng.integers(len(captions))],
                meta={"take": f"sample-{seed}-{take:04d}", "action": action, "style": style, "view": view, "fps": FPS},
            )
        )
    return sequences


def perform(
    action: str, style: str, performer: Performer, frames: tuple[int, int], rng: np.random.Generator
) -> tuple[Floats, Pose, str]:
    """Let a performer do something.

    Returns:
        joints ``[T, 16, 2]`` in the order of ``STICK_12``, the pose they were made from (which faces +x and is not
        centred, whatever way the joints face), and the view.
    """
    motion, views = _MOTIONS[action]
    view = str(rng.choice(views))
    length = int(rng.integers(frames[0], frames[1] + 1))
    scene = Scene(performer, STYLE_TABLE[style], view, length, rng)
    pose = motion(scene)
    joints = assemble(scene.body, pose)
    # Who crosses the picture does so about its middle.
    joints[..., 0] -= 0.5 * (pose.pelvis[:, 0].min() + pose.pelvis[:, 0].max())
    if rng.uniform() < 0.5:
        joints = mirror(joints, view)
    return joints, pose, view


def _layout(joints: Floats, dim: int) -> Floats:
    figure = skeleton_of(dim)
    return figure.from_joints(joints[:, [STICK_12.joint(name) for name in figure.joints]])


def _sequence(motion: Floats, description: str, meta: dict[str, Any]) -> dict[str, Any]:
    motion = motion.astype(np.float32)
    physics = body_physics(motion)
    return {
        "description": description,
        "motion": torch.from_numpy(motion),
        "embedding": caption_embeddings()[description].clone(),
        "actions": torch.full((len(motion),), action_index(meta["action"]), dtype=torch.int64),
        "physics": torch.from_numpy(physics),
        "source": SOURCE,
        "quality_score": float(quality_score(motion, physics)),
        "meta": meta,
    }


def _check_names(argument: str, names: Sequence[str], known: tuple[str, ...]) -> None:
    if not names:
        raise DataError(f"{argument}: at least one of {', '.join(known)} expected, none found")
    for name in names:
        if name not in known:
            raise DataError(f"{argument}: {name!r} is not known; choose from {', '.join(known)}")
