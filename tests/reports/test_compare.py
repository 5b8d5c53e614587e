import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stickgen.artifacts.base import MODEL_FILE, load_base, save_base
from stickgen.artifacts.model import ModelOptions
from stickgen.artifacts.run import RunFolder, write_json
from stickgen.config import BaseConfig, DataConfig, LoRAConfig, SampleConfig, TrainConfig
from stickgen.data.file import write_sequences
from stickgen.errors import CheckpointError, ConfigError, OutputExistsError, StickgenError
from stickgen.evaluation.rollouts import RolloutProtocol
from stickgen.evaluation.scores import ScoresFile, Summary
from stickgen.reports.compare import Shown, compare, read_prompts
from stickgen.sample import SAMPLE_INFO, sample_sequences
from tests.artifacts.test_model import make_adapter
from tests.generation.test_generate import Encoder
from tests.runs import help_without, make_base, run_command


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stickgen.text.prompts.TextEncoder", Encoder)
    return make_base(tmp_path / "base.safetensors")


@pytest.fixture
def clips(tmp_path: Path) -> str:
    write_sequences(tmp_path / "clips.pt", sample_sequences(12, seed=1, actions=["walk", "wave"]), SAMPLE_INFO)
    return "clips.pt"


def content(page: Path) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    read: dict[str, Any] = json.loads(found[1])
    return read


def test_help_is_instant() -> None:
    assert "--prompts" in help_without("compare", {"torch", "numpy", "PIL", "lightning", "sentence_transformers"})


def test_base_adapter_and_real_clips_stand_side_by_side(
    base: Path, clips: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    Path("prompts.txt").write_text("a person walks\n\n  a person waves \n", encoding="utf-8")
    summary = {"pose_mse": Summary(0.25, 0.1, 2)}
    ScoresFile("test", RolloutProtocol(), {}, {"x.pt": {"frozen base": summary, "mine": summary}}).write(
        Path("scores.json")
    )
    one = ["compare", f"mine={adapter}", "--seconds", 1, "--clips", 1, "--scores", "scores.json", "-o", "new/page.html"]
    assert run_command(monkeypatch, *one, "--data", clips, "--prompts", "prompts.txt") == 0
    assert "new/page.html: 3 scenes, side by side: real clip, frozen base, mine\n" in capsys.readouterr().out
    clip, *prompts = content(Path("new/page.html"))["scenes"]
    assert [panel["label"] for panel in clip["panels"]] == ["real clip", "frozen base", "mine"]
    assert [panel["errors"] is None for panel in clip["panels"]] == [True, False, False]
    assert {panel["frames"] for panel in clip["panels"]} == {35}
    assert [scene["caption"] for scene in prompts] == ["a person walks", "a person waves"]
    assert [panel["label"] for panel in prompts[0]["panels"]] == ["frozen base", "mine"]
    assert prompts[0]["panels"][0]["lines"] != prompts[0]["panels"][1]["lines"]
    text = Path("new/page.html").read_text(encoding="utf-8")
    assert "x.pt · test clips, rolled out of the caption and the first 10 frames" in text
    assert "<td>0.25 ± 0.1</td>" in text

    # The same motions as numbers, those of one caption apart.
    Path("prompts.txt").write_text("a person walks\na person walks\n", encoding="utf-8")
    assert run_command(monkeypatch, *one[:-1], "new/all.npz", "--prompts", "prompts.txt") == 0
    with np.load("new/all.npz") as arrays:
        walks = ["a person walks"] * 2
        assert arrays["caption"].tolist() == [*walks, *(f"{walk} (2)" for walk in walks)]
        assert arrays["label"].tolist() == ["frozen base", "mine"] * 2
    assert run_command(monkeypatch, *one[:-1], "new/all.bvh", "--prompts", "prompts.txt") == 1
    assert "new/all.bvh: holds one motion, and there are 4" in capsys.readouterr().err

    before = Path("new/page.html").read_bytes()
    assert run_command(monkeypatch, *one, "--data", clips) == 1
    assert "already exists and was kept" in capsys.readouterr().err
    assert Path("new/page.html").read_bytes() == before
    assert run_command(monkeypatch, *one, "--data", clips, "--overwrite") == 0
    assert len(content(Path("new/page.html"))["scenes"]) == 1


def test_the_figures_of_a_run_are_shown_under_its_label(base: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    data = DataConfig(sample=SampleConfig(clips=24, actions=["walk"]))
    settings = TrainConfig(BaseConfig(checkpoint=str(base)), LoRAConfig(enabled=False), data, run_dir=str(run))
    RunFolder(run).write_start(settings)
    began = load_base(base)
    record = replace(began.record, origin={"from": str(base)})
    began.model.pose_decoder[0].weight.data += 0.01
    save_base(began.model, record, run / MODEL_FILE)
    write_json(
        run / "metrics.json",
        {
            "trained": "trained model",
            "scores": {
                "most frequent action": {"test": {"action_accuracy": 0.25}},
                "trained model": {"test": {"pose_mse": 0.125, "action_accuracy": 0.75, "loss": 3.0}},
            },
        },
    )
    scenes = compare([f"mine={run}"], Path("page.html"), Shown(frames=30, clips=2))
    assert [panel.label for panel in scenes[0].panels] == ["real clip", "frozen base", "mine"]  # on its own data
    text = Path("page.html").read_text(encoding="utf-8")
    assert "mine · test clips of its run" in text
    assert '<th scope="row">next-frame pose MSE ↓</th><td>–</td><td>0.125</td>' in text
    assert '<th scope="row">action accuracy ↑</th><td>25.0%</td><td>75.0%</td>' in text
    (run / "metrics.json").write_text('{"scores": 3}')
    with pytest.raises(CheckpointError, match=r"metrics\.json: not the figures of a run"):
        compare([f"mine={run}"], Path("other.html"), Shown(frames=30))
    assert not Path("other.html").exists()


@pytest.mark.parametrize(
    ("changes", "mistake", "message"),
    [
        ({"output": "page.pdf"}, ConfigError, "page.pdf: a name that ends in .html, or in a format of"),
        ({"output": "folder.html"}, OutputExistsError, "folder.html: is a folder"),
        ({"models": ["gone"]}, StickgenError, "gone"),
        ({"models": ["gone"], "output": "base.safetensors/page.html"}, StickgenError, "base.safetensors is a file"),
        ({"models": ["a=gone", "a=there"]}, ConfigError, "two models are called 'a'; name them with label=path"),
        ({"models": ["real clip=base.safetensors"]}, ConfigError, "two models are called 'real clip'"),
        ({"models": ["frozen base=adapter"]}, ConfigError, "two models are called 'frozen base'"),
        ({"shown": Shown()}, ConfigError, "nothing to show: no model comes from a run"),
        ({"shown": Shown(["a walk"], frames=0)}, StickgenError, "0 frames"),
        ({"shown": Shown(["a walk"], frames=10**6)}, StickgenError, "1000000 frames"),
        ({"shown": Shown(["a walk", " "])}, ConfigError, "prompt 2 is empty"),
        ({"shown": Shown(["a walk"] * 51)}, ConfigError, "51 scenes: 1 to 50"),
        ({"shown": Shown(data="clips.pt", clips=0)}, ConfigError, "scenes: 1 to 50"),
        ({"shown": Shown(data="clips.pt", split="all")}, ConfigError, "split=all: train, val or test"),
        ({"shown": Shown(data="gone.pt")}, StickgenError, "gone.pt: no such file"),
        ({"scores": Path("gone.json")}, CheckpointError, "gone.json: no such file"),
        ({"options": ModelOptions(encoder="org/other")}, ConfigError, "org/other: the captions of base"),
    ],
)
def test_mistakes_leave_no_page(base: Path, changes: dict[str, Any], mistake: type[Exception], message: str) -> None:
    Path("folder.html").mkdir()
    make_adapter(base, Path("adapter"))
    arguments = {"models": [f"base={base}"], "output": "page.html", "shown": Shown(["a walk"], frames=3), **changes}
    output = Path(arguments.pop("output"))
    with pytest.raises(mistake, match=message) as caught:
        compare(arguments.pop("models"), output, arguments.pop("shown"), **arguments)
    assert "\n" not in str(caught.value)
    assert not [path for path in Path().iterdir() if path.name.startswith(("page.", ".page"))]


@pytest.mark.parametrize(
    ("written", "message"),
    [(None, "No such file"), (b"\xff\xfe\x00", "not UTF-8"), (b" \n\n", "holds no prompt")],
)
def test_a_file_of_prompts_that_has_none(tmp_path: Path, written: bytes | None, message: str) -> None:
    path = tmp_path / "prompts.txt"
    if written is not None:
        path.write_bytes(written)
    with pytest.raises(ConfigError, match=message):
        read_prompts(path)
