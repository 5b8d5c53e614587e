import json
import math
import sys
from pathlib import Path

import pytest
import torch

from stickgen import cli
from stickgen.artifacts.base import load_base
from stickgen.artifacts.model import trained_fingerprint
from stickgen.data.file import write_sequences
from stickgen.data.sample import SAMPLE_INFO, sample_sequences
from stickgen.errors import ConfigError
from stickgen.evaluation.evaluate import FROZEN, TITLES, Summary, evaluate
from stickgen.evaluation.rollouts import TRIVIAL, RolloutProtocol
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
    assert written["given_frames"] == 8
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
