"""What is watched while a model trains: some validation clips and prompts, the same ones all the time."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stickgen.config import ShowMotionConfig
from stickgen.data.clips import Clip
from stickgen.data.datamodule import ClipDataModule
from stickgen.generation.clips import EXPLODED, choose_clips, continue_clips, move_from_rest
from stickgen.generation.stepping import stepping_copy
from stickgen.model import StickFigureTransformer
from stickgen.motion.skeleton import FPS
from stickgen.render import Panel

GIVEN = 10
"""First frames of a clip that the models continue."""

_SHORTEST = FPS
"""Frames after the given ones; in less than a second nothing is to be seen."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Preview:
    """Clips to go on with, and prompts to move to from rest.

    Attributes:
        clips: cut to what is shown of them; models are given their first :data:`GIVEN` frames.
        prompts: texts.
        embedding: of the prompts ``[P, E]``.
        examples: for each prompt a real clip of that caption, or None.
        frames: how many are made to a prompt.
        conditions: "camera" and "partner" where the models take them.
    """

    clips: Sequence[Clip]
    prompts: Sequence[str]
    embedding: Tensor
    examples: Sequence[Clip | None]
    frames: int
    conditions: Sequence[str]

    @classmethod
    def of(cls, data: ClipDataModule, settings: ShowMotionConfig, embedded: Tensor | None) -> "Preview":
        """Choose what is watched.

        Args:
            data: the run's.
            settings: how many clips and captions, or which prompts.
            embedded: the prompts of the settings ``[P, E]``; None where they name none, and captions are taken.
        """
        most = GIVEN + settings.frames
        val, train = data.split.val, data.split.train
        clips = choose_clips(val.infos, settings.clips, GIVEN + _SHORTEST)
        if settings.clips and not clips:
            log.info("no pictures of validation clips: none has %d frames", GIVEN + _SHORTEST)
        prompts: Sequence[str] = settings.prompts
        examples: list[Clip | None] = [None] * len(prompts)
        if embedded is None:
            chosen = choose_clips(train.infos, settings.captions, _SHORTEST, repeat=False)
            of_captions = [train[index].first(settings.frames) for index in chosen]
            prompts = [clip.description for clip in of_captions]
            embedded = torch.stack([clip.embedding for clip in of_captions]) if chosen else torch.empty(0)
            examples = [*of_captions]
        cut = [val[index].first(most) for index in clips]
        return cls(cut, prompts, embedded, examples, settings.frames, data.config.conditions)

    @property
    def names(self) -> list[str]:
        """What each is called: clip_1, …, prompt_1, …."""
        counts = (("clip", len(self.clips)), ("prompt", len(self.prompts)))
        return [f"{kind}_{number + 1}" for kind, count in counts for number in range(count)]

    def shorter(self, frames: int) -> "Preview":
        """Return the same with fewer frames to be made."""
        clips = [clip.first(GIVEN + frames) for clip in self.clips]
        return replace(self, clips=clips, frames=frames)

    def real(self) -> list[Panel | None]:
        """Return the motion that each is to be compared with, where there is one."""
        clips = [Panel(clip.with_partner, "real clip", clip.description, GIVEN) for clip in self.clips]
        examples = [None if c is None else Panel(c.with_partner, "training clip", c.description) for c in self.examples]
        return [*clips, *examples]

    def made(self, model: StickFigureTransformer, whose: str) -> list[Panel]:
        """Return what a model makes of each, under a label that says whose it is and how it was made."""
        how = "rollout" if model.causal else "in one pass"
        shown = [(clip.description, GIVEN) for clip in self.clips] + [(text, 0) for text in self.prompts]
        model = stepping_copy(model)  # here, so that adapters are merged once for both ways
        moved = continue_clips(model, self.clips, GIVEN, self.conditions) if self.clips else []
        if self.prompts:
            moved += move_from_rest(model, self.embedding, self.frames, self.conditions)
        return [
            Panel(motion, f"{whose} · {how}" + EXPLODED * exploded, caption, given)
            for (motion, exploded), (caption, given) in zip(moved, shown, strict=True)
        ]
