"""Text to motion with models on disk, each under its own text encoder; what ``stickgen generate`` does."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stickgen.artifacts.model import AS_RECORDED, LoadedModel, ModelOptions, label_and_path
from stickgen.errors import ConfigError, GenerationError
from stickgen.generation.conditions import conditions_for
from stickgen.generation.request import GenerationRequest
from stickgen.generation.rollout import generator_for
from stickgen.generation.seed import standing
from stickgen.model import StickFigureTransformer
from stickgen.motion.actions import action_name
from stickgen.motion.skeleton import FPS, STICK_5, skeleton_of, to_stick_5
from stickgen.text.prompts import embed_prompts

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
    request: GenerationRequest,
    options: ModelOptions = AS_RECORDED,
) -> list[Generated]:
    """Generate motion of every prompt with every model.

    Each model reads the prompts in the encoder that its base's record names, loaded once for all models that share it;
    the prompts of a model are rolled out side by side.

    Args:
        models: paths as of :func:`~stickgen.artifacts.model.load_model`, each bare or as ``label=path``.
        request: prompts, and how long.
        options: of the base and the text encoder.

    Returns:
        the motions, those of the first prompt first, in the order of the models.

    Raises:
        ConfigError: there is no model, two models are called the same, the encoder is not that of a base, or a model is
            given a camera that it was trained without; a seed is given beside given frames to a model that leaves
            nothing to chance.
        GenerationError: the given frames do not fit a model, or a motion exploded.
        StickgenError: a model cannot be read, or its encoder cannot be had.
    """
    if not models:
        raise ConfigError("model: none given; name a run folder, an adapter or a base")
    named = [label_and_path(model) for model in models]
    check_labels([label for label, _ in named])
    return generate_with([(label, options.load(path)) for label, path in named], request, options)


def generate_with(
    loaded: Sequence[tuple[str, LoadedModel]],
    request: GenerationRequest,
    options: ModelOptions = AS_RECORDED,
    *,
    check: bool = True,
) -> list[Generated]:
    """Generate motion of every prompt with every model, as :func:`generate`, with models that are loaded already.

    Args:
        loaded: label and model.
        request: see :func:`generate`.
        options: of the text encoder.
        check: stop where a motion explodes; without, its numbers are returned as they are.

    Raises:
        StickgenError: see :func:`generate`.
    """
    bases = [(label, one.record.text_encoder) for label, one in loaded]
    texts = embed_prompts(bases, request.prompts, options.encoder, options.encoder_id)
    columns = [_of_model(label, one, text, request, check) for (label, one), text in zip(loaded, texts, strict=True)]
    return [made for row in zip(*columns, strict=True) for made in row]


def check_labels(labels: Sequence[str]) -> None:
    """Refuse models that have the same label.

    Raises:
        ConfigError: two have one label.
    """
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"two models are called {label!r}; name them with label=path")


def _of_model(label: str, one: LoadedModel, text: Tensor, request: GenerationRequest, check: bool) -> list[Generated]:
    if not one.model.causal:
        log.warning("%s: bidirectional, so its motion is made in one pass, which it was not trained for", label)
    draws = one.model.leaves_to_chance
    if request.seed is not None and request.seed_frames is not None and not draws:
        raise ConfigError(
            f"{label}: seed={request.seed} draws how a motion begins, but its first frames are given; leave one out"
        )
    given = _given(one.model, request.seed_frames, None if draws else request.seed, len(request.prompts))
    # An adapter's base may know longer clips than the adapter has seen.
    longest = one.run.data.max_frames if one.run is not None and not one.run.lora.enabled else None
    if longest is not None and len(given) + request.frames > longest + 1:
        log.warning("%s: was trained on at most %d frames; what comes after them may fall apart", label, longest)
    if request.actions is not None and not one.adapted and one.run is not None and one.run.objective.feed_actions == 0:
        log.warning("%s: was never fed actions in training; they mean nothing to it", label)
    conditions = conditions_for(label, one, given, request.frames, request.actions, request.cameras)
    # A model with codes knows how the body of each stands at rest.
    start = None if draws and request.seed_frames is None else given
    try:
        generate = generator_for(one.model)
        made = generate(one.model, text, request.frames, start, seed=request.seed, check=check, **conditions)
    except GenerationError as error:
        raise GenerationError(f"{label}: {error}") from None
    _warn_of_ruin(label, request.prompts, made)
    motion = torch.cat((given.to(made), made))
    names = _actions(one.model, text, motion)
    first = 1 if request.seed_frames is None else 0
    kept = 0 if request.seed_frames is None else len(request.seed_frames)
    return [
        Generated(label, prompt, motion[first:, clip].float().cpu(), kept, tuple(names[clip][first:]))
        for clip, prompt in enumerate(request.prompts)
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
