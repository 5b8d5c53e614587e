import json
import math
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

from stickgen import cli
from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.model import trained_fingerprint
from stickgen.artifacts.record import BaseRecord
from stickgen.data.file import write_sequences
from stickgen.data.sample import SAMPLE_INFO, sample_sequences
from stickgen.errors import CheckpointError, ConfigError, DataError
from stickgen.evaluation.evaluate import FROZEN, RESERVED, TITLES, Summary, evaluate, print_report, summary_text
from stickgen.evaluation.rollouts import TRIVIAL, RolloutProtocol
from stickgen.model import StickFigureTransformer
from tests.artifacts.test_model import make_adapter
from tests.runs import make_base

SHORT = RolloutProtocol(frames=26)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(base, tmp_path_factory.mktemp("run") / "lora.rank=4")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("data") / "sample.pt"
    write_sequences(path, sample_sequences(16, seed=0), SAMPLE_INFO)
    return str(path)


def test_every_model_stands_beside_its_base_and_what_needs_no_model(base: Path, adapter: Path, data: str) -> None:
    report = evaluate([f"adapted={adapter}", f"itself={base}"], [data], protocol=SHORT)[data]
    assert set(report) == {*TRIVIAL, "most frequent action", FROZEN, "adapted", "itself"}
    for name in (FROZEN, "adapted", "itself"):
        assert report[name].keys() >= TITLES.keys()
    # The adapter switched off is the base's file; switched on it is not.
    for metric in ("pose_mse", "rollout_mse_400ms", "temporal_consistency_error"):
        assert report[FROZEN][metric].mean == pytest.approx(report["itself"][metric].mean, rel=1e-5)
        assert report["adapted"][metric].mean != pytest.approx(report["itself"][metric].mean, rel=1e-3)


def test_models_of_one_label_are_summarised(base: Path, adapter: Path, data: str, tmp_path: Path) -> None:
    other = make_adapter(base, tmp_path / "other", seed=1)
    one, two = (evaluate([str(m)], [data], protocol=SHORT)[data][str(m)]["pose_mse"].mean for m in (adapter, other))
    both = evaluate([f"adapter={adapter}", f"adapter={other}"], [data], protocol=SHORT)[data]["adapter"]["pose_mse"]
    assert both.models == 2
    assert both.mean == pytest.approx((one + two) / 2)
    assert both.std == pytest.approx(abs(one - two) / math.sqrt(2))


def test_a_summary_without_a_value_has_none() -> None:
    summary = Summary.of([1.0, math.nan])
    assert math.isnan(summary.mean)
    assert summary.std == 0


def test_another_base_is_refused_unless_asked_for(adapter: Path, data: str, tmp_path: Path) -> None:
    other = make_base(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(CheckpointError, match="trained on another base"):
        evaluate([str(adapter)], [data], base=other, protocol=SHORT)
    assert evaluate([str(adapter)], [data], base=other, allow_other_base=True, protocol=SHORT)


def test_without_data_there_is_nothing_to_score_on(base: Path) -> None:
    with pytest.raises(ConfigError, match="use --data"):
        evaluate([str(base)])


def test_only_held_out_splits_are_scored(base: Path, data: str) -> None:
    with pytest.raises(ConfigError, match="split=train: val or test expected"):
        evaluate([str(base)], [data], split="train")


def test_that_numbers_are_leaky_is_said(data: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make_base(tmp_path / "reference.safetensors", causal=False)
    scores = evaluate([f"reference={path}"], [data], protocol=SHORT)[data]
    assert scores["reference"]["exploded"].models == 1
    assert "reference: bidirectional, so next-frame errors are leaky" in caplog.text


def test_captions_of_another_encoder_are_refused(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    info = {**SAMPLE_INFO, "text_encoder": {"id": "somebody/else", "dim": 1024}}
    write_sequences(path, sample_sequences(12, seed=0), info)
    with pytest.raises(ConfigError, match="embedded by somebody/else"):
        evaluate([str(base)], [str(path)])


def test_the_command_prints_a_table_and_writes_json(
    adapter: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "scores.json"
    monkeypatch.setenv("COLUMNS", "200")
    arguments = ["stickgen", "evaluate", str(adapter), "--data", data, "--given", "8", "--json", str(output)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    printed = capsys.readouterr().out
    assert all(title in printed for title in ("rollout MSE at 1 s", "Fréchet", "constant velocity"))
    written = json.loads(output.read_text())
    assert written["protocol"] == {"given": 8, "frames": 240, "shortest": 25, "batch_size": 32}
    assert written["models"] == {str(adapter): [trained_fingerprint(adapter)]}
    assert set(written["scores"][data][str(adapter)]["pose_mse"]) == {"mean", "std", "models"}
    # A second time, the figures are kept.
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert "already exists" in capsys.readouterr().err


def test_the_next_frame_scores_are_those_of_a_plain_loop(base: Path, data: str) -> None:
    from stickgen.config import DataConfig
    from stickgen.data.datamodule import ClipDataModule

    model = load_base(base).model
    module = ClipDataModule(DataConfig(path=data))
    squares, right, frames = 0.0, 0, 0
    for clip in module.split.test:
        with torch.no_grad():
            made = model(clip.motion[:-1, None], clip.embedding[None], return_all_outputs=True)
        squares += float((made["pose"][:, 0] - clip.motion[1:]).double().square().sum())
        right += int((made["action_logits"][:, 0].argmax(-1) == clip.actions[1:]).sum())
        frames += clip.length - 1
    scores = evaluate([str(base)], [data], protocol=SHORT)[data][str(base)]
    assert scores["pose_mse"].mean == pytest.approx(squares / (20 * frames), rel=1e-4)
    assert scores["action_accuracy"].mean == pytest.approx(right / frames)


@pytest.mark.parametrize("label", RESERVED)
def test_a_label_of_a_column_that_there_is_already_is_refused(label: str, base: Path, data: str) -> None:
    with pytest.raises(ConfigError, match=f"{label}: the table has a column of that name already"):
        evaluate([f"{label}={base}"], [data], protocol=SHORT)


def test_the_reserved_labels_are_the_columns_that_need_no_label(adapter: Path, data: str) -> None:
    assert set(evaluate([f"mine={adapter}"], [data], protocol=SHORT)[data]) == {*RESERVED, "mine"}


@pytest.mark.parametrize("model", ["outputs/lora.rank=4/0", "runs/seed=1", "lora.rank=4"])
def test_a_mistyped_path_is_shown_whole(model: str) -> None:
    with pytest.raises(CheckpointError, match=model):
        evaluate([model], ["data.pt"])


def test_a_path_behind_a_label_may_have_an_equals_sign(adapter: Path, data: str) -> None:
    assert adapter.name == "lora.rank=4"
    assert "mine" in evaluate([f"mine={adapter}"], [data], protocol=SHORT)[data]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A base and a data file of 48 numbers a frame."""
    folder = tmp_path_factory.mktemp("large")
    torch.manual_seed(0)
    model = StickFigureTransformer(
        input_dim=48, output_dim=48, d_model=48, nhead=4, num_layers=1, causal=True, pose_output="residual"
    )
    record = BaseRecord(settings={}, objective="causal", text_encoder=SAMPLE_INFO["text_encoder"])
    save_base(model, record, folder / "large.safetensors")
    write_sequences(folder / "large.pt", sample_sequences(16, seed=0, dim=48), SAMPLE_INFO)
    return folder / "large.safetensors", str(folder / "large.pt")


def test_larger_figures_are_reduced_for_a_model_of_the_smaller(base: Path, data: str, large: tuple[Path, str]) -> None:
    scores = [evaluate([f"model={base}"], [file], protocol=SHORT)[file] for file in (data, large[1])]
    for name in ("model", "constant velocity", "real clips"):
        for metric, summary in scores[0][name].items():
            assert scores[1][name][metric].mean == pytest.approx(summary.mean, rel=1e-3, nan_ok=True), metric


def test_a_model_of_the_larger_figure_takes_no_smaller_one(base: Path, data: str, large: tuple[Path, str]) -> None:
    assert evaluate([f"large={large[0]}"], [large[1]], protocol=SHORT)[large[1]]["large"]["pose_mse"].mean > 0
    with pytest.raises(DataError, match="frames of 20 numbers, the base takes 48"):
        evaluate([str(large[0])], [data], protocol=SHORT)
    with pytest.raises(ConfigError, match="evaluate them apart"):
        evaluate([str(base), str(large[0])], [large[1]], protocol=SHORT)


def test_clips_too_short_for_rollouts_have_their_next_frames_scored(
    base: Path, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    scores = evaluate([f"model={base}"], [data], protocol=RolloutProtocol(shortest=5000))[data]
    whole = evaluate([f"model={base}"], [data], protocol=SHORT)[data]
    assert set(scores["model"]) == {"pose_mse", "temporal_consistency_error", "action_accuracy"}
    assert all(scores["model"][metric] == whole["model"][metric] for metric in scores["model"])
    assert set(scores) == {"repeat last frame", "constant velocity", "most frequent action", "model"}
    assert "no rollouts: they need clips of 5010 frames in train and test" in caplog.text


def test_what_was_not_rolled_out_is_a_dash_in_the_table(
    base: Path, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["stickgen", "evaluate", f"model={base}", "--data", data, "--given", "5000"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    rows = {title: row for row in capsys.readouterr().out.splitlines() for title in TITLES.values() if title in row}
    assert rows[TITLES["pose_mse"]].count("–") == 1  # the most frequent action has no poses
    assert rows[TITLES["rollout_mse_1000ms"]].count("–") == 4


def test_a_data_file_named_twice_is_scored_once(base: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(data).parent)
    name = Path(data).name
    assert list(evaluate([str(base)], [name, f"./{name}", data, name], protocol=SHORT)) == [name]


def test_figures_are_never_cut_however_narrow_the_console(
    base: Path, data: str, adapter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluate([str(adapter), f"model={base}"], [data], protocol=SHORT)
    for width in (40, 80, 300):
        print_report(Console(width=width), report)
        printed = capsys.readouterr().out
        assert all(len(line) <= max(width, 60) for line in printed.splitlines())
        for metric, title in TITLES.items():
            rows = [line for line in printed.splitlines() if line[2:].startswith(title)]
            assert len(rows) == printed.count("evaluation ·")
            cells = [cell.strip() for row in rows for cell in row.split("│")[2:-1]]
            assert cells == [summary_text(metric, metrics.get(metric)) for metrics in report[data].values()]
    assert f"…{str(adapter)[-23:]}" in printed
