"""The wheel, installed outside the checkout: it trains and merges."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.warm import ROOT

PARTS = ("stickgen", "conf", "assets", "pyproject.toml", "README.md", "LICENSE")
ONE_STEP = ["trainer.max_epochs=1", "trainer.max_steps=1", "callbacks.progress_bar=false", "logger.kinds=[]"]


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that finds nothing of the checkout."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "USE_LORA", "LORA_RANK")}
    return subprocess.run(
        [*map(str, command)],
        cwd=cwd, env={**env, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def build(folder: Path) -> Path:
    """Return the wheel of a copy of the checkout: builders leave files where they work."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / "source" / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / "source" / part)
    # An isolated build downloads the builder.
    here = ["--no-build-isolation"] if find_spec("hatchling") else []
    built = run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *here, folder / "source", "-w", "wheels", cwd=folder
    )
    if built.returncode != 0 and "No matching distribution found for hatchling" in built.stderr:
        pytest.skip("needs hatchling, installed or to be downloaded")
    assert built.returncode == 0, built.stderr
    [wheel] = (folder / "wheels").iterdir()
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel in a venv of its own, which sees this one's packages; return the venv's programs."""
    assert run(sys.executable, "-m", "venv", "--without-pip", "venv", cwd=folder).returncode == 0
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = programs / Path(sys.executable).name
    done = run(
        *(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    [own] = (folder / "venv").rglob("site-packages")
    packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (own / "dependencies.pth").write_text("\n".join(packages) + "\n")
    return programs


@pytest.mark.skipif(find_spec("pip") is None, reason="needs pip")
def test_an_installed_wheel_trains_and_merges_in_an_empty_folder(tmp_path: Path) -> None:
    wheel = build(tmp_path)
    names = set(zipfile.ZipFile(wheel).namelist())
    plugins = ROOT / "stickgen" / "sweeps" / "plugins"
    code = [path for path in (ROOT / "stickgen").rglob("*.py") if not path.is_relative_to(plugins)]
    code += [*(ROOT / "stickgen" / "reports").glob("page.*"), ROOT / "stickgen" / "py.typed"]
    inside = [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "assets").glob("*.safetensors")]
    assert {path.relative_to(ROOT).as_posix() for path in code} - names == set()
    assert {path.relative_to(plugins).as_posix() for path in plugins.rglob("*.py")} - names == set()
    assert {f"stickgen/{path.relative_to(ROOT).as_posix()}" for path in inside} - names == set()

    stickgen = install(wheel, tmp_path) / "stickgen"
    empty = tmp_path / "empty"
    empty.mkdir()
    trained = run(stickgen, "train", "experiment=quickstart", *ONE_STEP, "hydra.run.dir=run", cwd=empty)
    assert trained.returncode == 0, trained.stderr
    base = Path(yaml.safe_load((empty / "run" / "config.yaml").read_text())["base"]["checkpoint"])
    assert base.is_relative_to(tmp_path / "venv")
    merged = run(stickgen, "merge", "checkpoint=run", "output=merged.safetensors", cwd=empty)
    assert merged.returncode == 0, merged.stderr
    assert "layers merged" in merged.stdout
    assert (empty / "merged.safetensors").stat().st_size > 1e6
    assert sorted(path.name for path in empty.iterdir()) == ["merged.safetensors", "run"]
    # Hydra finds the plugins that come with the wheel.
    sweeper = run(stickgen, "train", "--cfg", "hydra", "--package", "hydra.sweeper", cwd=empty)
    assert "_target_: hydra_plugins.stickgen_basic.LockingBasicSweeper" in sweeper.stdout, sweeper.stderr
