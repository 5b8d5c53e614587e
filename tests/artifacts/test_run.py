import json
import math
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.artifacts import run as run_module
from stickgen.artifacts.run import (
    CHECKPOINT_KEY,
    RunFolder,
    checkpoint_record,
    environment,
    git_revision,
    read_checkpoint,
    write_json,
)
from stickgen.config import BaseConfig, LoRAConfig, TrainConfig
from stickgen.digests import write_torch
from stickgen.errors import CheckpointError


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        base=BaseConfig(checkpoint="base.pth"),
        lora=LoRAConfig(rank=3, targets={"attention": ["self_attn"]}),
        run_dir=str(tmp_path),
        seed=5,
    )


def refused(run: RunFolder, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        run.read_config()
    assert str(run.path) in str(caught.value)
    assert "\n" not in str(caught.value)


# The run's folder


def test_the_settings_come_back_as_they_were(config: TrainConfig, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_start(config)
    assert run.read_config() == config
    run.write_start(replace(config, seed=6))
    assert run.read_config().seed == 6


def test_the_environment_is_recorded(config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["some/where/train.py", "seed=5"])
    RunFolder(tmp_path).write_start(config)
    recorded = json.loads((tmp_path / "environment.json").read_text())
    assert recorded["command"] == "train.py seed=5"
    assert torch.__version__.startswith(recorded["packages"]["torch"].partition("+")[0])
    assert set(recorded) == {"stickgen", "git_revision", "command", "python", "platform", "packages"}
    assert all(recorded["packages"].values())


def test_a_package_that_is_not_there_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "_RECORDED", ("torch", "no-such-package-at-all"))
    assert environment()["packages"]["no-such-package-at-all"] is None


@pytest.mark.parametrize("error", ["no git", "no checkout"])
def test_outside_a_checkout_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str) -> None:
    if error == "no git":
        monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / ".git").mkdir()  # which git does not take for a checkout
    monkeypatch.setattr(run_module, "PROJECT", tmp_path)
    assert git_revision() is None


def test_an_installed_package_does_not_take_the_revision_of_a_checkout_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=b"]
    try:
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "another project"], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git")
    monkeypatch.setattr(run_module, "PROJECT", tmp_path)
    assert git_revision() is not None
    (tmp_path / "stickgen").mkdir()
    monkeypatch.setattr(run_module, "PROJECT", tmp_path / "stickgen")
    assert git_revision() is None


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_checkpoint_that_is_not_there(tmp_path: Path, name: str) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(CheckpointError, match=rf"has no checkpoints/{name}\.ckpt"):
        run.checkpoint(name)
    run.checkpoints.mkdir()
    (run.checkpoints / f"{name}.ckpt").touch()
    assert run.checkpoint(name) == tmp_path / "checkpoints" / f"{name}.ckpt"


def test_a_folder_that_is_no_runs(tmp_path: Path) -> None:
    refused(RunFolder(tmp_path), r"no config\.yaml in it")
    refused(RunFolder(tmp_path / "nowhere"), r"no config\.yaml in it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "run_dir"),
        ("run_dir: x\n", "base.checkpoint"),
        ("run_dir: x\nseed: [\n", "config.yaml"),
        ("a: b: c\n", "config.yaml"),
        ("- 1\n- 2\n", "config.yaml"),
        ("just words\n", "config.yaml"),
        ("\x00\x01", "config.yaml"),
        ("run_dir: x\nbase: {checkpoint: b}\nlora: {rank: abc}\n", "abc"),
        ("run_dir: x\nbase: {checkpoint: b}\nlora: {rank: 0}\n", "lora.rank=0"),
        ("run_dir: x\nbase: {checkpoint: b}\nlora: {ranks: 2}\n", "ranks"),
        ("run_dir: x\nbase: {checkpoint: b}\nlora: 3\n", "config.yaml"),
        ("run_dir: x\nbase: {checkpoint: '${nothing}'}\n", "nothing"),
    ],
)
def test_damaged_settings(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    refused(RunFolder(tmp_path), message)


def test_settings_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x81")
    refused(RunFolder(tmp_path), "config.yaml")


def test_json_is_written_in_one_step_and_replaces_the_old(tmp_path: Path) -> None:
    for value in (1, 2):
        write_json(tmp_path / "metrics.json", {"value": value})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"value": 2}
    with pytest.raises(TypeError):
        write_json(tmp_path / "metrics.json", {"value": object()})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"value": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


# Checkpoints


def content(config: TrainConfig, **changes: Any) -> dict[str, Any]:
    own = checkpoint_record(config, "abc")
    state = {"model.pose_decoder.0.lora_A": torch.ones(3, 24)}
    return {CHECKPOINT_KEY: own, "state_dict": state, "epoch": 1, "global_step": 7, **changes}


def test_a_checkpoint_tells_state_settings_and_base(config: TrainConfig, tmp_path: Path) -> None:
    torch.save(content(config), tmp_path / "best.ckpt")
    checkpoint = read_checkpoint(tmp_path / "best.ckpt")
    assert list(checkpoint.state) == ["pose_decoder.0.lora_A"]
    assert torch.equal(checkpoint.state["pose_decoder.0.lora_A"], torch.ones(3, 24))
    assert checkpoint.config == config
    assert checkpoint.base_fingerprint == "abc"
    assert (checkpoint.epochs, checkpoint.steps) == (2, 7)


def test_its_record_is_plain_values(config: TrainConfig) -> None:
    def plain(value: Any) -> bool:
        if isinstance(value, dict):
            return type(value) is dict and all(type(k) is str and plain(v) for k, v in value.items())
        if isinstance(value, list):
            return type(value) is list and all(plain(v) for v in value)
        return value is None or type(value) in (str, int, float, bool)

    assert plain(checkpoint_record(config, None))


@pytest.mark.parametrize(
    "make",
    [
        lambda c: {"state_dict": {}},
        lambda c: {"model_state_dict": {"a": torch.ones(1)}},
        lambda c: torch.ones(3),
        lambda c: [1],
        lambda c: content(c, **{CHECKPOINT_KEY: 3}),
    ],
)
def test_another_programs_checkpoint(config: TrainConfig, tmp_path: Path, make) -> None:
    torch.save(make(config), tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match=r"other\.ckpt: not a checkpoint of a stickgen run"):
        read_checkpoint(tmp_path / "other.ckpt")


@pytest.mark.parametrize(
    "make",
    [
        lambda c: content(c, **{CHECKPOINT_KEY: {}}),
        lambda c: content(c, **{CHECKPOINT_KEY: {"config": {"lora": {"rank": 0}}}}),
        lambda c: content(c, **{CHECKPOINT_KEY: {"config": {"lora": {"rank": "abc"}}}}),
        lambda c: content(c, **{CHECKPOINT_KEY: {"config": {"no_such": 1}}}),
        lambda c: content(c, **{CHECKPOINT_KEY: {"config": {}}}),
        lambda c: content(c, **{CHECKPOINT_KEY: {"config": None}}),
        lambda c: content(c, **{CHECKPOINT_KEY: {"config": 3}}),
        lambda c: content(c, state_dict=None),
        lambda c: content(c, state_dict=[1]),
        lambda c: {key: value for key, value in content(c).items() if key != "state_dict"},
        lambda c: {key: value for key, value in content(c).items() if key != "epoch"},
        lambda c: content(c, global_step="many"),
    ],
)
def test_a_damaged_checkpoint(config: TrainConfig, tmp_path: Path, make) -> None:
    torch.save(make(config), tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"best\.ckpt: damaged: .+"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_a_missing_and_a_truncated_checkpoint(config: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "best.ckpt")
    torch.save(content(config), tmp_path / "best.ckpt")
    whole = (tmp_path / "best.ckpt").read_bytes()
    (tmp_path / "best.ckpt").write_bytes(whole[: math.ceil(len(whole) / 2)])
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_a_checkpoint_with_objects_is_not_executed(config: TrainConfig, tmp_path: Path) -> None:
    torch.save(content(config, extra=config), tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match="refused"):
        read_checkpoint(tmp_path / "best.ckpt")


def test_a_folder_holds_results_from_the_first_checkpoint_on(config: TrainConfig, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert not run.holds_results()
    run.write_start(config)
    assert run.exists()
    assert not run.holds_results()
    run.checkpoints.mkdir()
    assert not run.holds_results()
    (run.checkpoints / "last.ckpt").touch()
    assert run.holds_results()
    (run.checkpoints / "last.ckpt").unlink()
    write_json(run.metrics, {})
    assert run.holds_results()


# The checkpoint to continue from


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    made.checkpoints.mkdir(parents=True)
    return made


def save(run: RunFolder, config: TrainConfig, name: str, step: int) -> Path:
    write_torch(content(config, global_step=step), run.checkpoints / name)
    return run.checkpoints / name


def test_the_last_checkpoint_the_one_before_it_or_the_best(run: RunFolder, config: TrainConfig) -> None:
    with pytest.raises(CheckpointError, match=r"has no checkpoints/last\.ckpt"):
        run.latest()
    assert run.saved() == "nothing is saved yet, the same command starts anew"
    previous = save(run, config, "previous.ckpt", 5)
    assert run.latest()[1].steps == 5
    last = save(run, config, "last.ckpt", 7)
    assert (run.latest()[0], run.latest()[1].steps) == (last, 7)
    assert run.saved().startswith("step 7 is saved; stickgen train resume=")
    damaged = bytearray(last.read_bytes())
    damaged[len(damaged) // 2] ^= 16
    last.write_bytes(damaged)
    assert (run.latest()[0], run.latest()[1].steps) == (previous, 5)
    assert run.saved().startswith("step 5 is saved; ")
    previous.write_bytes(b"")
    best = save(run, config, "best.ckpt", 3)
    assert (run.latest()[0], run.latest()[1].steps) == (best, 3)
    best.unlink()
    with pytest.raises(CheckpointError, match=r"last\.ckpt: damaged: its content is not what was written"):
        run.latest()
    assert run.saved().startswith("no step can be read: ")


def test_a_finished_run_forgets_the_checkpoint_before_the_last(run: RunFolder, config: TrainConfig) -> None:
    save(run, config, "previous.ckpt", 5)
    last = save(run, config, "last.ckpt", 7)
    whole = last.read_bytes()
    last.write_bytes(whole[:-30])
    with pytest.raises(CheckpointError, match=r"last\.ckpt: not a torch file, or damaged"):
        run.forget_previous()
    last.write_bytes(whole)
    run.forget_previous()
    run.forget_previous()
    assert [path.name for path in run.checkpoints.iterdir()] == ["last.ckpt"]
