"""The clips."""

import math
from dataclasses import dataclass, field

from stickgen.config.checks import check

MAX_SAMPLE_CLIPS = 100_000
"""They are made in memory, some 20 kB each."""

MAX_WORKERS = 256
"""Processes that read clips."""


@dataclass
class SampleConfig:
    """The built-in sample motion; used where data.path is null."""

    clips: int = 240
    """Number of clips."""
    styles: list[str] = field(default_factory=list)
    """Styles to use; empty: all."""
    actions: list[str] = field(default_factory=list)
    """Actions to use; empty: all."""
    seed: int = 0
    """Seed of the motion."""

    def __post_init__(self) -> None:
        check("data.sample.clips", self.clips, 1 <= self.clips <= MAX_SAMPLE_CLIPS, f"1 to {MAX_SAMPLE_CLIPS}")
        check("data.sample.seed", self.seed, self.seed >= 0, "a whole number of at least 0")


@dataclass
class AugmentConfig:
    """How training clips are varied from epoch to epoch (stickgen/data/variations.py); as it stands, not at all."""

    variants: int | None = None
    """Variations of a clip, which return in turn, an epoch each; null: every epoch draws others. A fixed number lets
    trainer.cache_frozen store what frozen layers make of them."""

    mirror: float = 0.0
    """Share of clips shown in a mirror, of those that do not start from rest: x turned round, limbs exchanged."""
    swap_sides: float = 0.0
    """Share of clips whose left and right limbs are exchanged and x kept: who walks to +x still does."""
    speed: float = 1.0
    """Largest change of pace: 1.25 draws factors from 0.8 to 1.25."""
    scale: float = 1.0
    """Largest change of size, as speed."""
    shift: float = 0.0
    """Largest shift along x, in body heights. Clips begin at x = 0, long rollouts leave it far behind."""
    loop: float = 0.0
    """Share of those clips that repeat themselves while moving along x, such as gait, which go on for longer than they
    do in the file, up to data.max_frames."""
    crop: float = 0.0
    """Share of clips that begin at a random frame of their first half."""
    rest_start: float = 0.0
    """Share of clips that begin with a figure standing at rest, which moves into the clip's first frame."""

    def __post_init__(self) -> None:
        for name in ("mirror", "swap_sides", "loop", "crop", "rest_start"):
            value = getattr(self, name)
            check(f"data.augment.{name}", value, 0 <= value <= 1, "a share from 0 to 1")
        for name in ("speed", "scale"):
            value = getattr(self, name)
            check(f"data.augment.{name}", value, 1 <= value <= 4, "a factor from 1 (off) to 4")
        check("data.augment.variants", self.variants, self.variants is None or self.variants >= 1, "1 or more, or null")
        check("data.augment.shift", self.shift, math.isfinite(self.shift) and self.shift >= 0, "0 or more")


@dataclass
class DataConfig:
    """The clips and how they are split and batched (docs/data.md)."""

    path: str | None = None
    """The data file, as sft_data_embedded.pt, or a folder or pattern of packed files; null: the built-in sample
    motion."""
    sample: SampleConfig = field(default_factory=SampleConfig)
    dim: int | None = None
    """Numbers a frame; null: as in the file. 20 reduces 48-number clips."""
    min_quality: float = 0.8
    """Clips with a lower quality score are left out."""
    keep_unscored: bool = True
    """Whether clips without a quality score pass the filter."""
    sources: list[str] = field(default_factory=list)
    """Keep clips of these sources only; empty: all."""
    curation: str | None = None
    """A file that names clips to leave out, as `stickgen inspect` writes it; null: none (docs/data.md)."""
    conditions: list[str] = field(default_factory=list)
    """What is given to the model beside the caption: camera, partner. A clip without one gets the neutral value:
    a still camera, an absent partner."""
    max_frames: int = 250
    """Longer clips are cut to their first frames."""
    val_fraction: float = 0.1
    """Share of takes for validation, where the file fixes no split."""
    test_fraction: float = 0.1
    """Share of takes for the test, likewise."""
    split_seed: int = 0
    """Seed of the split."""
    split_by: str = "take"
    """What is never divided between splits: take, or subject, so that nobody is in two splits (docs/data.md)."""
    train_clips: int | None = None
    """Train on so many of the training clips, drawn by split_seed; null: on all. Validation and test stay whole."""
    batch_size: int = 2
    """Clips of a forward pass; times trainer.accumulate_grad_batches, those of an optimizer step."""
    num_workers: int = 0
    """Processes that read clips beside the training."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        check("data.dim", self.dim, self.dim in (None, 20, 48), "20, 48 or null")
        check("data.min_quality", self.min_quality, 0 <= self.min_quality <= 1, "a number from 0 to 1")
        for name in ("val_fraction", "test_fraction"):
            value = getattr(self, name)
            check(f"data.{name}", value, 0 < value < 1, "a number between 0 and 1")
        check("data.split_by", self.split_by, self.split_by in ("take", "subject"), "take or subject")
        total = self.val_fraction + self.test_fraction
        check("data.val_fraction + data.test_fraction", total, total < 1, "less than 1, to leave clips to train on")
        check("data.batch_size", self.batch_size, self.batch_size >= 1, "a whole number of at least 1")
        check("data.max_frames", self.max_frames, self.max_frames >= 3, "at least 3 frames")
        few = self.train_clips
        check("data.train_clips", few, few is None or few >= 1, "a whole number of at least 1, or null")
        check("data.split_seed", self.split_seed, self.split_seed >= 0, "a whole number of at least 0")
        check("data.num_workers", self.num_workers, 0 <= self.num_workers <= MAX_WORKERS, f"0 to {MAX_WORKERS}")
        for condition in self.conditions:
            check("data.conditions", condition, condition in ("camera", "partner"), "camera or partner")
