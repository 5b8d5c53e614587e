"""What is measured: the name, title, unit and good values of every metric, and where it is shown.

A metric is entered here and computed in :mod:`stickgen.evaluation`. Tables, plots, model cards, pages, loggers and
sweeps read everything else about it from here.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

REAL_CLIPS = "real clips"
"""The row of the real clips' own scores."""

FROZEN_BASE = "frozen base"
"""The row of the base that a model was trained from, without its adapter."""

CHANCE = "chance"
"""The row of what guessing would recognise."""

NEXT_FRAMES, GIVEN_FRAMES, FROM_REST, RECOGNITION = "next frames", "given frames", "from rest", "recognition"
SECTIONS = (NEXT_FRAMES, GIVEN_FRAMES, FROM_REST, RECOGNITION)
"""The sections of an evaluation's table, in order."""

TRAINING = "training"
"""The section of what only a training run measures."""

REST, SWITCH = "rest_", "switch_"
"""Beginnings of names: of motion from rest, and after a switch of caption. Others belong to next or given frames."""


class Aim(Enum):
    """Where the good values of a metric lie."""

    LOW = "↓"
    HIGH = "↑"
    ONE = "→ 1"
    REAL = "→ real"


SHARE, RELATIVE = "share", "relative"
"""Units shown in percent: a share of a whole, and an error relative to a length."""

HEIGHT, SPEED = "H", "H/s"
"""Body heights, and body heights a second."""


@dataclass(frozen=True)
class Metric:
    """A number that predictors are scored by.

    Attributes:
        name: in files, without a split.
        title: in tables.
        aim: where its good values lie.
        section: of the table that it belongs to.
        unit: "" where the title says it.
        grouped: whether the tables by action or style show it.
    """

    name: str
    title: str
    aim: Aim
    section: str
    unit: str = ""
    grouped: bool = False

    @property
    def heading(self) -> str:
        """The title with the unit, where it is a length or a speed, and the aim."""
        unit = f" ({self.unit})" if self.unit in (HEIGHT, SPEED) else ""
        return f"{self.title}{unit} {self.aim.value}"

    @property
    def full_title(self) -> str:
        """The title, with the section where other sections have the same title."""
        return f"from rest: {self.title}" if self.section == FROM_REST else self.title

    @property
    def full_heading(self) -> str:
        """The heading, with the section where other sections have the same title."""
        return self.heading.replace(self.title, self.full_title, 1)

    @property
    def percent(self) -> bool:
        """Whether it is shown in percent."""
        return self.unit in (SHARE, RELATIVE)

    def text(self, value: float | None) -> str:
        """Return a value as tables show it: three digits or a percentage; – where there was nothing to score."""
        if value is None or math.isnan(value):
            return "–"
        return f"{value:.1%}" if self.percent else f"{value:.3g}"


_MOTION = (
    Metric("speed_ratio", "speed ÷ real", Aim.ONE, GIVEN_FRAMES, grouped=True),
    Metric("travel_ratio", "travel ÷ real", Aim.ONE, GIVEN_FRAMES, grouped=True),
    Metric("root_drift", "drift of clips in place", Aim.REAL, GIVEN_FRAMES, HEIGHT, grouped=True),
    Metric("jerk_ratio", "jerk ÷ real", Aim.ONE, GIVEN_FRAMES),
    Metric("foot_contact", "steps with a planted foot", Aim.REAL, GIVEN_FRAMES, SHARE, grouped=True),
    Metric("stance_slip", "slip of the stance foot", Aim.REAL, GIVEN_FRAMES, SPEED),
    Metric("foot_skating", "foot skating", Aim.REAL, GIVEN_FRAMES, SPEED),
    Metric("bone_length_error", "bone-length error", Aim.LOW, GIVEN_FRAMES, RELATIVE),
    Metric("torso_length_error", "torso-length error", Aim.REAL, GIVEN_FRAMES, RELATIVE),
    Metric("exploded", "exploded clips", Aim.LOW, GIVEN_FRAMES, SHARE),
    Metric("frechet_distance", "Fréchet distance", Aim.LOW, GIVEN_FRAMES),
    Metric("diversity", "diversity", Aim.REAL, GIVEN_FRAMES),
)
"""What is measured of motion from given frames and of motion from rest."""

_RECOGNISED = tuple(
    Metric(f"{prefix}{kind}_recognised", f"{kind} recognised, {start}", Aim.HIGH, RECOGNITION, SHARE, grouped=True)
    for kind in ("action", "style")
    for prefix, start in (("", "given frames"), (SWITCH, "switched caption"), (REST, "from rest"))
)

METRICS = {
    metric.name: metric
    for metric in (
        Metric("pose_mse", "next-frame pose MSE", Aim.LOW, NEXT_FRAMES),
        Metric("temporal_consistency_error", "next-frame temporal error", Aim.LOW, NEXT_FRAMES),
        Metric("action_accuracy", "action accuracy", Aim.HIGH, NEXT_FRAMES, SHARE),
        Metric("loss", "loss", Aim.LOW, TRAINING),
        Metric("rollout_mse_400ms", "rollout MSE at 0.4 s", Aim.LOW, GIVEN_FRAMES),
        Metric("rollout_mse_1000ms", "rollout MSE at 1 s", Aim.LOW, GIVEN_FRAMES),
        Metric("rollout_mse_2000ms", "rollout MSE at 2 s", Aim.LOW, GIVEN_FRAMES, grouped=True),
        *_MOTION,
        *(replace(metric, name=REST + metric.name, section=FROM_REST) for metric in _MOTION),
        Metric(f"{REST}seed_diversity", "diversity of one prompt", Aim.REAL, FROM_REST, grouped=True),
        Metric(f"{REST}kept_pace", "pace kept for ten seconds", Aim.HIGH, FROM_REST, SHARE, grouped=True),
        *_RECOGNISED,
    )
}
"""The metrics by name, in the order of the tables."""

SHOWN = {name: metric for name, metric in METRICS.items() if metric.section in SECTIONS}
"""The metrics of tables, plots and cards."""

OF_TRAINING = tuple(name for name, metric in METRICS.items() if metric.section in (NEXT_FRAMES, TRAINING))
"""What training measures on the validation and the test clips."""

MONITORED = tuple(f"val/{name}" for name in OF_TRAINING)
"""What a run may keep its best weights by."""


def higher_is_better(name: str) -> bool:
    """Return whether the good values of a metric of training, such as ``val/action_accuracy``, are high."""
    return METRICS[name.rpartition("/")[2]].aim is Aim.HIGH


def check_registered(names: Iterable[str]) -> None:
    """Refuse scores that no table would show.

    Raises:
        KeyError: a name is not in :data:`METRICS`, and no number of clips either.
    """
    for name in names:
        if name not in METRICS and not name.endswith("clips"):
            raise KeyError(f"{name}: enter it in stickgen.metrics")
