"""Text to motion with models on disk, each under its own text encoder; what ``stickgen generate`` does."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stickgen.artifacts.model import AS_RECORDED, LoadedModel, ModelOptions
from stickgen.artifacts.model_name import label_and_path
from stickgen.errors import ConfigError, GenerationError
from stickgen.generation.conditions import conditions_for
from stickgen.generation.request import GenerationRequest
from stickgen.generation.rollout import generator_for
from stickgen.generation.script import CARRIED
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
    return generate_with([(label, options.load_by_part(path)) for label, path in named], request, options)


def generate_with(
    loaded: Sequence[tuple[str, LoadedModel | Sequence[LoadedModel]]],
    request: GenerationRequest,
    options: ModelOptions = AS_RECORDED,
    *,
    check: bool = True,
) -> list[Generated]:
    """Generate motion of every prompt with every model, as :func:`generate`, with models that are loaded already.

    Args:
        loaded: label and model, or label and a model for each part of the prompts.
        request: see :func:`generate`.
        options: of the text encoder.
        check: stop where a motion explodes; without, its numbers are returned as they are.

    Raises:
        StickgenError: see :func:`generate`.
    """
    columns = [(label, [one] if isinstance(one, LoadedModel) else list(one)) for label, one in loaded]
    for label, by_part in columns:
        _check_parts(label, len(by_part), request)
    bases = [(label, by_part[0].record.text_encoder) for label, by_part in columns]
    prompts = list(dict.fromkeys(part.text for script in request.scripts for part in script))
    texts = embed_prompts(bases, prompts, options.encoder, options.encoder_id, kept=options.kept)
    made = [
        _of_model(label, by_part, dict(zip(prompts, text, strict=True)), request, check)
        for (label, by_part), text in zip(columns, texts, strict=True)
    ]
    return [one for row in zip(*made, strict=True) for one in row]


def check_labels(labels: Sequence[str]) -> None:
    """Refuse models that have the same label.

    Raises:
        ConfigError: two have one label.
    """
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(f"two models are called {label!r}; name them with label=path")


def _check_parts(label: str, models: int, request: GenerationRequest) -> None:
    """Refuse prompts with another number of parts than a model has weights for."""
    for prompt, script in zip(request.prompts, request.scripts, strict=True):
        if models not in (1, len(script)):
            raise ConfigError(
                f"{label}: has weights for {models} parts, {prompt!r} has {len(script)}; give a weight for each part"
            )


def _of_model(
    label: str, by_part: Sequence[LoadedModel], texts: Mapping[str, Tensor], request: GenerationRequest, check: bool
) -> list[Generated]:
    """Return the motions of one column; prompts whose parts begin together are rolled out side by side."""
    made: dict[int, Generated] = {}
    times = [tuple(part.frames for part in script) for script in request.scripts]
    for shared in dict.fromkeys(times):
        clips = [clip for clip, own in enumerate(times) if own == shared]
        scripts = [request.scripts[clip] for clip in clips]
        motion = torch.empty(0)
        actions: list[list[str]] = [[] for _ in clips]
        given, begun = request.seed_frames, 0
        for part, frames in enumerate(shared):
            one = by_part[part if len(by_part) > 1 else 0]
            captions = [script[part].text for script in scripts]
            text = torch.stack([texts[caption] for caption in captions])
            new, names = _part(label, one, captions, text, given, slice(begun, begun + frames), request, check)
            known = len(motion[-CARRIED:])
            motion = torch.cat((motion, new[known:])) if part else new
            actions = [before + after[known:] for before, after in zip(actions, names, strict=True)]
            given, begun = motion[-CARRIED:], begun + frames
        kept = 0 if request.seed_frames is None else len(request.seed_frames)
        for at, clip in enumerate(clips):
            moved = motion[:, at].float().cpu()
            made[clip] = Generated(label, request.prompts[clip], moved, kept, tuple(actions[at]))
    return [made[clip] for clip in range(len(times))]


def _part(
    label: str,
    one: LoadedModel,
    prompts: Sequence[str],
    text: Tensor,
    seed_frames: Tensor | None,
    at: slice,
    request: GenerationRequest,
    check: bool,
) -> tuple[Tensor, list[list[str]]]:
    """Return motion ``[T, B, D]`` and actions of one part of B prompts, with the given frames.

    Args:
        label: of the model.
        one: the model.
        prompts: the texts of the part, for messages.
        text: their embeddings ``[B, E]``.
        seed_frames: ``[T0, D]`` for all, or ``[T0, B, D]``; None: from rest.
        at: the frames of the part among those generated.
        request: the rest.
        check: see :func:`generate_with`.
    """
    frames = at.stop - at.start
    if not one.model.causal:
        log.warning("%s: bidirectional, so its motion is made in one pass, which it was not trained for", label)
    draws = one.model.leaves_to_chance
    if request.seed is not None and request.seed_frames is not None and not draws:
        raise ConfigError(
            f"{label}: seed={request.seed} draws how a motion begins, but its first frames are given; leave one out"
        )
    given = _given(one.model, seed_frames, None if draws else request.seed, len(prompts))
    # An adapter's base may know longer clips than the adapter has seen.
    longest = one.run.data.max_frames if one.run is not None and not one.run.lora.enabled else None
    if longest is not None and len(given) + frames > longest + 1:
        log.warning("%s: was trained on at most %d frames; what comes after them may fall apart", label, longest)
    if request.actions is not None and not one.adapted and one.run is not None and one.run.objective.feed_actions == 0:
        log.warning("%s: was never fed actions in training; they mean nothing to it", label)
    tracks = [None if track is None else track[at] for track in (request.actions, request.cameras)]
    conditions = conditions_for(label, one, given, frames, *tracks)
    # A model with codes knows how the body of each stands at rest.
    start = None if draws and seed_frames is None else given
    # A model that leaves nothing to chance has had its seed in the start.
    seed = request.seed if draws or seed_frames is None else None
    try:
        generate = generator_for(one.model)
        made = generate(one.model, text, frames, start, seed=seed, check=check, **conditions)
    except GenerationError as error:
        raise GenerationError(f"{label}: {error}") from None
    _warn_of_ruin(label, prompts, made)
    motion = torch.cat((given.to(made), made))
    names = _actions(one.model, text, motion)
    first = 1 if seed_frames is None else 0
    return motion[first:], [of_clip[first:] for of_clip in names]


def _given(model: StickFigureTransformer, seed_frames: Tensor | None, seed: int | None, clips: int) -> Tensor:
    """Return the frames to go on from, ``[T0, B, D]``."""
    dim = model.settings["input_dim"]
    if seed_frames is None:
        return standing(dim, clips, seed)
    if seed_frames.ndim == 3:
        return seed_frames
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
