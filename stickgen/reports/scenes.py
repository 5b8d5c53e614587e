"""What a comparison shows: for every prompt or clip the motions of all models, the real one among them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stickgen.artifacts.model import LoadedModel, ModelOptions
from stickgen.config import DataConfig
from stickgen.errors import DataError
from stickgen.evaluation.evaluate import clips_for
from stickgen.generation.clips import EXPLODED, choose_clips, continue_clips
from stickgen.generation.generate import generate_with
from stickgen.generation.request import GenerationRequest
from stickgen.generation.rollout import until_exploded
from stickgen.motion.skeleton import FPS, skeleton_of, to_stick_5
from stickgen.render import Panel
from stickgen.render.panel import limb_of

REAL = "real clip"
BOTH = " · both figures"
"""Of a clip with a partner; models move one figure, the clip's own."""

Models = Sequence[tuple[str, LoadedModel]]
"""Label and model."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Motions of one caption, to be played in step.

    Attributes:
        caption: what they show.
        panels: one a model; before them the real clip, where there is one.
        has_reference: whether the first panel is the real clip.
    """

    caption: str
    panels: list[Panel]
    has_reference: bool


def scenes_of_prompts(models: Models, prompts: Sequence[str], frames: int, options: ModelOptions) -> list[Scene]:
    """Return a scene for every prompt: what each model makes of it from the rest pose.

    Raises:
        StickgenError: see :func:`stickgen.generation.generate`.
    """
    made = generate_with(models, GenerationRequest(prompts, frames), options, check=False)
    scenes = []
    for first in range(0, len(made), len(models)):
        row = made[first : first + len(models)]
        panels = []
        for motion in row:
            shown, exploded = until_exploded(motion.motion)
            panels.append(Panel(shown, motion.model + EXPLODED * exploded, motion.prompt))
        scenes.append(Scene(row[0].prompt, panels, has_reference=False))
    return scenes


def scenes_of_clips(models: Models, config: DataConfig, split: str, count: int, given: int, frames: int) -> list[Scene]:
    """Return a scene for each of some held-out clips: the clip, and how each model goes on from its first frames.

    Args:
        models: the models.
        config: of the data file and how it is split.
        split: "train", "val" or "test".
        count: most clips.
        given: frames that are given.
        frames: most frames that are made.

    Raises:
        DataError: no clip is long enough, or the data do not fit a model.
        ConfigError: a model's captions were embedded by another encoder.
    """
    columns: list[list[Panel]] = []
    for label, one in models:
        data = clips_for(label, one, config)
        clips = getattr(data.split, split)
        chosen = choose_clips(clips.infos, count, given + FPS)
        if not chosen:
            raise DataError(f"{data.report.source}: no {split} clip has {given + FPS} frames; see --given and --split")
        cut = [clips[index].first(given + frames) for index in chosen]
        if not columns:
            columns.append(
                [Panel(c.with_partner, REAL + BOTH * (c.partner is not None), c.description, given) for c in cut]
            )
        made = continue_clips(one.model, cut, given, data.config.conditions)
        columns.append(
            [
                Panel(motion, label + EXPLODED * exploded, clip.description, given)
                for clip, (motion, exploded) in zip(cut, made, strict=True)
            ]
        )
    return [Scene(row[0].caption, list(row), has_reference=True) for row in zip(*columns, strict=True)]


def limb_errors(panel: Panel, reference: Panel) -> dict[str, np.ndarray]:
    """Return for each limb how far it is from the reference's, ``[T]`` in body heights.

    That is the mean distance of the ends of the limb's segments, frame by frame, for as long as both go on.

    Args:
        panel: a motion; of several actors the first counts.
        reference: likewise; where one has 48 numbers a frame and the other 20, both are compared as the smaller figure.
    """
    frames = min(panel.frames, reference.frames)
    motions = [one.actors[:frames, 0] for one in (panel, reference)]
    if panel.skeleton != reference.skeleton:
        motions = [to_stick_5(motion) for motion in motions]
    ends = [motion.reshape(frames, -1, 2, 2) for motion in motions]
    distance = np.linalg.norm(ends[0] - ends[1], axis=-1).mean(axis=-1)
    limbs = [limb_of(segment.name) for segment in skeleton_of(motions[0].shape[-1]).segments]
    return {limb: distance[:, [limb == other for other in limbs]].mean(axis=1) for limb in dict.fromkeys(limbs)}
