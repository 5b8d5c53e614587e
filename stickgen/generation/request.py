"""What is asked of a model."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from stickgen.errors import ConfigError, GenerationError
from stickgen.generation.script import Part, read_script
from stickgen.generation.seed import check_seed
from stickgen.motion.skeleton import FPS
from stickgen.untrusted import check_text

MAX_FRAMES = 600 * FPS
"""Ten minutes. A rollout keeps every frame's keys and values, and no model has learnt a fraction of that."""


@dataclass(frozen=True, eq=False)
class GenerationRequest:
    """The motion to generate: one for each prompt.

    Attributes:
        prompts: texts, at least one; each may have several parts, see :func:`~stickgen.generation.script.read_script`.
        frames: how many to generate, at 25 a second.
        seed_frames: given frames ``[T0, D]`` that all motions continue, see :mod:`stickgen.generation.seed`; those
            of 48 numbers are reduced for a model of 20. None: a figure at rest.
        seed: draws what a model leaves to chance, for another motion: what the caption leaves open and how frames
            depart from their mean (:func:`~stickgen.generation.rollout`), or with a base that leaves nothing open how
            each figure at rest stands (:func:`~stickgen.generation.seed.standing`). None: the most typical motion.
        actions: class of each frame to be generated, int64 ``[frames]``, for models that were fed actions in training.
        cameras: x, y, zoom of each, ``[frames, 3]``, for models that were trained with a camera.
        scripts: the parts of each prompt.

    Raises:
        ConfigError: there is no prompt, one is empty, or its parts do not fit the frames.
        GenerationError: there are no frames, or more than :data:`MAX_FRAMES`, or the seed is impossible.
    """

    prompts: Sequence[str]
    frames: int = 10 * FPS
    seed_frames: Tensor | None = None
    seed: int | None = None
    actions: Tensor | None = None
    cameras: Tensor | None = None
    scripts: tuple[tuple[Part, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if not self.prompts:
            raise ConfigError("prompt: none given; describe a motion, such as 'a person walks forward'")
        for index, prompt in enumerate(self.prompts):
            if not prompt.strip():
                raise ConfigError(f"prompt {index + 1} is empty; describe a motion, such as 'a person walks forward'")
            try:
                check_text(prompt)
            except ValueError as error:
                raise ConfigError(f"prompt {index + 1}: {error}") from None
        prompts = [" ".join(prompt.split()) for prompt in self.prompts]
        if not 1 <= self.frames <= MAX_FRAMES:
            raise GenerationError(
                f"{self.frames} frames ({self.frames / FPS:g} s): 1 to {MAX_FRAMES} ({MAX_FRAMES // FPS} s) can be "
                "generated"
            )
        object.__setattr__(self, "prompts", prompts)
        object.__setattr__(self, "scripts", tuple(read_script(prompt, self.frames) for prompt in prompts))
