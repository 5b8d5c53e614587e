import json
import math
from pathlib import Path

import pytest

from stickgen.errors import CheckpointError
from stickgen.evaluation.rollouts import RolloutProtocol
from stickgen.evaluation.scores import ScoresFile, Summary

FIGURES = ScoresFile(
    "test",
    RolloutProtocol(),
    {"adapter": ["a" * 32, "b" * 32]},
    {"x.pt": {"adapter": {"pose_mse": Summary(0.5, 0.1, 2)}}},
    {"x.pt": {"walk": {"adapter": {"rest_travel_ratio": Summary(0.7, 0.0, 2)}}}},
)


def test_figures_come_back_as_they_were(tmp_path: Path) -> None:
    FIGURES.write(tmp_path / "scores.json")
    assert ScoresFile.read(tmp_path / "scores.json") == FIGURES


def test_what_could_not_be_measured_stays_so(tmp_path: Path) -> None:
    ScoresFile("val", RolloutProtocol(), {}, {"x.pt": {"a": {"pose_mse": Summary(math.nan, 0.0, 1)}}}).write(
        tmp_path / "s.json"
    )
    assert math.isnan(ScoresFile.read(tmp_path / "s.json").report["x.pt"]["a"]["pose_mse"].mean)


@pytest.mark.parametrize(
    "change", [{"models": None}, {"scores": [1]}, {"scores": {"x.pt": {"a": {"m": 1.0}}}}, {"groups": 3}]
)
def test_another_file_is_refused_in_one_line(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "scores.json"
    FIGURES.write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=r"scores\.json: not the figures of") as caught:
        ScoresFile.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "words"), [("{", "not JSON"), ("[1]", "a JSON object expected"), (None, "no such")])
def test_a_damaged_or_missing_file(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "scores.json").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        ScoresFile.read(tmp_path / "scores.json")
