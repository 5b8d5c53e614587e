"""From recordings of people to the sequences of a data file: cut, project, score, caption."""

import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch

from stickgen.errors import ConfigError, DataError
from stickgen.mocap.importers.importer import ImportOptions
from stickgen.mocap.pool import Kept, Progress, each
from stickgen.mocap.projection import VIEWS, Recording, project, view_yaw
from stickgen.mocap.vocabulary import checked_action, match_action
from stickgen.motion.actions import action_index
from stickgen.motion.physics import body_physics
from stickgen.motion.quality import quality_score
from stickgen.motion.skeleton import skeleton_of

CAMERA_VIEW = "camera"
"""View of a clip whose joints lie on a plane already."""


@dataclass(frozen=True)
class PrepareOptions:
    """How a data file is made.

    Attributes:
        views: "side", "front", "both", or yaw angles in degrees; every view makes a clip of its own of the same take.
        random_views: views of each clip besides, whose yaw is drawn from −90° to 90°: there who walks forward still
            walks to +x, and the rest are mirror images.
        name_views: say in the caption from where a clip is seen, if not from the side.
        seed: of those draws, which depend on the clip's name and nothing else.
        fix_split: write the default split into every clip.
        dim: 20 or 48 numbers a frame.
        window: most frames of a clip; longer recordings are cut into equal pieces.
        minimum: fewest frames of a clip; shorter ones are left out.
        captions: of several captions, "first" takes one, "all" makes a clip of each.
        only: action labels to keep, fine or of the vocabulary; empty keeps all.
        source: data set id; None: as the file says, else "mocap".
        reading: what the sources do not say about themselves.
    """

    views: tuple[str, ...] = ("side",)
    random_views: int = 0
    name_views: bool = False
    seed: int = 0
    fix_split: bool = False
    dim: int = 20
    window: int = 250
    minimum: int = 25
    captions: Literal["first", "all"] = "first"
    only: tuple[str, ...] = ()
    source: str | None = None
    reading: ImportOptions = field(default_factory=ImportOptions)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: a value cannot work.
            DataError: a view or the skeleton is unknown.
        """
        skeleton_of(self.dim)
        for view in self.all_views:
            view_yaw(view)
        if self.random_views < 0:
            raise ConfigError(f"random_views={self.random_views}: 0 or more expected")
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed}: 0 or more expected")
        if not self.all_views and not self.random_views:
            raise ConfigError("views: at least one expected")
        if not 1 <= self.minimum <= self.window:
            raise ConfigError(f"window={self.window}: at least the minimum of {self.minimum} frames expected")
        if self.captions not in ("first", "all"):
            raise ConfigError(f"captions={self.captions}: first or all expected")

    @property
    def all_views(self) -> tuple[str, ...]:
        """The views, "both" spelt out, each once."""
        spelt = [v for view in self.views for v in (("side", "front") if view == "both" else (view,))]
        return tuple(dict.fromkeys(spelt))

    def views_of(self, clip: Recording) -> tuple[str, ...]:
        """The views of one clip, its random ones drawn; the camera's own for a body on a plane."""
        if clip.flat:
            return (CAMERA_VIEW,)
        rng = np.random.default_rng([self.seed, zlib.crc32(f"{clip.take}/{clip.clip_id}".encode())])
        return (*self.all_views, *(f"{yaw:.1f}" for yaw in rng.uniform(-90, 90, size=self.random_views)))


def make_sequences(
    recordings: Sequence[Recording],
    options: PrepareOptions,
    workers: int = 1,
    progress: Progress | None = None,
    kept: Kept | None = None,
) -> list[dict[str, Any]]:
    """Return the sequences of recordings at 25 fps, without their embeddings.

    Args:
        recordings: what to make them of.
        options: see :class:`PrepareOptions`.
        workers: processes; the result does not depend on them.
        progress: is told what is done; see :func:`~stickgen.mocap.pool.each`.
        kept: what is done already; see :func:`~stickgen.mocap.pool.each`.

    Raises:
        DataError: every recording is too short, or one has joints or labels that cannot be used.
    """
    made = each(partial(_sequences_of_recording, options=options), recordings, workers, "projecting", progress, kept)
    sequences = [sequence for of_one in made for sequence in _with_tensors(of_one)]
    if not sequences:
        raise DataError(f"none of the {len(recordings)} recordings has the {options.minimum} frames of a clip")
    return sequences


def windows(recording: Recording, options: PrepareOptions) -> Iterator[Recording]:
    """Cut a recording into pieces of at most ``window`` and at least ``minimum`` frames.

    Equal pieces use every frame; where they would be too short, whole windows are cut and the rest is dropped.
    """
    frames = len(recording.joints)
    if frames < options.minimum:
        return
    if frames <= options.window:
        yield recording
        return
    pieces = -(-frames // options.window)
    if frames // pieces >= options.minimum:
        bounds = [round(i * frames / pieces) for i in range(pieces + 1)]
    else:
        bounds = list(range(0, frames + 1, options.window))
    for start, end in pairwise(bounds):
        yield replace(recording, joints=recording.joints[start:end], clip_id=f"{recording.clip_id}_{start:04d}")


def _sequences_of_recording(recording: Recording, options: PrepareOptions) -> list[dict[str, Any]]:
    """Return the sequences of a recording, with arrays for tensors, which other processes send more simply."""
    return [sequence for piece in windows(recording, options) for sequence in _sequences_of(piece, options)]


def _sequences_of(clip: Recording, options: PrepareOptions) -> Iterator[dict[str, Any]]:
    try:
        name = action_of(clip)
        for view in options.views_of(clip):
            motion = project(clip.joints, dim=options.dim, view=view, height=clip.height, floor=clip.floor)
            bodies = [motion] if motion.ndim == 2 else [motion[:, actor] for actor in range(motion.shape[1])]
            physics = [body_physics(body) for body in bodies]
            sequence: dict[str, Any] = {
                "motion": motion,
                "physics": physics[0] if motion.ndim == 2 else np.stack(physics, axis=1),
                "source": options.source or clip.source or "mocap",
                # A clip of several bodies is as good as its worst.
                "quality_score": round(min(map(quality_score, bodies, physics)), 4),
                "meta": _meta(clip, view),
            }
            if name is not None:
                sequence["actions"] = np.full(len(motion), action_index(name), dtype=np.int64)
            captions = [" ".join(caption.split()) for caption in clip.captions if caption.strip()]
            for caption in captions if options.captions == "all" else captions[:1]:
                yield {"description": caption + (_seen_from(view) if options.name_views else ""), **sequence}
    except DataError as error:
        raise DataError(f"{clip.where}: {error}") from None


def _seen_from(view: str) -> str:
    """Return how a caption goes on, to name the view: not for the side, which a prompt that names none then means."""
    if view == CAMERA_VIEW:
        return ""
    return {VIEWS["side"]: "", VIEWS["front"]: ", seen from the front"}.get(view_yaw(view), ", seen at an angle")


def _with_tensors(sequences: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the sequences of a recording with tensors for arrays.

    A saved file refers to what it holds already, if it is the same object. Equal texts are made one object, whichever
    process they come from, and an array that several captions share stays one: so the bytes do not depend on processes.
    """
    tensors: dict[int, torch.Tensor] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return tensors.setdefault(id(value), torch.from_numpy(np.ascontiguousarray(value)))
        if isinstance(value, dict):
            return {sys.intern(key): plain(part) for key, part in value.items()}
        # A subclass of str, as NumPy's, cannot be interned.
        return sys.intern(str(value)) if isinstance(value, str) else value

    return [plain(sequence) for sequence in sequences]


def action_of(clip: Recording) -> str | None:
    """Return the class that the label of the vocabulary, or else the fine one, means; None where it means none.

    Raises:
        DataError: the label of the vocabulary is not in it.
    """
    return checked_action(clip.stickgen_action) if clip.stickgen_action else match_action(clip.action)


def _meta(clip: Recording, view: str) -> dict[str, str]:
    meta = {
        "take": clip.take,
        "action": clip.action or clip.stickgen_action or "",
        "view": view,
        "clip_id": clip.clip_id,
        **({"style": clip.style} if clip.style else {}),
    }
    # CMU numbers its takes subject_trial.
    cmu = re.fullmatch(r"(\d+)_\d+", clip.take)
    facts = {"subject": clip.subject or (cmu[1] if cmu else ""), "split": clip.split, "license": clip.license}
    return meta | {key: value for key, value in facts.items() if value}
