import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from stickgen import cli
from stickgen.artifacts import model as model_files
from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.model import ModelOptions, read_adapter, trained_fingerprint
from stickgen.artifacts.record import BaseRecord
from stickgen.data.file import write_sequences
from stickgen.errors import CheckpointError, ConfigError, DataError
from stickgen.evaluation.evaluate import RESERVED, evaluate
from stickgen.evaluation.rollouts import RolloutProtocol
from stickgen.evaluation.scores import ScoresFile, Summary
from stickgen.evaluation.table import print_scores, summary_text
from stickgen.metrics import FROZEN_BASE, METRICS, SHOWN
from stickgen.model import StickFigureTransformer
from stickgen.sample import SAMPLE_INFO, sample_sequences
from tests.artifacts.test_model import make_adapter
from tests.evaluation.test_frozen import trained_whole
from tests.runs import make_base, run_command, run_script, short_run

SHORT = RolloutProtocol(max_frames=36)


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
    report = evaluate([f"adapted={adapter}", f"itself={base}"], [data], protocol=SHORT).report[data]
    assert set(report) == {*RESERVED, "adapted", "itself"}
    for name in (FROZEN_BASE, "adapted", "itself"):
        assert report[name].keys() >= {metric for metric in SHOWN if "recognised" not in metric}
        assert report[name]["rest_style_recognised"].mean <= 1
    # The adapter switched off is the base's file; switched on it is not.
    for metric in ("pose_mse", "rollout_mse_400ms", "temporal_consistency_error"):
        assert report[FROZEN_BASE][metric].mean == pytest.approx(report["itself"][metric].mean, rel=1e-5)
        assert report["adapted"][metric].mean != pytest.approx(report["itself"][metric].mean, rel=1e-3)


def test_models_of_one_label_are_summarised(base: Path, adapter: Path, data: str, tmp_path: Path) -> None:
    other = make_adapter(base, tmp_path / "other", seed=1)

    def pose_mse(*paths: Path) -> Summary:
        return evaluate([f"mine={path}" for path in paths], [data], protocol=SHORT).report[data]["mine"]["pose_mse"]

    one, two = pose_mse(adapter).mean, pose_mse(other).mean
    both = pose_mse(adapter, other)
    assert both.models == 2
    assert both.mean == pytest.approx((one + two) / 2)
    assert both.std == pytest.approx(abs(one - two) / math.sqrt(2))


def test_a_model_counts_once_for_its_label(adapter: Path, data: str) -> None:
    with pytest.raises(ConfigError, match="mine: names the same weights twice"):
        evaluate([f"mine={adapter}", f"mine={adapter}/."], [data], protocol=SHORT)


def test_a_summary_without_a_value_has_none() -> None:
    summary = Summary.of([1.0, math.nan])
    assert math.isnan(summary.mean)
    assert summary.std == 0


def test_another_base_is_refused_unless_asked_for(adapter: Path, data: str, tmp_path: Path) -> None:
    other = make_base(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(CheckpointError, match="trained on another base"):
        evaluate([str(adapter)], [data], ModelOptions(other), protocol=SHORT)
    assert evaluate([str(adapter)], [data], ModelOptions(other, allow_other_base=True), protocol=SHORT)


def test_without_data_there_is_nothing_to_score_on(base: Path) -> None:
    with pytest.raises(ConfigError, match="use --data"):
        evaluate([str(base)])


def test_only_held_out_splits_are_scored(base: Path, data: str) -> None:
    with pytest.raises(ConfigError, match="split=train: val or test expected"):
        evaluate([str(base)], [data], split="train")


def test_that_numbers_are_leaky_is_said(data: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make_base(tmp_path / "reference.safetensors", causal=False)
    scores = evaluate([f"reference={path}"], [data], protocol=SHORT).report[data]
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
    arguments = ["stickgen", "evaluate", str(adapter), "--data", data, "--given", "8", "--max-frames", "60"]
    arguments += ["--json", str(output)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    printed = capsys.readouterr().out
    assert all(title in printed for title in ("rollout MSE at 1 s", "foot skating", "motion matching"))
    written = json.loads(output.read_text())
    assert written["protocol"] == {
        "given": 8, "max_frames": 60, "shortest": 25, "batch_size": 32,
    }  # fmt: skip
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
    module = ClipDataModule(DataConfig(path=data, max_frames=SHORT.max_frames))
    squares, right, frames = 0.0, 0, 0
    for clip in module.split.test:
        with torch.no_grad():
            made = model(clip.motion[:-1, None], clip.embedding[None], return_all_outputs=True)
        squares += float((made["pose"][:, 0] - clip.motion[1:]).double().square().sum())
        right += int((made["action_logits"][:, 0].argmax(-1) == clip.actions[1:]).sum())
        frames += clip.length - 1
    scores = evaluate([str(base)], [data], protocol=SHORT).report[data][str(base)]
    assert scores["pose_mse"].mean == pytest.approx(squares / (20 * frames), rel=1e-4)
    assert scores["action_accuracy"].mean == pytest.approx(right / frames)


@pytest.mark.parametrize("label", [*RESERVED, "frozen base (tiny)"])
def test_a_label_of_a_column_that_there_is_already_is_refused(label: str, base: Path, data: str) -> None:
    with pytest.raises(ConfigError, match=f"{re.escape(label)}: the table has a column of that name already"):
        evaluate([f"{label}={base}"], [data], protocol=SHORT)


def test_the_reserved_labels_are_the_columns_that_need_no_label(adapter: Path, data: str) -> None:
    assert set(evaluate([f"mine={adapter}"], [data], protocol=SHORT).report[data]) == {*RESERVED, "mine"}


@pytest.mark.parametrize("model", ["outputs/lora.rank=4/0", "runs/seed=1", "lora.rank=4"])
def test_a_mistyped_path_is_shown_whole(model: str) -> None:
    with pytest.raises(CheckpointError, match=model):
        evaluate([model], ["data.pt"])


def test_a_path_behind_a_label_may_have_an_equals_sign(adapter: Path, data: str) -> None:
    assert adapter.name == "lora.rank=4"
    assert "mine" in evaluate([f"mine={adapter}"], [data], protocol=SHORT).report[data]


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
    scores = [evaluate([f"model={base}"], [file], protocol=SHORT).report[file] for file in (data, large[1])]
    for name in ("model", "constant velocity", "real clips"):
        for metric, summary in scores[0][name].items():
            assert scores[1][name][metric].mean == pytest.approx(summary.mean, rel=1e-3, nan_ok=True), metric


def test_a_model_of_the_larger_figure_takes_no_smaller_one(base: Path, data: str, large: tuple[Path, str]) -> None:
    assert evaluate([f"large={large[0]}"], [large[1]], protocol=SHORT).report[large[1]]["large"]["pose_mse"].mean > 0
    with pytest.raises(DataError, match="frames of 20 numbers, the base takes 48"):
        evaluate([str(large[0])], [data], protocol=SHORT)
    with pytest.raises(ConfigError, match="evaluate them apart"):
        evaluate([str(base), str(large[0])], [large[1]], protocol=SHORT)


def test_clips_too_short_for_rollouts_have_their_next_frames_scored(
    base: Path, data: str, caplog: pytest.LogCaptureFixture
) -> None:
    scores = evaluate([f"model={base}"], [data], protocol=replace(SHORT, shortest=5000)).report[data]
    whole = evaluate([f"model={base}"], [data], protocol=SHORT).report[data]
    assert set(scores["model"]) == {"pose_mse", "temporal_consistency_error", "action_accuracy"}
    assert all(scores["model"][metric] == whole["model"][metric] for metric in scores["model"])
    assert set(scores) == {"repeat last frame", "constant velocity", "most frequent action", "model"}
    assert "no rollouts of the caption and the first 10 frames: they need clips of 5010 frames in tr" in caplog.text
    assert "no rollouts of the caption and the rest pose: they need clips of 5000 frames in train and" in caplog.text


def test_what_was_not_rolled_out_is_a_dash_in_the_table(
    base: Path, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(
        sys, "argv", ["stickgen", "evaluate", f"model={base}", "--data", data, "--given", "5000", "--max-frames", "40"]
    )
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    printed = capsys.readouterr().out
    (row,) = [line for line in printed.splitlines() if METRICS["pose_mse"].heading in line]
    assert row.count("–") == 4  # real clips, the look-up and guesses predict no next frames
    assert "given frames" not in printed
    assert METRICS["rest_travel_ratio"].heading in printed


def test_a_data_file_named_twice_is_scored_once(base: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(data).parent)
    name = Path(data).name
    assert list(evaluate([str(base)], [name, f"./{name}", data, name], protocol=SHORT).report) == [name]


def test_figures_are_never_cut_however_narrow_the_console(
    base: Path, data: str, adapter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = evaluate([str(adapter), f"model={base}"], [data], protocol=SHORT)
    for width in (40, 80, 300):
        print_scores(Console(width=width), scores)
        printed = capsys.readouterr().out
        assert all(len(line) <= max(width, 80) for line in printed.splitlines())
        cells = {m: [summary_text(m, of.get(m)) for of in scores.report[data].values()] for m in SHOWN}
        shown = [metric for metric, texts in cells.items() if set(texts) != {"–"}]
        found: dict[str, list[str]] = {}
        for table in printed.split("evaluation ·")[1:]:
            lines = [line.split("│")[1:-1] for line in table.splitlines() if line.startswith("│")]
            rows = [cells for cells in lines if cells[1].strip()]  # those of sections are empty
            for metric, row in zip(shown, rows, strict=True):
                assert row[0].strip() in METRICS[metric].full_heading
                found.setdefault(metric, []).extend(cell.strip() for cell in row[1:])
        assert found == {metric: cells[metric] for metric in shown}
    assert f"…{str(adapter)[-23:]}" in printed


def test_full_fine_tuning_alone_stands_beside_the_base_it_began_as(base: Path, data: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    trained_whole(base, whole)
    scores = evaluate([f"whole={whole}", f"base={base}"], [data], protocol=SHORT).report[data]
    assert scores[FROZEN_BASE]["pose_mse"].mean == scores["base"]["pose_mse"].mean != scores["whole"]["pose_mse"].mean


def test_adapters_of_two_bases_stand_beside_their_own(adapter: Path, data: str, tmp_path: Path) -> None:
    other = make_adapter(make_base(tmp_path / "other.safetensors", seed=1), tmp_path / "adapter")
    both = evaluate([f"one={adapter}", f"two={other}"], [data], protocol=SHORT).report[data]
    frozen = [both[f"{FROZEN_BASE} ({name})"]["pose_mse"].mean for name in ("base", "other")]
    reports = [evaluate([str(model)], [data], protocol=SHORT).report for model in (adapter, other)]
    alone = [report[data][FROZEN_BASE]["pose_mse"].mean for report in reports]
    assert frozen == alone
    assert FROZEN_BASE not in both


def test_a_model_is_read_once_also_for_its_fingerprint(
    adapter: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def counting(path: Path) -> object:
        read.append(path)
        return read_adapter(path)

    monkeypatch.setattr(model_files, "read_adapter", counting)
    output = tmp_path / "scores.json"
    assert (
        run_command(monkeypatch, "evaluate", f"mine={adapter}", "--data", data, "--max-frames", 40, "--json", output)
        == 0
    )
    assert read == [adapter]
    assert ScoresFile.read(output).models == {"mine": [trained_fingerprint(adapter)]}


@pytest.mark.parametrize("option", ["--json", "--figure"])
def test_outputs_that_cannot_be_written_are_refused_before_any_work(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "scores.png"
    assert run_command(monkeypatch, "evaluate", "nowhere", "--data", "no.pt", option, output) == 1
    assert f"error: {output}: {tmp_path / 'file'} is a file" in capsys.readouterr().err


def test_from_rest_what_a_place_decides_is_left_out_and_why_is_said(
    base: Path, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run_command(monkeypatch, "evaluate", f"model={base}", "--data", data, "--given", 0, "--max-frames", 40) == 0
    printed = capsys.readouterr().out
    assert "rollout MSE at" not in printed
    (row,) = [line for line in printed.splitlines() if METRICS["rest_speed_ratio"].heading in line]
    assert [cell.strip() for cell in row.split("│")[2:4]] == ["1", "0"]
    said = "Rollouts are made of the caption and the rest pose. From rest there is no rollout MSE"
    assert said in " ".join(printed.split())


def test_clips_are_cut_by_the_protocol_and_not_by_the_run(
    base: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    done = run_script(
        "train.py",
        *short_run(base, data__path=data, data__max_frames=30, trainer__max_steps=1, hydra__run__dir=run),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    scores = evaluate([str(run), f"base={base}"], protocol=SHORT).report[data]
    alone = evaluate([f"base={base}"], [data], protocol=SHORT).report[data]
    assert scores["base"]["pose_mse"].mean == pytest.approx(alone["base"]["pose_mse"].mean, rel=1e-6)
    longer = evaluate([f"base={base}"], [data], protocol=replace(SHORT, max_frames=60)).report[data]
    assert longer["base"]["pose_mse"].mean != alone["base"]["pose_mse"].mean


def test_clips_of_an_action_are_a_group_of_the_table_and_the_file(
    base: Path, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    output = tmp_path / "scores.json"
    arguments = ["evaluate", f"mine={base}", "--data", data, "--by", "style", "--max-frames", "60", "--json", output]
    assert run_command(monkeypatch, *arguments, "--threads", "1") == 0
    file = ScoresFile.read(output)
    assert file.protocol.max_frames == 60
    groups = file.groups[data]
    assert set(groups) <= {"neutral", "energetic", "tired", "sneaky"}
    assert (
        sum(rows["mine"]["rest_clips"].mean for rows in groups.values()) == file.report[data]["mine"]["rest_clips"].mean
    )
    printed = capsys.readouterr().out
    assert f"evaluation by group · {data}" in printed
    assert METRICS["rest_travel_ratio"].full_heading in printed
    with pytest.raises(ConfigError, match="by=colour: action or style expected"):
        evaluate([str(base)], [data], by="colour")


def test_every_batch_that_is_rolled_out_is_told(base: Path, data: str) -> None:
    told: list[tuple[str, int, int]] = []
    evaluate([f"mine={base}"], [data], protocol=SHORT, progress=lambda *step: told.append(step))
    mine = [(done, batches) for what, done, batches in told if what == f"{data}: mine"]
    assert mine == [(n + 1, len(mine)) for n in range(len(mine))]
    assert f"{data}: motion matching" in {what for what, *_ in told}
