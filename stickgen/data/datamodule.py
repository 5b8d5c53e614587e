"""The data set of a run, from file to loaders."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from stickgen.actions import NUM_ACTIONS
from stickgen.config import DataConfig
from stickgen.data.batch import Batch
from stickgen.data.clips import Clip, check_one_width, clips_from_sequences
from stickgen.data.file import read_sequences
from stickgen.data.loader import StepPlan, make_loader
from stickgen.data.split import Split, split_by_take
from stickgen.errors import DataError
from stickgen.skeleton import skeleton_of, to_stick_5

EVAL_BATCH_SIZE = 16
"""Clips of a forward pass where no gradients are kept; metrics do not depend on it."""

MIN_FRAMES = 2
"""A clip needs a frame to predict from and one to predict."""


@dataclass(frozen=True)
class DataReport:
    """What was read and what was left out, for the summary."""

    source: str
    sequences: int
    clips: int
    dropped: dict[str, int]
    """Clips left out, by reason."""
    text_encoder: dict[str, Any]
    """The record of the encoder of the captions; {} where the file does not tell."""


class ClipDataModule(LightningDataModule):
    """Clips of a data file, filtered, split by take and batched.

    Args:
        config: see :class:`~stickgen.config.DataConfig`.
        accumulate: micro-batches of an optimizer step.
        seed: of the order of training clips.
        feed_actions: share of optimizer steps that are given the action labels.
    """

    def __init__(self, config: DataConfig, *, accumulate: int = 1, seed: int = 0, feed_actions: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.accumulate = accumulate
        self.seed = seed
        self.feed_actions = feed_actions
        self._loaded: tuple[Split, DataReport] | None = None
        self._position: dict[str, int] = {"epoch": 0, "batch": 0}

    @property
    def split(self) -> Split:
        """The clips of each split; read on first use.

        Raises:
            DataError: the file is not as docs/data.md describes it, or the filter leaves too little of it.
        """
        return self._load()[0]

    @property
    def report(self) -> DataReport:
        """What was read and what was left out."""
        return self._load()[1]

    def fit_to(self, input_dim: int, embedding_dim: int, num_actions: int = NUM_ACTIONS) -> None:
        """Check the clips against a model's widths, and pad narrower embeddings with zeros.

        Raises:
            DataError: frames have another width, embeddings are wider than the model's, or a label is beyond its
                action classes.
        """
        split, report = self._load()
        clip = split.train[0]
        dim, width = clip.motion.shape[-1], clip.embedding.shape[0]
        if dim != input_dim:
            hint = "; data.dim=20 reduces them" if (dim, input_dim) == (48, 20) else ""
            raise DataError(f"{report.source}: frames of {dim} numbers, the base takes {input_dim}{hint}")
        if width > embedding_dim:
            raise DataError(f"{report.source}: embeddings of {width} numbers, the base takes {embedding_dim}")
        for clip in (*split.train, *split.val, *split.test):
            if clip.actions is not None and (label := int(clip.actions.max())) >= num_actions:
                raise DataError(f"{report.source}: {clip.label}: action {label}, the base has {num_actions} classes")
        if width < embedding_dim:
            pad = (0, embedding_dim - width)
            parts = {
                name: [replace(clip, embedding=F.pad(clip.embedding, pad)) for clip in getattr(split, name)]
                for name in ("train", "val", "test")
            }
            self._loaded = (Split(**parts), report)

    def train_plan(self) -> StepPlan:
        """Return the order of the training clips."""
        return StepPlan(
            self.split.train,
            self.config.batch_size,
            self.accumulate,
            shuffle=True,
            seed=self.seed,
            feed_actions=self.feed_actions,
        )

    def train_dataloader(self) -> "DataLoader[Batch]":
        """Return the training batches; after a resume, from where the checkpoint was taken."""
        plan = self.train_plan()
        epoch, batch = self._position["epoch"], self._position["batch"]
        plan.epoch, plan.start = (epoch + 1, 0) if batch >= len(plan) else (epoch, batch)
        return make_loader(plan, self.config.conditions, self.config.num_workers)

    def val_dataloader(self) -> "DataLoader[Batch]":
        """Return the validation batches."""
        return self.eval_loader(self.split.val)

    def test_dataloader(self) -> "DataLoader[Batch]":
        """Return the test batches."""
        return self.eval_loader(self.split.test)

    def eval_loader(self, clips: list[Clip]) -> "DataLoader[Batch]":
        """Return batches of clips, without shuffling.

        They count as one step, so the sums of their loss terms are those of all the clips at once.
        """
        plan = StepPlan(clips, EVAL_BATCH_SIZE, accumulate=-(-len(clips) // EVAL_BATCH_SIZE))
        return make_loader(plan, self.config.conditions)

    def state_dict(self) -> dict[str, int]:
        """Return how far into which epoch the training is, for a checkpoint."""
        if self.trainer is None:
            return dict(self._position)
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return {"epoch": self.trainer.current_epoch, "batch": progress.ready}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue from where a checkpoint was taken."""
        self._position = dict(state_dict)

    def _load(self) -> tuple[Split, DataReport]:
        if self._loaded is None:
            self._loaded = _load(self.config)
        return self._loaded


def _load(config: DataConfig) -> tuple[Split, DataReport]:
    if config.path is None:
        # Here, since most runs have a file and never need the generator.
        from stickgen.data.sample import SAMPLE_INFO, sample_sequences

        wanted = {name: value for name in ("styles", "actions") if (value := getattr(config.sample, name))}
        sequences: list[Any] = sample_sequences(
            config.sample.clips, seed=config.sample.seed, dim=config.dim or 20, **wanted
        )
        info, source = SAMPLE_INFO, "built-in sample motion"
    else:
        sequences, info = read_sequences(Path(config.path))
        source = config.path
    clips = clips_from_sequences(sequences, source)
    kept, dropped = _filter(clips, config)
    if not kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        raise DataError(f"{source}: no clip left of {len(clips)} ({reasons}); see data.min_quality and data.sources")
    report = DataReport(source, len(sequences), len(kept), dropped, info.get("text_encoder") or {})
    kept = [_as_configured(clip, config) for clip in kept]
    check_one_width(kept, "motion", source, "data.dim=20 reduces the 48 numbers of the larger figures to 20")
    return split_by_take(kept, config.val_fraction, config.test_fraction, config.split_seed, source), report


def _filter(clips: list[Clip], config: DataConfig) -> tuple[list[Clip], dict[str, int]]:
    """Return the clips to keep, and how many were left out for which reason."""

    def objection(clip: Clip) -> str | None:
        if clip.length < MIN_FRAMES:
            return "of a single frame"
        if config.sources and clip.source not in config.sources:
            return "of other sources"
        if clip.quality is None:
            return None if config.keep_unscored else "without a quality score"
        return f"below quality {config.min_quality:g}" if clip.quality < config.min_quality else None

    objections = [objection(clip) for clip in clips]
    kept = [clip for clip, reason in zip(clips, objections, strict=True) if reason is None]
    return kept, dict(Counter(reason for reason in objections if reason is not None))


def _as_configured(clip: Clip, config: DataConfig) -> Clip:
    """Cut a clip to the longest length and lay it out in the wanted number of segments."""
    if clip.length > config.max_frames:
        names = ("motion", "actions", "physics", "camera", "partner")
        tracks = {name: getattr(clip, name) for name in names}
        cut: dict[str, Any] = {name: track[: config.max_frames] for name, track in tracks.items() if track is not None}
        clip = replace(clip, **cut)
    if config.dim is None or clip.motion.shape[-1] == config.dim:
        return clip
    if config.dim != 20:
        have = skeleton_of(clip.motion.shape[-1])
        raise DataError(f"data.dim={config.dim}: {clip.label} is a {have.name}; only 48 numbers can become 20")
    partner = None if clip.partner is None else to_stick_5(clip.partner)
    return replace(clip, motion=to_stick_5(clip.motion), partner=partner)
