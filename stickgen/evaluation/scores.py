"""The figures of an evaluation, and their file, which ``stickgen evaluate --json`` writes and a model card reads."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stickgen.artifacts.run import read_json, write_json
from stickgen.errors import CheckpointError
from stickgen.evaluation.rollouts import RolloutProtocol


@dataclass(frozen=True)
class Summary:
    """A metric over the models of one label, such as the same run with three seeds.

    Attributes:
        mean: of the values; NaN where one is missing.
        std: sample standard deviation; 0 for a single model.
        models: how many.
    """

    mean: float
    std: float
    models: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Summarise values, at least one."""
        spread = statistics.stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else 0.0
        return cls(sum(values) / len(values), spread, len(values))


Report = dict[str, dict[str, dict[str, Summary]]]
"""Data file → predictor → metric → summary."""


@dataclass(frozen=True)
class ScoresFile:
    """An evaluation's figures, with what they were measured on.

    Attributes:
        split: "val" or "test".
        protocol: how the rollouts were made.
        models: label → fingerprints of its models (:func:`~stickgen.artifacts.model.trained_fingerprint`); the
            report's other rows are baselines.
        report: data file → predictor → metric → summary.
        groups: data file → action or style → predictor → metric → summary, where clips were scored in groups.
    """

    split: str
    protocol: RolloutProtocol
    models: dict[str, list[str]]
    report: Report
    groups: dict[str, Report] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the file in one step, in the place of an older one."""
        groups = {source: _plain(report) for source, report in self.groups.items()}
        head = {"split": self.split, "protocol": asdict(self.protocol), "models": self.models}
        write_json(path, {**head, "scores": _plain(self.report), "groups": groups})

    @classmethod
    def read(cls, path: Path) -> "ScoresFile":
        """Read a file.

        Raises:
            CheckpointError: it is missing, or not one of these.
        """
        content = read_json(path)
        try:
            report = _report(content["scores"])
            groups = {str(source): _report(of_source) for source, of_source in content["groups"].items()}
            models = {str(label): [str(digest) for digest in of_label] for label, of_label in content["models"].items()}
            return cls(str(content["split"]), RolloutProtocol(**content["protocol"]), models, report, groups)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise CheckpointError(
                f"{path}: not the figures of this version's stickgen evaluate --json; make them anew"
            ) from None


def _plain(report: Report) -> dict[str, Any]:
    return {
        source: {name: {metric: asdict(s) for metric, s in metrics.items()} for name, metrics in rows.items()}
        for source, rows in report.items()
    }


def _report(content: dict[str, Any]) -> Report:
    return {
        str(source): {
            str(name): {str(metric): _summary(s) for metric, s in metrics.items()} for name, metrics in rows.items()
        }
        for source, rows in content.items()
    }


def _summary(content: dict[str, Any]) -> Summary:
    mean = content["mean"]
    return Summary(math.nan if mean is None else float(mean), float(content["std"]), int(content["models"]))
