"""stickgen card, checked with the hub's own parser, which works offline."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from omegaconf import OmegaConf

from stickgen import cli
from stickgen.artifacts.base import load_base
from stickgen.artifacts.model import trained_fingerprint
from stickgen.artifacts.run import RunFolder
from stickgen.config import TrainConfig, typed
from stickgen.errors import CheckpointError, ConfigError, OutputExistsError, StickgenError
from stickgen.evaluation.rollouts import RolloutProtocol
from stickgen.evaluation.scores import Report, ScoresFile, Summary
from stickgen.export.card import Published, write_card
from stickgen.text.encoder import TextEncoder
from stickgen.training import fit
from tests.runs import make_base, short_run

SAMPLE = "built-in sample motion"


def train(base: Path, folder: Path, *changes: str) -> RunFolder:
    settings = OmegaConf.from_dotlist([*short_run(base), f"run_dir={folder}", "logger.kinds=[]", *changes])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["train.py", "seed=0"])  # the run records its command, and the card shows it
        return fit(typed(OmegaConf.merge(OmegaConf.structured(TrainConfig), settings), TrainConfig)).run


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture(scope="module")
def adapted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    targets = "lora.targets.all=[transformer_encoder]"
    return train(base, tmp_path_factory.mktemp("runs") / "adapted", targets, "name=sneaky", "lora.rank=3")


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(base, tmp_path_factory.mktemp("runs") / "whole", "lora.enabled=false")


@pytest.fixture
def run(adapted: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the adapter's run, to be written into."""
    return RunFolder(Path(shutil.copytree(adapted.path, tmp_path / "run")))


@pytest.fixture
def scores(run: RunFolder, tmp_path: Path) -> Callable[..., Path]:
    """Writes figures as stickgen evaluate does, in which the run's model has the label "tuned"."""

    def write(report: Report, *other_runs: str) -> Path:
        models = {"tuned": [trained_fingerprint(run.path), *other_runs], "rival": ["f" * 32]}
        ScoresFile("test", RolloutProtocol(), models, report).write(tmp_path / "scores.json")
        return tmp_path / "scores.json"

    return write


def own_scores(run: RunFolder) -> dict[str, dict[str, float]]:
    content = json.loads(run.metrics.read_text())
    return {name: by_split["test"] for name, by_split in content["scores"].items()}


# The head.


def test_the_hubs_parser_reads_the_measured_results_to_the_digit(run: RunFolder) -> None:
    path = write_card(run.path)
    assert path == run.adapter / "README.md"
    data = ModelCard.load(path).data
    assert (data.library_name, data.model_name) == ("stickgen", "sneaky")
    assert {"lora", "peft", "text-to-motion"} <= set(data.tags)
    found = {result.metric_name: result for result in data.eval_results}
    measured = own_scores(run)["adapter"]
    assert found["next-frame pose MSE"].metric_value == measured["pose_mse"]
    assert found["next-frame temporal error"].metric_value == measured["temporal_consistency_error"]
    assert found["action accuracy"].metric_value == measured["action_accuracy"]
    assert {(r.dataset_name, r.dataset_split, r.task_type) for r in data.eval_results} == {
        (SAMPLE, "test", "text-to-motion")
    }
    assert found["next-frame pose MSE"].metric_type == "mse"


def test_what_a_run_cannot_know_is_left_out_unless_given(run: RunFolder) -> None:
    path = write_card(run.path)
    assert not {"license", "base_model", "base_model_relation", "datasets"} & ModelCard.load(path).data.to_dict().keys()
    published = Published(name="A: b", license="mit", base_model="owner/base", datasets=("owner/one", "owner/two"))
    data = ModelCard.load(write_card(run.path, published, overwrite=True)).data
    assert (data.license, data.base_model, data.datasets) == ("mit", "owner/base", ["owner/one", "owner/two"])
    assert (data.model_name, data.base_model_relation) == ("A: b", "adapter")
    assert "[owner/base](https://huggingface.co/owner/base)" in path.read_text()


@pytest.mark.parametrize(
    "given", [{"license": "MIT License"}, {"base_model": "no id"}, {"base_model": "a/b/c"}, {"datasets": ("x y",)}]
)
def test_what_is_no_id_of_the_hubs_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected, as"):
        Published(**given)


# The body.


def test_the_body_tells_model_training_and_every_baseline(run: RunFolder, base: Path) -> None:
    text = write_card(run.path).read_text()
    config, record = run.read_config(), json.loads(run.environment.read_text())
    assert "```bash\npython train.py seed=0\n```" in text
    assert f"| base fingerprint | `{load_base(base).fingerprint}` |" in text
    assert f"| adapters | rank 3, alpha 16, dropout {config.lora.dropout:g} |" in text
    assert "`transformer_encoder.layers.*.self_attn.q_proj` × 2" in text
    assert f"torch {record['packages']['torch']}" in text
    metrics = json.loads(run.metrics.read_text())
    counts = metrics["data"]["splits"]
    assert sum(part["clips"] for part in counts.values()) == 24
    for split, part in counts.items():
        assert f"| {split} clips | {part['clips']} of {part['takes']} takes, {part['frames']:,} frames |" in text
    row = next(line for line in text.splitlines() if line.startswith("| next-frame pose MSE"))
    names = ("repeat last frame", "constant velocity", "frozen base", "adapter")
    shown = [f"{own_scores(run)[name]['pose_mse']:.3g}" for name in names]
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [*shown[:2], "–", *shown[2:]]
    assert not re.search(r"TBD|None|nan|\[More|" + re.escape(str(base.parent)), text)


def test_folders_of_the_machine_are_left_out(run: RunFolder) -> None:
    recorded = json.loads(run.environment.read_text())
    paths = "base.checkpoint=/home/me/base.pth '+x=[/srv/a/b.pt,c/d]' resume=../e"
    run.environment.write_text(json.dumps({**recorded, "command": f"train.py {paths}"}))
    text = write_card(run.path).read_text()
    assert "\npython train.py base.checkpoint=base.pth '+x=[b.pt,c/d]' resume=../e\n" in text


def test_where_a_baseline_does_better_the_card_says_so(run: RunFolder) -> None:
    content = json.loads(run.metrics.read_text())
    for name, value in (("adapter", 2e-9), ("constant velocity", 1e-9), ("frozen base", 3e-9)):
        content["scores"][name]["test"]["pose_mse"] = value
    run.metrics.write_text(json.dumps(content))
    text = write_card(run.path).read_text()
    assert f"{SAMPLE}, next-frame pose MSE: constant velocity does better (1e-09; this model: 2e-09)." in text


def test_what_was_not_recorded_is_left_out(run: RunFolder) -> None:
    run.metrics.unlink()
    run.environment.unlink()
    path = write_card(run.path)
    text = path.read_text()
    assert ModelCard.load(path).data.eval_results is None
    for absent in (
        "model-index",
        "## Results",
        "Versions",
        "train clips",
        "optimizer steps",
        "None",
        "trained numbers",
    ):
        assert absent not in text
    assert "| objective | causal |" in text


def test_a_figure_that_could_not_be_measured_is_left_out(run: RunFolder) -> None:
    content = json.loads(run.metrics.read_text())
    content["scores"]["adapter"]["test"]["action_accuracy"] = None
    run.metrics.write_text(json.dumps(content))
    path = write_card(run.path)
    assert "action accuracy" not in {result.metric_name for result in ModelCard.load(path).data.eval_results}
    assert "| action accuracy" not in path.read_text()


def test_its_python_runs(run: RunFolder, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = write_card(run.path).read_text()
    shutil.copy(base, tmp_path / "base.safetensors")
    shutil.move(run.adapter, tmp_path / "adapter")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TextEncoder, "__init__", lambda self, name: None)
    monkeypatch.setattr(TextEncoder, "encode", lambda self, texts: np.full((len(texts), 1024), 1 / 32, np.float32))
    ours, pefts = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(ours, names)
    assert names["motion"].shape == (100, 1, 20)
    pytest.importorskip("peft")
    exec(pefts, names)
    assert {name.rpartition(".")[2] for name, _ in names["model"].named_modules()} >= {"lora_A", "lora_B"}


def test_a_bidirectional_base_is_used_in_its_own_way_and_its_leak_named(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base.safetensors", causal=False)
    changes = ("lora.targets.all=[pose_decoder]", "objective.causal=false")
    text = write_card(train(base, tmp_path / "run", *changes).path).read_text()
    assert "motion = one_shot(model, text" in text
    assert "rollout" not in text
    assert "next-frame errors are leaky" in text


def test_a_base_from_scratch_names_no_base(tmp_path: Path) -> None:
    sizes = ("base.from_scratch=true", "base.d_model=48", "base.nhead=4", "base.num_layers=2", "base.input_dim=20")
    more = ("base.embedding_dim=1024", "base.num_actions=64", "base.causal=true", "base.pose_output=velocity")
    run = train(Path("null"), tmp_path / "run", "lora.enabled=false", *sizes, *more, "base.pose_scale=0.005")
    path = write_card(run.path)
    assert "| base | none: trained from random weights |" in path.read_text()
    assert "frozen base" not in path.read_text()
    assert "base_model" not in ModelCard.load(path).data.to_dict()


# Figures of stickgen evaluate.


def test_an_evaluation_adds_its_tables_and_results(run: RunFolder, scores: Callable[..., Path]) -> None:
    measured = own_scores(run)["adapter"]
    own = {name: Summary(measured[name], 0.0, 1) for name in ("pose_mse", "temporal_consistency_error")}
    own |= {"action_accuracy": Summary(measured["action_accuracy"], 0.0, 1), "frechet_distance": Summary(9.0, 0.0, 1)}
    far = {"frechet_distance": Summary(7.0, 0.0, 1), "diversity": Summary(float("nan"), 0.0, 1)}
    trivial = {"real clips": {"frechet_distance": Summary(0.0, 0.0, 1)}, "constant velocity": far}
    rows = {**trivial, "tuned": own, "rival": far}
    path = write_card(run.path, scores=scores({SAMPLE: rows, "/somewhere/salsa.pt": {**trivial, "tuned": far}}))
    results = {(r.dataset_name, r.metric_name): r for r in ModelCard.load(path).data.eval_results}
    assert results[SAMPLE, "Fréchet distance"].metric_value == 9.0
    assert results["salsa.pt", "Fréchet distance"].metric_value == 7.0
    assert results["salsa.pt", "Fréchet distance"].metric_args == {"given_frames": 10}
    assert results[SAMPLE, "next-frame pose MSE"].metric_value == measured["pose_mse"]
    assert ("salsa.pt", "diversity") not in results
    text = path.read_text()
    # The evaluation says all that training did of the same clips: one table of them is enough.
    assert text.count("| next-frame pose MSE ↓") == 1
    assert "rival" not in text
    assert "somewhere" not in text
    assert "| Fréchet distance ↓ | 0 | 7 | 9 |" in text
    assert f"{SAMPLE}, Fréchet distance: constant velocity does better (7; this model: 9)." in text
    assert "salsa.pt, Fréchet distance:" not in text


def test_the_mean_of_several_runs_is_named_as_such(run: RunFolder, scores: Callable[..., Path]) -> None:
    path = write_card(run.path, scores=scores({SAMPLE: {"tuned": {"diversity": Summary(9.0, 0.5, 2)}}}, "e" * 32))
    results = {r.metric_name: r.metric_value for r in ModelCard.load(path).data.eval_results}
    assert results["diversity, 2 models"] == "9 ± 0.5"
    # Its own next-frame scores stay in a table of their own.
    assert results["next-frame pose MSE"] == own_scores(run)["adapter"]["pose_mse"]
    assert "| diversity → real | 9 ± 0.5 |" in path.read_text()


def test_two_files_of_one_name_are_told_apart(run: RunFolder, scores: Callable[..., Path]) -> None:
    rows = {"tuned": {"diversity": Summary(1.0, 0.0, 1)}}
    path = write_card(run.path, scores=scores({"/a/clips.pt": rows, "/b/clips.pt": rows}))
    found = {result.dataset_name for result in ModelCard.load(path).data.eval_results}
    assert found == {SAMPLE, "/a/clips.pt", "/b/clips.pt"}


def test_figures_of_other_weights_are_refused(run: RunFolder, tmp_path: Path) -> None:
    before = (run.adapter / "README.md").read_bytes()
    ScoresFile("test", RolloutProtocol(), {"tuned": ["f" * 32]}, {}).write(tmp_path / "scores.json")
    with pytest.raises(CheckpointError, match=r"none of its models \(tuned\) has this run's weights"):
        write_card(run.path, scores=tmp_path / "scores.json")
    assert (run.adapter / "README.md").read_bytes() == before


# Files.


def test_whole_weights_get_their_card_beside_them(whole: RunFolder, base: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole.path, tmp_path / "whole"))
    path = write_card(folder, Published(base_model="owner/base"))
    assert path == folder / "README.md"
    card = ModelCard.load(path)
    assert card.data.base_model_relation == "finetune"
    assert not {"lora", "peft"} & set(card.data.tags)
    measured = own_scores(whole)["trained model"]["pose_mse"]
    assert measured in [result.metric_value for result in card.data.eval_results]
    for absent in ("LoRA", "peft", "merge.py", "fingerprint", "rank"):
        assert absent not in card.text
    assert 'load_model(Path("model.safetensors"))' in card.text


def test_only_the_card_that_training_wrote_is_replaced_unasked(run: RunFolder) -> None:
    path = write_card(run.path)
    path.write_text("by hand")
    with pytest.raises(OutputExistsError, match="already exists"):
        write_card(run.path)
    assert path.read_text() == "by hand"
    assert "## Model" in write_card(run.path, overwrite=True).read_text()
    assert [entry.name for entry in run.adapter.iterdir() if entry.name.startswith(".")] == []


def test_a_run_that_is_none_or_unfinished_has_no_card(run: RunFolder, whole: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.yaml in it"):
        write_card(tmp_path / "nowhere")
    shutil.rmtree(run.adapter)
    with pytest.raises(CheckpointError, match="has no adapter/ yet"):
        write_card(run.path)
    (tmp_path / "half").mkdir()
    RunFolder(tmp_path / "half").write_start(replace(whole.read_config(), run_dir=str(tmp_path / "half")))
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors yet"):
        write_card(tmp_path / "half")


@pytest.mark.parametrize(
    "content", ["{", '{"scores": 3, "trained": "adapter"}', '{"scores": {}, "trained": "adapter"}']
)
def test_damaged_metrics_are_refused_in_one_line(run: RunFolder, content: str) -> None:
    run.metrics.write_text(content)
    with pytest.raises(CheckpointError, match=r"metrics\.json") as caught:
        write_card(run.path)
    assert "\n" not in str(caught.value)


def test_without_the_hubs_library_the_way_out_is_named(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(StickgenError, match=r"pip install 'stickgen\[card\]'"):
        write_card(run.path)


def test_the_command_says_where_the_card_is(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["stickgen", "card", str(run.path), "--license", "mit", "--dataset", "o/d"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    assert capsys.readouterr().out == f"card: {run.adapter / 'README.md'}\n"
    data = ModelCard.load(run.adapter / "README.md").data
    assert (data.license, data.datasets) == ("mit", ["o/d"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    assert "already exists" in capsys.readouterr().err
