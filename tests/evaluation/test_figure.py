import math
from pathlib import Path

import pytest
from PIL import Image

from stickgen.errors import ConfigError, OutputExistsError
from stickgen.evaluation.figure import check_figure, save_figure
from stickgen.evaluation.scores import Report, Summary


def report(*metrics: str, adapter: float = 0.2) -> Report:
    rows = {"real clips": 1.0, "constant velocity": 30.0, "frozen base": 0.5, "adapter": adapter}
    return {
        source: {name: {m: Summary(value, 0.01, 3) for m in metrics} for name, value in rows.items()}
        for source in ("salsa.pt", "walk.pt")
    }


def test_a_figure_grows_with_metrics_and_shows_other_values_otherwise(tmp_path: Path) -> None:
    few, many, other = (tmp_path / name for name in ("few.png", "many.png", "other.png"))
    save_figure(report("pose_mse"), few)
    save_figure(report("pose_mse", "speed_ratio", "exploded", "diversity", "foot_skating"), many)
    save_figure(report("pose_mse", adapter=0.4), other)
    with Image.open(few) as a, Image.open(many) as b, Image.open(other) as c:
        assert b.height > a.height
        assert a.tobytes() != c.tobytes()


def test_what_was_not_scored_is_left_out(tmp_path: Path) -> None:
    scores = report("pose_mse", "rollout_mse_1000ms", adapter=math.nan)
    del scores["salsa.pt"]["constant velocity"]["pose_mse"]
    save_figure(scores, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert all(text in drawn for text in ("next-frame pose MSE", "rollout MSE at 1 s", "frozen base", "walk.pt"))
    assert "diversity" not in drawn


def test_impossible_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a figure ends in \.png"):
        check_figure(tmp_path / "a.jpg")
    (tmp_path / "a.png").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        save_figure(report("pose_mse"), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"mine"
