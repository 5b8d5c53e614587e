"""Text to motion with models on disk, each under its own text encoder; what ``stickgen generate`` does."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stickgen.artifacts.model import LoadedModel, label_and_path, load_model
from stickgen.errors import ConfigError, GenerationError
from stickgen.generation.conditions import conditions_for
from stickgen.generation.rollout import generator_for
from stickgen.generation.seed import check_seed, standing
from stickgen.model import StickFigureTransformer
from stickgen.motion.actions import action_name
from stickgen.motion.skeleton import FPS, STICK_5, skeleton_of, to_stick_5
from stickgen.text.prompts import embed_prompts
from stickgen.untrusted import check_text

MAX_FRAMES = 600 * FPS
"""Ten minutes. A rollout keeps every frame's keys and values, and no model has learnt a fraction of that."""

_LONGEST_SEGMENT = 1.0
"""Body heights; no limb of a body is half as long."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Generated:
    """A motion that a model made of a prompt.

    Attributes:
        model: its label.
        prompt: the text.
        motion: float32 ``[T, D]`` on the CPU, the given frames first.
        given: how many of them were given, 0 where the motion set off from the rest pose.
        actions: names of what the model takes the T frames for.
    """

    model: str
    prompt: str
    motion: Tensor
    given: int
    actions: tuple[str, ...]


def generate(
    models: Sequence[str],
    prompts: Sequence[str],
    frames: int = 10 * FPS,
    seed_frames: Tensor | None = None,
    *,
    seed: int | None = None,
    actions: Tensor | None = None,
    cameras: Tensor | None = None,
    base: Path | None = None,
    encoder: str | None = None,
    encoder_id: str | None = None,
    allow_other_base: bool = False,
) -> list[Generated]:
    """Generate motion of every prompt with every model.

    Each model reads the prompts in the encoder that its base's record names, loaded once for all models that share it;
    the prompts of a model are rolled out side by side.

    Args:
        models: paths as of :func:`~stickgen.artifacts.model.load_model`, each bare or as ``label=path``.
        prompts: texts.
        frames: how many to generate, at 25 a second.
        seed_frames: given frames ``[T0, D]`` that all motions go on from, see :mod:`stickgen.generation.seed`; those
            of 48 numbers are reduced for a model of 20. None: a figure at rest.
        seed: draws what a model leaves to chance, for another motion: what the caption leaves open and how frames
            depart from their mean (:func:`~stickgen.generation.rollout`), or with a base that leaves nothing open how
            each figure at rest stands (:func:`~stickgen.generation.seed.standing`). None: the most typical motion.
        actions: class of each frame to be generated, int64 ``[frames]``, for models that were fed actions in training.
        cameras: x, y, zoom of each, ``[frames, 3]``, for models that were trained with a camera.
        base: the base of the adapters; None: the one they name.
        encoder: hub id or folder of the text encoder; None: the hub id that the base's record names.
        encoder_id: the id of an encoder that is given as a folder, see :class:`~stickgen.text.encoder.TextEncoder`.
        allow_other_base: put adapters on ``base`` even where they were trained on another.

    Returns:
        the motions, those of the first prompt first, in the order of the models.

    Raises:
        ConfigError: there is no model or no prompt, two models are called the same, a prompt is empty, the encoder is
            not that of a base, or a model is given a camera that it was trained without; a seed is given beside
            ``seed_frames`` to a model that leaves nothing to chance.
        GenerationError: so many frames are not made, ``seed_frames`` do not fit a model, or a motion exploded.
        StickgenError: a model cannot be read, or its encoder cannot be had.
    """
    check_request(prompts, frames, seed)
    if not models:
        raise ConfigError("model: none given; name a run folder, an adapter or a base")
    named = [label_and_path(model) for model in models]
    check_labels([label for label, _ in named])
    loaded = [(label, load_model(Path(path), base, allow_other_base=allow_other_base)) for label, path in named]
    return generate_with(
        loaded,
        prompts,
        frames,
        seed_frames,
        seed=seed,
        actions=actions,
        cameras=cameras,
        encoder=encoder,
        encoder_id=encoder_id,
    )


def generate_with(
    loaded: Sequence[tuple[str, LoadedModel]],
    prompts: Sequence[str],
    frames: int,
    seed_frames: Tensor | None = None,
    *,
    seed: int | None = None,
    actions: Tensor | None = None,
    cameras: Tensor | None = None,
    encoder: str | None = None,
    encoder_id: str | None = None,
    check: bool = True,
) -> list[Generated]:
    """Generate motion of every prompt with every model, as :func:`generate`, with models that are loaded already.

    Args:
        loaded: label and model.
        prompts: see :func:`generate`.
        frames: see :func:`generate`.
        seed_frames: see :func:`generate`.
        seed: see :func:`generate`.
        actions: see :func:`generate`.
        cameras: see :func:`generate`.
        encoder: see :func:`generate`.
        encoder_id: see :func:`generate`.
        check: stop where a motion explodes; without, its numbers are returned as they are.

    Raises:
        StickgenError: see :func:`generate`.
    """
    check_request(prompts, frames, seed)
    prompts = [" ".join(prompt.split()) for prompt in prompts]
    texts = embed_prompts([(label, one.record.text_encoder) for label, one in loaded], prompts, encoder, encoder_id)
    columns = [
        _of_model(label, one, text, prompts, frames, seed_frames, seed, actions, cameras, check)
        for (label, one), text in zip(loaded, texts, strict=True)
    ]
    return [made for row in zip(*columns, strict=True) for made in row]


def check_labels(labels: Sequence[str]) -> None:
    """Refuse figures that could not be told apart.

    Raises:
        ConfigError: two have one label.
    """
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"two figures are called {label!r}; tell them apart as label=path")


def check_request(prompts: Sequence[str], frames: int, seed: int | None = None) -> None:
    """Refuse what no model can make.

    Args:
        prompts: see :func:`generate`.
        frames: see :func:`generate`.
        seed: see :func:`generate`.

    Raises:
        ConfigError: there is no prompt, or one is empty.
        GenerationError: there are no frames, or more than :data:`MAX_FRAMES`, or the seed cannot be one.
    """
    check_seed(seed)
    if not prompts:
        raise ConfigError("prompt: none given; describe a motion, such as 'a person walks forward'")
    for index, prompt in enumerate(prompts):
        if not prompt.strip():
            raise ConfigError(f"prompt {index + 1} is empty; describe a motion, such as 'a person walks forward'")
        try:
            check_text(prompt)
        except ValueError as error:
            raise ConfigError(f"prompt {index + 1}: {error}") from None
    if not 1 <= frames <= MAX_FRAMES:
        raise GenerationError(
            f"{frames} frames ({frames / FPS:g} s): 1 to {MAX_FRAMES} ({MAX_FRAMES // FPS} s) can be generated"
        )


def _of_model(
    label: str,
    one: LoadedModel,
    text: Tensor,
    prompts: Sequence[str],
    frames: int,
    seed_frames: Tensor | None,
    seed: int | None,
    actions: Tensor | None,
    cameras: Tensor | None,
    check: bool,
) -> list[Generated]:
    if not one.model.causal:
        log.warning("%s: bidirectional, so its motion is made in one pass, which it was not trained for", label)
    draws = one.model.leaves_to_chance
    if seed is not None and seed_frames is not None and not draws:
        raise ConfigError(
            f"{label}: seed={seed} draws how a motion begins, but its first frames are given; leave one out"
        )
    given = _given(one.model, seed_frames, None if draws else seed, len(prompts))
    # An adapter's base may know longer clips than the adapter has seen.
    longest = one.run.data.max_frames if one.run is not None and not one.run.lora.enabled else None
    if longest is not None and len(given) + frames > longest + 1:
        log.warning("%s: was trained on at most %d frames; what comes after them may fall apart", label, longest)
    if actions is not None and not one.adapted and one.run is not None and one.run.objective.feed_actions == 0:
        log.warning("%s: was never fed actions in training; they mean nothing to it", label)
    conditions = conditions_for(label, one, given, frames, actions, cameras)
    # A model with codes knows how the body of each stands at rest.
    start = None if draws and seed_frames is None else given
    try:
        made = generator_for(one.model)(one.model, text, frames, start, seed=seed, check=check, **conditions)
    except GenerationError as error:
        raise GenerationError(f"{label}: {error}") from None
    _warn_of_ruin(label, prompts, made)
    motion = torch.cat((given.to(made), made))
    names = _actions(one.model, text, motion)
    first = 1 if seed_frames is None else 0
    kept = 0 if seed_frames is None else len(seed_frames)
    return [
        Generated(label, prompt, motion[first:, clip].float().cpu(), kept, tuple(names[clip][first:]))
        for clip, prompt in enumerate(prompts)
    ]


def _given(model: StickFigureTransformer, seed_frames: Tensor | None, seed: int | None, clips: int) -> Tensor:
    """Return the frames to go on from, ``[T0, B, D]``."""
    dim = model.settings["input_dim"]
    if seed_frames is None:
        return standing(dim, clips, seed)
    if dim == STICK_5.dim:
        seed_frames = to_stick_5(seed_frames)
    longest = float(skeleton_of(seed_frames.shape[-1]).segment_lengths(seed_frames).max())
    if longest > _LONGEST_SEGMENT:
        raise GenerationError(f"seed_frames: a limb of {longest:g} body heights; a figure about 1 high expected")
    return seed_frames[:, None].expand(-1, clips, -1)


def _warn_of_ruin(label: str, prompts: Sequence[str], made: Tensor) -> None:
    """Say in which motions ``[T, B, D]`` the figure does not last: its picture looks like a fault of the painter."""
    ruined = (skeleton_of(made.shape[-1]).segment_lengths(made) > _LONGEST_SEGMENT).any(dim=-1)
    for clip, prompt in enumerate(prompts):
        if bool(ruined[:, clip].any()):
            seconds = int(ruined[:, clip].int().argmax()) / FPS
            log.warning("%s: %r: the figure falls apart after %.1f s", label, prompt, seconds)


def _actions(model: StickFigureTransformer, text: Tensor, motion: Tensor) -> list[list[str]]:
    """Return the names of the actions that the model predicts for the frames of each clip of ``[T, B, D]``.

    Frame t is named where frame t - 1 is read, as in training, so the first frame takes the name of the second.
    """
    with torch.inference_mode():
        outputs = model(motion[:-1], text.to(motion), return_all_outputs=True)
    classes = outputs["action_logits"].argmax(dim=-1).cpu()
    classes = torch.cat((classes[:1], classes))
    return [[action_name(int(index)) for index in clip] for clip in classes.T]
