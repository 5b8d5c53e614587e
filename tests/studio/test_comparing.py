"""What the Runs tab makes of runs: tables, pictures, files; each as the command line makes it."""

import importlib.util
import io
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file

import stickgen
from stickgen.errors import ConfigError
from stickgen.studio.comparing import PRODUCTS, Product, picture_of_sweep, product, table_of_runs
from tests.runs import run_command, short_run


def test_the_table_of_runs_has_scores_beside_their_baselines(place: Path) -> None:
    table = table_of_runs(["outputs/first", "<b>"], [Path("outputs/first"), Path("outputs/second")])
    assert table.count("<tr>") == 3
    assert "&lt;b&gt;" in table
    assert '<th scope="col">lora.rank</th>' in table
    assert "No runs yet" in table_of_runs([], [])


def test_a_product_is_chosen_by_its_title() -> None:
    assert product(PRODUCTS[0].title) is PRODUCTS[0]
    with pytest.raises(ConfigError, match="choose one of"):
        product("spaceship")


NEEDED = {".onnx": "onnx", "": "huggingface_hub"}
"""Packages of extras, by how the name of the product ends."""


@pytest.mark.parametrize("made", PRODUCTS, ids=[one.name or "card" for one in PRODUCTS])
def test_a_file_of_a_run_is_what_its_command_writes(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, made: Product
) -> None:
    needed = NEEDED.get(Path(made.name).suffix if made.name else "")
    if needed and made.name != "peft" and importlib.util.find_spec(needed) is None:
        pytest.skip(f"needs {needed}")
    run = Path("outputs/second")
    mine = tmp_path / (made.name or "README.md")
    assert made.write(run, mine).count("\n") == 0
    if not made.name:  # the card, whose place is the run's own folder
        mine = (run / "adapter" / "README.md").rename(mine)
    theirs = run / "adapter" / "README.md" if not made.name else tmp_path / f"theirs-{made.name}"
    assert run_command(monkeypatch, *shlex.split(made.command(str(run), str(theirs)))[1:]) == 0
    for file in [mine] if mine.is_file() else sorted(mine.rglob("*")):
        other = theirs / file.relative_to(mine) if mine.is_dir() else theirs
        torch.testing.assert_close(content(other), content(file), rtol=0, atol=0)


def content(file: Path) -> Any:
    """Return what a file says, without the names and times in it."""
    if file.suffix == ".safetensors":
        return load_file(file)
    if file.suffix == ".pth":
        read = torch.load(file, weights_only=True)
        return next((value for key, value in read.items() if key.endswith("state_dict")), read)
    if file.suffix == ".onnx":
        onnx = pytest.importorskip("onnx")
        return {w.name: torch.tensor(onnx.numpy_helper.to_array(w)) for w in onnx.load(file).graph.initializer}
    return torch.tensor(list(file.read_bytes()))


def test_a_sweep_is_drawn_and_described(place: Path) -> None:
    pytest.importorskip("matplotlib")
    sweep = Path("outputs/sweep")
    for number, rank in enumerate((2, 4)):
        settings = short_run(Path("base.safetensors"), lora__rank=rank, trainer__max_steps=1)
        stickgen.fit([*settings, f"hydra.run.dir={sweep}/{number}"])
    sweeper = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": {"lora.rank": "2,4"}}
    hydra = {"sweeper": sweeper, "overrides": {"task": []}}
    OmegaConf.save({"callbacks": {"monitor": "val/pose_mse"}, "hydra": hydra}, sweep / "multirun.yaml")
    png, said = picture_of_sweep(sweep)
    assert Image.open(io.BytesIO(png)).format == "PNG"
    assert said.startswith("2 jobs, val/pose_mse; the best is ")
    assert "lora.rank=" in said
