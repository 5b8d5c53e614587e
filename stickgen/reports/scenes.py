"""What a comparison shows: for every prompt or clip the motions of all models, the real one among them."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from stickgen.artifacts.model import LoadedModel, load_model
from stickgen.artifacts.record import fingerprint
from stickgen.config import DataConfig
from stickgen.errors import DataError
from stickgen.evaluation.evaluate import FROZEN, clips_for
from stickgen.generation.clips import choose_clips, go_on_with
from stickgen.generation.generate import generate_with
from stickgen.generation.rollout import until_exploded
from stickgen.lora import detach_lora_adapters
from stickgen.render import Panel
from stickgen.render.panel import limb_of
from stickgen.skeleton import FPS, skeleton_of, to_stick_5

REAL = "real clip"
EXPLODED = " · exploded"
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


def with_frozen_base(models: Models) -> list[tuple[str, LoadedModel]]:
    """Return the models, before them each base that they were trained from, once, and where there are several, whose.

    The base of whole weights is where their run had it; they go without where it is gone.
    """
    bases: dict[str, LoadedModel] = {}
    trained: dict[str, list[str]] = {}
    for label, one in models:
        below = _base_of(one)
        if below is not None:
            digest = fingerprint(below.model.state_dict())
            bases.setdefault(digest, below)
            trained.setdefault(digest, []).append(label)
    one_only = len(bases) == 1
    named = [
        (FROZEN if one_only else f"{FROZEN} of {', '.join(trained[digest])}", base) for digest, base in bases.items()
    ]
    return [*named, *models]


def _base_of(one: LoadedModel) -> LoadedModel | None:
    if one.adapted:
        # The base's weights are shared: only the layers around them are copied.
        shared = {id(tensor): tensor for tensor in (*one.model.parameters(), *one.model.buffers())}
        base = detach_lora_adapters(copy.deepcopy(one.model, shared)).eval()
        return replace(one, model=base, adapted=False)
    path = None if one.run is None else one.run.base.checkpoint
    return None if path is None or not Path(path).exists() else load_model(Path(path))


def scenes_of_prompts(
    models: Models, prompts: Sequence[str], frames: int, encoder: str | None, encoder_id: str | None
) -> list[Scene]:
    """Return a scene for every prompt: what each model makes of it from the rest pose.

    Raises:
        StickgenError: see :func:`stickgen.generation.generate`.
    """
    made = generate_with(models, prompts, frames, encoder=encoder, encoder_id=encoder_id, check=False)
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
        made = go_on_with(one.model, cut, given, data.config.conditions)
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
