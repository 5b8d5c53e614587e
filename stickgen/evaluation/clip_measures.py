"""What ``stickgen inspect`` measures of clips, so that the odd ones of a file can be found and left out.

The quality score tells damaged motion from sound motion, so that training can leave the damaged out; most corpora score
1.00 throughout. These measures spread over sound motion too, and ``odd`` puts clips in one order.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stickgen.data.clips import ClipInfo
from stickgen.data.stores import ClipStore
from stickgen.errors import ConfigError, DataError
from stickgen.evaluation.features import motion_features
from stickgen.evaluation.motion_quality import UPPER_QUANTILE, StanceSlip
from stickgen.motion.skeleton import FPS, skeleton_of, to_stick_5

STILL_SPEED = 0.1
"""Body heights a second; a figure none of whose joints is faster stands still."""

NEIGHBOURS = 5
"""An outlier is far from its fifth nearest clip: copies of it beside it do not make it usual."""

NEAR_DUPLICATE = 0.2
"""Clips of two splits that are nearer are reported. In CMU motion capture that is about the nearest twentieth of clips
of different takes, many of them repeats of one recording session."""

MOST_CLIPS = 20_000
"""Distances between clips take time by the square of their number: about a minute for so many."""

_BLOCK = 512


@dataclass(frozen=True)
class Measure:
    """A measure of a clip.

    Attributes:
        name: what rules and the page call it.
        meaning: what it is, with its unit.
        high_is_odd: whether clips with high values are to be looked at first, or those with low ones.
    """

    name: str
    meaning: str
    high_is_odd: bool = True


MEASURES = (
    Measure("odd", "mean rank by jerk, skating, bones, stillness and outlier, from 0 (usual) to 1"),
    Measure("jerk", "mean size of the joints' third derivative, body heights / s³"),
    Measure("skating", "mean speed of the standing foot, body heights / s"),
    Measure("bones", "excess of the segments' longest over their usual longest (0.9 quantile), as a share"),
    Measure("stillness", f"share of the time in which no joint is faster than {STILL_SPEED:g} body heights / s"),
    Measure("speed", "mean speed of the joints, body heights / s"),
    Measure("height", "usual (median) height from the lowest joint to the highest, body heights"),
    Measure("duplicate", "distance to the nearest clip before it in the file, 0 for a copy", high_is_odd=False),
    Measure("outlier", "distance to the fifth nearest clip, over the file's median of it"),
    Measure("quality", "the file's quality score", high_is_odd=False),
    Measure("frames", "length", high_is_odd=False),
)
"""Distances are between features (:func:`~stickgen.evaluation.features.motion_features`), in standard deviations."""

RANKED = ("jerk", "skating", "bones", "stillness", "outlier")
"""What ``odd`` is made of."""

NAMES = tuple(measure.name for measure in MEASURES)


@dataclass(frozen=True, eq=False)
class Measured:
    """Clips and what was measured of them.

    Attributes:
        infos: the N clips that could be read.
        values: measure → float64 ``[N]``; NaN where a clip has none.
        neighbours: the nearest earlier clip of each as its place in ``infos``, int64 ``[N]``; -1 for the first.
        features: standardised, float32 ``[N, F]``.
        unreadable: what is wrong with the clips that could not be read, a line each.
    """

    infos: list[ClipInfo]
    values: dict[str, np.ndarray]
    neighbours: np.ndarray
    features: Tensor
    unreadable: list[str]

    def of_position(self, name: str) -> dict[int, float]:
        """Return a clip's position → its measure, without the clips that have none."""
        pairs = zip(self.infos, self.values[name].tolist(), strict=True)
        return {info.position: value for info, value in pairs if value == value}


def measure(store: ClipStore, infos: Sequence[ClipInfo]) -> Measured:
    """Read clips and measure them; those that cannot be read are named instead.

    Args:
        store: where they lie.
        infos: which of them, in the order of the file.
    """
    kept, rows, features, unreadable = [], [], [], []
    slip = StanceSlip()  # made once, since making one takes longer than using it
    for info in infos:
        try:
            motion = store.load(info.position).motion
        except DataError as error:
            unreadable.append(str(error))
            continue
        kept.append(info)
        rows.append(_of_motion(motion, slip))
        # The smaller figure's: those of both figures are compared.
        features.append(motion_features(to_stick_5(motion)) if len(motion) > 1 else torch.zeros(_FEATURES))
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(_OF_MOTION)).T
    values = dict(zip(_OF_MOTION, columns, strict=True))
    standard = _standardised(torch.stack(features)) if features else torch.zeros(0, _FEATURES)
    values["duplicate"], values["outlier"], neighbours = _distances(standard)
    values["quality"] = np.array([np.nan if info.quality is None else info.quality for info in kept])
    values["frames"] = np.array([info.length for info in kept], dtype=np.float64)
    values["odd"] = _mean_ranks([values[name] for name in RANKED])
    return Measured(kept, {name: values[name] for name in NAMES}, neighbours, standard, unreadable)


_FEATURES = 42
_OF_MOTION = ("jerk", "skating", "bones", "stillness", "speed", "height")


def _of_motion(motion: Tensor, slip: StanceSlip) -> tuple[float, ...]:
    """Return the measures of :data:`_OF_MOTION` of ``[T, D]``, NaN for those that so few frames do not have."""
    points = motion.double().unflatten(-1, (-1, 2))
    jerk = points.diff(n=3, dim=0).norm(dim=-1).mean() * FPS**3 if len(motion) > 3 else torch.tensor(torch.nan)
    slip.reset()
    slip.update(motion[:, None], motion[:, None], torch.ones(len(motion), 1, dtype=torch.bool))
    speeds = points.diff(dim=0).norm(dim=-1) * FPS
    still = (speeds.amax(dim=-1) < STILL_SPEED).double().mean()
    height = (points[..., 1].amax(dim=1) - points[..., 1].amin(dim=1)).median()
    lengths = skeleton_of(motion.shape[-1]).segment_lengths(motion.double())
    usual = lengths.quantile(UPPER_QUANTILE, dim=0)
    bones = (lengths.amax(dim=0) - usual).sum() / usual.sum()
    return tuple(map(float, (jerk, slip.compute(), bones, still, speeds.mean(), height)))


def _mean_ranks(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean over some measures ``[N]`` of the share of clips below each clip, NaN for one that has none.

    Equal clips share the middle of their ranks.
    """
    ranks = np.full((len(columns), len(columns[0])), np.nan)
    for row, column in zip(ranks, columns, strict=True):
        known = ~np.isnan(column)
        _, of, counts = np.unique(column[known], return_inverse=True, return_counts=True)
        row[known] = (np.cumsum(counts) - (counts + 1) / 2)[of] / max(known.sum() - 1, 1)
    has = ~np.isnan(ranks)
    return np.where(has.any(axis=0), np.where(has, ranks, 0).sum(axis=0) / np.maximum(has.sum(axis=0), 1), np.nan)


def _standardised(features: Tensor) -> Tensor:
    """Return features ``[N, F]`` with means of 0 and standard deviations of 1; those that do not vary are 0."""
    scale = features.std(0, correction=0)
    scale = torch.where(scale > 1e-9, scale, torch.inf)
    return ((features - features.mean(0)) / scale).float()


def _distances(features: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return duplicate and outlier measures ``[N]`` and the nearest earlier clips ``[N]``.

    A distance is the root mean square over the features, so two clips drawn at random are about 1.4 apart.
    """
    count, width = features.shape
    nearest, far = torch.full((count,), torch.nan), torch.full((count,), torch.nan)
    earlier = torch.full((count,), -1)
    wanted = min(NEIGHBOURS, count - 1)
    for first in range(0, count, _BLOCK):
        block = torch.cdist(features[first : first + _BLOCK], features) / width**0.5
        rows = torch.arange(len(block))
        block[rows, first + rows] = torch.inf
        if wanted > 0:
            far[first : first + _BLOCK] = block.topk(wanted, largest=False).values[:, -1]
        before = block.masked_fill(torch.arange(count) >= (first + rows)[:, None], torch.inf)
        smallest, place = before.min(dim=1)
        known = smallest < torch.inf
        nearest[first : first + _BLOCK][known] = smallest[known]
        earlier[first : first + _BLOCK][known] = place[known]
    median = far.nanmedian()
    return nearest.double().numpy(), (far / median).double().numpy(), earlier.numpy()


@dataclass(frozen=True)
class Leak:
    """A held-out clip and the training clip that is nearest to it."""

    split: str
    held_out: ClipInfo
    train: ClipInfo
    distance: float


def leaks(measured: Measured, split_of: Mapping[str, str]) -> list[Leak]:
    """Return held-out clips that have a near-duplicate among the training clips, the nearest first.

    Args:
        measured: the clips.
        split_of: take → "train", "val" or "test"; clips of other takes do not count.
    """
    splits = [split_of.get(info.take) for info in measured.infos]
    train = [place for place, split in enumerate(splits) if split == "train"]
    found = []
    for split in ("val", "test"):
        held_out = [place for place, other in enumerate(splits) if other == split]
        if not (train and held_out):
            continue
        width = measured.features.shape[1] ** 0.5
        for first in range(0, len(held_out), _BLOCK):
            block = held_out[first : first + _BLOCK]
            distance, nearest = (torch.cdist(measured.features[block], measured.features[train]) / width).min(dim=1)
            found += [
                Leak(split, measured.infos[place], measured.infos[train[at]], away)
                for place, at, away in zip(block, nearest.tolist(), distance.tolist(), strict=True)
                if away < NEAR_DUPLICATE
            ]
    return sorted(found, key=lambda leak: leak.distance)


_RULE = re.compile(r"\s*([a-z]+)\s*(<=|>=|<|>)\s*(\d+(?:\.\d*)?|\.\d+)\s*")
_COMPARISONS: dict[str, Callable[..., np.ndarray]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """A measure, a comparison and a number, such as ``jerk>200``."""

    measure: str
    comparison: str
    number: float

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Read a rule.

        Raises:
            ConfigError: it is none.
        """
        found = _RULE.fullmatch(text)
        if found is None or found[1] not in NAMES:
            raise ConfigError(
                f"flag={text}: a measure, <, <=, > or >= and a number expected, such as jerk>200; measures: "
                f"{', '.join(NAMES)}"
            )
        return cls(found[1], found[2], float(found[3]))

    def __str__(self) -> str:
        return f"{self.measure}{self.comparison}{self.number:g}"

    def flags(self, measured: Measured) -> np.ndarray:
        """Return which clips it holds for, bool ``[N]``; a clip without the measure is not flagged."""
        return _COMPARISONS[self.comparison](measured.values[self.measure], self.number)

    def remark(self, measured: Measured, place: int) -> str:
        """Return why a clip is flagged."""
        return f"{self.measure} {measured.values[self.measure][place]:.3g}"
