import math
from pathlib import Path

import pytest
from PIL import Image

from stickgen.errors import ConfigError, OutputExistsError
from stickgen.evaluation.plot import check_plot, draw, save_plot
from stickgen.evaluation.scores import Report, Summary


def report(*metrics: str, adapter: float = 0.2) -> Report:
    rows = {"real clips": 1.0, "constant velocity": 30.0, "frozen base": 0.5, "adapter": adapter}
    return {
        source: {name: {m: Summary(value, 0.01, 3) for m in metrics} for name, value in rows.items()}
        for source in ("salsa.pt", "walk.pt")
    }


def test_a_figure_grows_with_metrics_and_shows_other_values_otherwise(tmp_path: Path) -> None:
    few, many, other = (tmp_path / name for name in ("few.png", "many.png", "other.png"))
    save_plot(report("pose_mse"), few)
    save_plot(report("pose_mse", "speed_ratio", "exploded", "diversity", "foot_skating"), many)
    save_plot(report("pose_mse", adapter=0.4), other)
    with Image.open(few) as a, Image.open(many) as b, Image.open(other) as c:
        assert b.height > a.height
        assert a.tobytes() != c.tobytes()


def test_what_was_not_scored_is_left_out(tmp_path: Path) -> None:
    scores = report("pose_mse", "rollout_mse_1000ms", adapter=math.nan)
    del scores["salsa.pt"]["constant velocity"]["pose_mse"]
    save_plot(scores, tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert all(text in drawn for text in ("next-frame pose MSE", "rollout MSE at 1 s", "frozen base", "walk.pt"))
    assert "diversity" not in drawn


def test_impossible_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a figure ends in \.png"):
        check_plot(tmp_path / "a.jpg")
    (tmp_path / "a.png").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        save_plot(report("pose_mse"), tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"mine"


@pytest.mark.parametrize("metric", ["pose_mse", "bone_length_error", "frechet_distance"])
@pytest.mark.parametrize("smallest", [1.1e-5, 0.04, 0.079, 26.0])
@pytest.mark.parametrize("spread", [11, 40, 150, 1500, 30_000])
def test_a_logarithmic_panel_has_ticks_enough_to_be_read(metric: str, smallest: float, spread: float) -> None:
    rows = {str(value): {metric: Summary(value, 0.0, 1)} for value in (smallest, 2 * smallest, spread * smallest)}
    figure = draw({"a.pt": rows})
    figure.draw_without_rendering()
    axes = figure.axes[0]
    left, right = axes.get_xlim()
    labels = [tick.get_text() for tick in axes.get_xticklabels() if left <= tick.get_position()[0] <= right]
    assert axes.get_xscale() == "log"
    assert 2 <= len(labels) == len(set(labels)) <= 8
    assert all(label.endswith("%") == (metric == "bone_length_error") for label in labels)


def test_shares_of_a_whole_stay_linear() -> None:
    rows = {str(value): {"action_accuracy": Summary(value, 0.0, 1)} for value in (0.08, 1.0)}
    assert draw({"a.pt": rows}).axes[0].get_xscale() == "linear"


def test_values_of_one_size_are_on_a_linear_scale_without_a_factor_beside_it() -> None:
    figure = draw({"a.pt": {str(value): {"pose_mse": Summary(value, 0.0, 1)} for value in (1.2e-5, 2.6e-5)}})
    figure.draw_without_rendering()
    assert figure.axes[0].get_xscale() == "linear"
    assert "2e-5" in [tick.get_text() for tick in figure.axes[0].get_xticklabels()]
