"""The registry of metrics: what is entered is shown, and what is not entered is refused."""

import io
import math
import subprocess
import sys

import pytest
from rich.console import Console

from stickgen.evaluation.rollouts import RolloutProtocol
from stickgen.evaluation.scores import ScoresFile, Summary
from stickgen.evaluation.table import print_scores
from stickgen.metrics import (
    FROM_REST,
    METRICS,
    MONITORED,
    SECTIONS,
    SHOWN,
    TRAINING,
    Aim,
    Metric,
    check_registered,
    higher_is_better,
)


def test_the_accuracy_alone_of_the_monitored_metrics_is_to_be_high() -> None:
    assert [name for name in MONITORED if higher_is_better(name)] == ["val/action_accuracy"]
    assert set(MONITORED) == {
        "val/pose_mse", "val/temporal_consistency_error", "val/action_accuracy", "val/loss"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "heading", "full"),
    [
        ("pose_mse", "next-frame pose MSE ↓", "next-frame pose MSE ↓"),
        ("speed_ratio", "speed ÷ real → 1", "speed ÷ real → 1"),
        ("rest_root_drift", "drift of clips in place (H) → real", "from rest: drift of clips in place (H) → real"),
        ("switch_style_recognised", "style recognised, switched caption ↑", "style recognised, switched caption ↑"),
    ],
)
def test_headings_say_unit_and_aim(name: str, heading: str, full: str) -> None:
    assert (METRICS[name].heading, METRICS[name].full_heading) == (heading, full)


def test_full_headings_tell_all_metrics_apart() -> None:
    headings = [metric.full_heading for metric in SHOWN.values()]
    assert len(set(headings)) == len(headings)
    assert {metric.section for metric in SHOWN.values()} == set(SECTIONS)
    assert {name for name in METRICS if name not in SHOWN} == {"loss"}
    assert METRICS["loss"].section == TRAINING


def test_values_as_text() -> None:
    assert METRICS["bone_length_error"].text(0.0456) == "4.6%"
    assert METRICS["frechet_distance"].text(15.64) == "15.6"
    assert METRICS["diversity"].text(None) == METRICS["diversity"].text(math.nan) == "–"


def test_scores_that_no_table_would_show_are_refused() -> None:
    check_registered(["pose_mse", "rest_clips", "switch_action_clips"])
    with pytest.raises(KeyError, match=r"bounce: enter it in stickgen\.metrics"):
        check_registered(["pose_mse", "bounce"])


def test_a_metric_needs_no_other_entry_to_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    new = Metric("rest_bounce", "bounce", Aim.REAL, FROM_REST, "H")
    monkeypatch.setitem(METRICS, new.name, new)
    monkeypatch.setitem(SHOWN, new.name, new)
    rows = {"real clips": {new.name: Summary.of([0.25])}, "mine": {new.name: Summary.of([0.5, 0.7])}}
    printed = io.StringIO()
    scores = ScoresFile(split="test", protocol=RolloutProtocol(), models={}, report={"clips.pt": rows}, groups={})
    print_scores(Console(file=printed, width=200), scores)
    (line,) = [line for line in printed.getvalue().splitlines() if "bounce (H) → real" in line]
    assert "0.25" in line
    assert "0.6 ± 0.141" in line


def test_it_is_free_of_torch() -> None:
    code = "import sys, stickgen.metrics; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
