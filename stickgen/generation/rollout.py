"""Generating motion: frame after frame from a causal model, or in one pass from a bidirectional one."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stickgen.errors import GenerationError
from stickgen.generation.seed import standing
from stickgen.generation.steering import Steering
from stickgen.generation.stepping import has_few_rows, stepping_copy
from stickgen.generation.thread_choice import ThreadChoice
from stickgen.model import KeyValueCache, StickFigureTransformer
from stickgen.model.body_frame import Steer
from stickgen.model.code_bank import Drawn
from stickgen.model.motion_code import motion_code, with_code, without
from stickgen.motion.bones import at_rest, bone_shares, within
from stickgen.motion.skeleton import FPS

DEPARTURE = 0.6
"""Share of the predicted spread that frames depart from their mean by: the spread is that of single frames, and what
they depart by adds up in a rollout."""


def rollout(
    model: StickFigureTransformer,
    text_embedding: Tensor,
    frames: int,
    seed_frames: Tensor | None = None,
    *,
    actions: Tensor | None = None,
    cameras: Tensor | None = None,
    partners: Tensor | None = None,
    seed: int | None = None,
    check: bool = True,
) -> Tensor:
    """Generate motion from text: every predicted frame is read again to predict the next.

    Text and given frames are read once, then a frame a step through a key/value cache: a step costs a constant, and
    attention that is linear in the frames so far. The same call gives the same motion.
    A model that was trained on clips of at most 250 frames has learnt nothing of positions beyond those.

    Args:
        model: causal, with adapters or without; it is neither changed nor put into another mode.
        text_embedding: ``[B, E]``, in the base's text encoder.
        frames: how many to generate, at 25 a second.
        seed_frames: given frames ``[T0, B, D]`` that the motion goes on from; None starts from one frame of the rest
            pose (:func:`stickgen.motion.skeleton.rest_pose`), which a base has to have met in training to set off well.
            Of a model with motion codes, each figure has the bones of its code.
        actions: int64 ``[B]`` or ``[T, B]`` with T ≥ T0 + frames − 1, the action to be performed, for a model that was
            fed actions in training.
        cameras: ``[T, B, 3]``, x, y, zoom, likewise.
        partners: ``[T, B, D]``, the other figure's motion, likewise.
        seed: of what a model leaves to chance: each clip's motion code (:mod:`~stickgen.model.motion_code`), and how
            every frame departs from its mean, where it predicts that. None: as 0, with the most typical code.
        check: stop at numbers that are not finite; without, they are returned.

    Returns:
        the generated frames ``[frames, B, D]`` alone, on the model's device and in its dtype.

    Raises:
        GenerationError: the model is bidirectional, an argument does not fit it, or the motion exploded.
    """
    if not model.causal:
        raise GenerationError("rollout: the base is bidirectional and cannot go on frame by frame; use one_shot")
    inputs = RolloutInputs.of(model, text_embedding, frames, seed_frames, actions, cameras, partners, seed)
    motion = inputs.given.new_empty(frames, *inputs.given.shape[1:])
    start = len(inputs.given)
    with torch.inference_mode():
        stepping = stepping_copy(model)
        cache = KeyValueCache(capacity=start + frames)
        read, at = inputs.given, slice(0, start)
        # Beyond few rows, what a product comes to depends on the threads in its last digits.
        paced = ThreadChoice().step if has_few_rows(inputs.given[-1:]) else nullcontext
        noise_of = noise_source(model, inputs.given, seed)
        steering = None
        if inputs.drawn is not None:
            steering = Steering(inputs.drawn.codes, inputs.given.shape[-1], inputs.begun)
        for step in range(frames):
            with paced() if step else nullcontext():
                noise = None if noise_of is None else noise_of(len(read))
                steer = None if steering is None else Steer(*(part.to(read) for part in steering.next()))
                made = stepping(read, inputs.text, **inputs.conditions(at), cache=cache, noise=noise, steer=steer)[-1:]
                if inputs.drawn is not None:
                    made = within(made, inputs.drawn.bones)
            # The first step is the one from what was given.
            if steering is not None and step:
                steering.see(read[-1], made[0])
            read = made
            motion[step] = read[0]
            at = slice(start + step, start + step + 1)
            # Once a second: every frame would make a GPU wait for each.
            if check and (step % FPS == FPS - 1 or step == frames - 1):
                _refuse_explosion(motion[: step + 1])
    return motion


def noise_source(model: StickFigureTransformer, like: Tensor, seed: int | None) -> Callable[[int], Tensor] | None:
    """Return what draws normal numbers ``[T, B, D]`` for T frames; None where a model has no use for them."""
    if model.body_frame is None:
        return None
    # A clip's own generator: its motion does not depend on those beside it.
    seeds = [int(np.random.SeedSequence([seed or 0, clip]).generate_state(1)[0]) for clip in range(like.shape[1])]
    generators = [torch.Generator().manual_seed(own) for own in seeds]

    def draw(frames: int) -> Tensor:
        columns = [torch.randn(frames, like.shape[2], generator=generator) for generator in generators]
        return DEPARTURE * torch.stack(columns, dim=1).to(like)

    return draw


def one_shot(
    model: StickFigureTransformer,
    text_embedding: Tensor,
    frames: int,
    seed_frames: Tensor | None = None,
    *,
    actions: Tensor | None = None,
    cameras: Tensor | None = None,
    partners: Tensor | None = None,
    seed: int | None = None,
    check: bool = True,
) -> Tensor:
    """Generate motion in a single pass, the only way a bidirectional model of the reference system has.

    Such a model was trained to give frame t + 1 where frame t is read, with all frames in sight. Here the frames
    that are not known yet are read as the last given one, held; what the model makes of them is the motion. It was
    not trained for that, so little is to be expected.

    Args:
        model: see :func:`rollout`; a causal one is taken too.
        text_embedding: see :func:`rollout`.
        frames: see :func:`rollout`.
        seed_frames: see :func:`rollout`.
        actions: see :func:`rollout`.
        cameras: see :func:`rollout`.
        partners: see :func:`rollout`.
        seed: see :func:`rollout`.
        check: see :func:`rollout`.

    Returns:
        the generated frames ``[frames, B, D]``.

    Raises:
        GenerationError: an argument does not fit the model, or the motion is not finite.
    """
    inputs = RolloutInputs.of(model, text_embedding, frames, seed_frames, actions, cameras, partners, seed)
    motion = inputs.given.new_empty(frames, *inputs.given.shape[1:])
    held = inputs.given[-1:].expand(frames - 1, -1, -1)
    with torch.inference_mode():
        read = torch.cat((inputs.given, held))
        made = stepping_copy(model)(read, inputs.text, **inputs.conditions(slice(0, len(read))))
        motion.copy_(made[-frames:])
    if check:
        _refuse_explosion(motion)
    return motion


def generator_for(model: StickFigureTransformer) -> Callable[..., Tensor]:
    """Return the way to generate that a model has: :func:`rollout`, or :func:`one_shot` where it is bidirectional."""
    return rollout if model.causal else one_shot


@dataclass(frozen=True)
class RolloutInputs:
    """The arguments of a generation, checked, on the model's device and in its dtype."""

    text: Tensor
    given: Tensor
    tracks: dict[str, Tensor]
    drawn: Drawn | None
    """What steers the motion; None where the model cannot be steered."""
    begun: Tensor | None
    """The given frames' codes."""

    @classmethod
    def of(
        cls,
        model: StickFigureTransformer,
        text: Tensor,
        frames: int,
        seed_frames: Tensor | None,
        actions: Tensor | None,
        cameras: Tensor | None,
        partners: Tensor | None,
        seed: int | None,
    ) -> "RolloutInputs":
        """Return the arguments of :func:`rollout`, checked, with what the seed draws.

        Raises:
            GenerationError: see there.
        """
        settings = model.settings
        dim = settings["input_dim"]
        like = next(model.parameters())
        if settings["output_dim"] != dim:
            raise GenerationError(f"the model reads {dim} numbers a frame and gives {settings['output_dim']}")
        if frames < 1:
            raise GenerationError(f"frames={frames}: at least 1 expected")
        if text.ndim != 2 or text.shape[1] != settings["embedding_dim"]:
            raise _shape("text_embedding", f"[B, {settings['embedding_dim']}]", text)
        clips = text.shape[0]
        given, drawn, begun = seed_frames, None, None
        if given is not None and (given.ndim != 3 or len(given) == 0 or given.shape[1:] != (clips, dim)):
            raise _shape("seed_frames", f"[T0, {clips}, {dim}]", given)
        for name, tensor in (("text_embedding", text), ("seed_frames", given)):
            if tensor is not None and not bool(torch.isfinite(tensor).all()):
                raise GenerationError(f"{name}: finite numbers expected, NaN or infinity found")
        if model.code_bank is not None:
            if given is not None and len(given) > 1:
                begun = torch.stack([motion_code(motion) for motion in given.cpu().unbind(1)])
            codes, bones = model.code_bank.draw(text, seed, begun)
            # Given frames are a beginning of their own.
            codes = without(codes, start=begun is not None)
            text = with_code(text, codes.to(text.device))
            if given is None:
                given = at_rest(dim, bones)[None]
            else:
                bones = torch.maximum(bones, bone_shares(given.cpu()))
            if model.body_frame is not None:
                drawn = Drawn(codes.to(like.device), bones.to(like.device))
                begun = None if begun is None else begun.to(like.device)
        elif given is None:
            given = standing(dim, clips)
        length = len(given) + frames - 1
        tracks: dict[str, Tensor] = {}
        if actions is not None:
            if actions.dtype not in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
                raise GenerationError(f"actions: class indices, int64, expected, {actions.dtype} found")
            actions = actions.expand(length, clips) if actions.shape == (clips,) else actions
            tracks["action_sequence"] = _track("actions", actions, (length, clips)).long()
            if bool(((actions < 0) | (actions >= settings["num_actions"])).any()):
                raise GenerationError(f"actions: classes 0 to {settings['num_actions'] - 1} expected")
        if cameras is not None:
            tracks["camera_data"] = _track("cameras", cameras, (length, clips, 3)).to(like)
        if partners is not None:
            tracks["partner_motion"] = _track("partners", partners, (length, clips, dim)).to(like)
        tracks = {name: track.to(like.device) for name, track in tracks.items()}
        return cls(text.to(like), given.to(like), tracks, drawn, begun)

    def conditions(self, at: slice) -> dict[str, Tensor]:
        """Return the conditions of some frames, as arguments of the model's forward."""
        return {name: track[at] for name, track in self.tracks.items()}


def _track(name: str, track: Tensor, shape: tuple[int, ...]) -> Tensor:
    if track.ndim != len(shape) or len(track) < shape[0] or track.shape[1:] != shape[1:]:
        raise _shape(name, f"[T, {', '.join(map(str, shape[1:]))}] with T ≥ {shape[0]}", track)
    return track


def _shape(name: str, expected: str, found: Tensor) -> GenerationError:
    return GenerationError(f"{name}: shape {expected} expected, {list(found.shape)} found")


def until_exploded(motion: Tensor) -> tuple[Tensor, bool]:
    """Return a motion ``[T, D]`` held at its last frame before the first that is not finite, and whether there was one.

    It is for motion made with ``check=False`` that is to be looked at; the first frame has to be finite.
    """
    bad = ~torch.isfinite(motion).all(dim=-1)
    if not bool(bad.any()):
        return motion, False
    first = int(bad.int().argmax())
    return torch.cat((motion[:first], motion[first - 1 : first].expand(len(motion) - first, -1))), True


def _refuse_explosion(motion: Tensor) -> None:
    """Stop where a frame of ``[T, B, D]`` is not finite."""
    bad = ~torch.isfinite(motion).all(dim=-1)
    if bool(bad.any()):
        frame, clip = (int(i) for i in bad.nonzero()[0])
        raise GenerationError(
            f"the motion exploded: frame {frame} ({frame / FPS:.1f} s) of clip {clip} is not finite; the model does not"
            " stand its own predictions for so long: generate fewer frames, or train it further"
        )
