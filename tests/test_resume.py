"""A run that was killed goes on to the weights it would have had."""

import pickle
import shutil
import signal
from pathlib import Path

import pytest
import torch

from stickgen.artifacts.run import RunFolder
from tests.runs import Stop, make_base, run_script, short_run

EPOCHS = 4
STEPS_AN_EPOCH = 5


def _overrides(base: Path, every_n_steps: int | None) -> list[str]:
    return short_run(
        base,
        data__sample__clips=48,
        trainer__max_epochs=EPOCHS,
        lora__dropout=0.3,
        data__augment__speed=1.25,
        data__augment__mirror=0.5,
        data__augment__loop=0.5,
        data__augment__rest_start=0.3,
        objective__input_noise=0.004,
        objective__input_drift=0.05,
        objective__drop_text=0.2,
        objective__input_pace=0.5,
        base__dropout=0.1,
        callbacks__show_motion__every_n_epochs=1,
        callbacks__show_motion__max_share=1,
        callbacks__show_motion__clips=1,
        callbacks__show_motion__captions=1,
        callbacks__show_motion__frames=5,
        callbacks__checkpoint_every_n_steps="null" if every_n_steps is None else every_n_steps,
        **{"hydra.run.dir": "run"},
    )


def _step(checkpoint: Path) -> int:
    """Return the optimizer step of a checkpoint, −1 while there is none."""
    try:
        return int(torch.load(checkpoint, weights_only=True)["global_step"])
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return -1


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(base: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The same run in one go; where it saves on the way changes nothing."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = run_script("train.py", *_overrides(base, None), cwd=folder)
    assert done.returncode == 0, done.stderr
    return RunFolder(folder / "run")


def _assert_same(run: Path, uninterrupted: RunFolder, context: str = "") -> None:
    """Compare a resumed run's checkpoints with those of the same run in one go."""
    for name in ("last", "best"):
        ours = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
        theirs = torch.load(uninterrupted.checkpoint(name), weights_only=True)
        assert ours["global_step"] == theirs["global_step"]
        assert ours["state_dict"].keys() == theirs["state_dict"].keys()
        for key, value in ours["state_dict"].items():
            assert torch.equal(value, theirs["state_dict"][key]), f"{name}: {key} {context}"


@pytest.mark.parametrize("every_n_steps", [1, None], ids=["checkpoint in mid-epoch", "checkpoint at epoch's end"])
def test_a_killed_run_resumed_equals_the_uninterrupted_one(
    base: Path, uninterrupted: RunFolder, tmp_path: Path, every_n_steps: int | None
) -> None:
    killed_at = STEPS_AN_EPOCH + 2  # in the middle of the second epoch
    stop = Stop(signal.SIGKILL, killed_at)
    killed = run_script("train.py", *_overrides(base, every_n_steps), cwd=tmp_path, stop=stop)
    assert killed.returncode == -signal.SIGKILL
    assert _step(tmp_path / "run" / "checkpoints" / "last.ckpt") == (killed_at if every_n_steps else STEPS_AN_EPOCH)

    resumed = run_script("train.py", "resume=run", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    _assert_same(tmp_path / "run", uninterrupted, f"killed at step {killed_at}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])  # SIGUSR1: tests/sweeps/test_jobs.py
def test_a_run_that_is_asked_to_stop_saves_first_and_goes_on_from_there(
    base: Path, uninterrupted: RunFolder, tmp_path: Path, number: signal.Signals
) -> None:
    asked_at = STEPS_AN_EPOCH + 1
    stopped = run_script("train.py", *_overrides(base, None), cwd=tmp_path, stop=Stop(number, asked_at))
    stopped_at = _step(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert stopped_at == asked_at + 1  # at the end of the step that it was in
    assert stopped.returncode == 128 + number
    line = f"error: {number.name}: stopped and saved at step {stopped_at}; stickgen train resume=run continues\n"
    assert stopped.stderr == line

    resumed = run_script("train.py", "resume=run", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    _assert_same(tmp_path / "run", uninterrupted, f"stopped at step {stopped_at}")


@pytest.fixture(scope="module")
def killed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that was killed after its third step."""
    cwd = tmp_path_factory.mktemp("killed")
    run_script("train.py", *_overrides(base, 1), cwd=cwd, stop=Stop(signal.SIGKILL, 3))
    return cwd / "run"


@pytest.mark.parametrize("damage", ["a flipped bit", "cut off", "missing"])
def test_a_run_whose_last_checkpoint_is_damaged_continues_from_the_one_before(
    killed: Path, uninterrupted: RunFolder, tmp_path: Path, damage: str
) -> None:
    shutil.copytree(killed, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    if damage == "missing":
        last.unlink()
    else:
        content[len(content) // 3] ^= 64
        last.write_bytes(content if damage == "a flipped bit" else content[: len(content) // 2])
    step = _step(last.with_name("previous.ckpt"))
    assert step > 0

    resumed = run_script("train.py", "resume=run", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    line = f"continuing from previous.ckpt, step {step}"
    assert [line in said for said in resumed.stdout.splitlines()].count(True) == 1
    assert not last.with_name("previous.ckpt").exists()
    _assert_same(tmp_path / "run", uninterrupted, f"continued from step {step}")


def test_a_resumed_run_keeps_its_settings_and_may_go_on_for_longer(base: Path, tmp_path: Path) -> None:
    first = run_script("train.py", *short_run(base, **{"hydra.run.dir": "run"}), cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    steps = _step(tmp_path / "run" / "checkpoints" / "last.ckpt")

    refused = run_script("train.py", "resume=run", "lora.rank=4", cwd=tmp_path)
    assert refused.returncode == 1
    assert "lora.rank: a resumed run keeps its settings" in refused.stderr

    longer = run_script("train.py", "resume=run", "trainer.max_epochs=2", cwd=tmp_path)
    assert longer.returncode == 0, longer.stderr
    assert _step(tmp_path / "run" / "checkpoints" / "last.ckpt") == 2 * steps

    settings = (tmp_path / "run" / "config.yaml").read_bytes()
    for limit in ("trainer.max_epochs=1", f"trainer.max_steps={steps}"):
        back = run_script("train.py", "resume=run", limit, cwd=tmp_path)
        assert back.returncode == 1
        assert back.stderr.startswith(f"error: {limit}: run stands at ")
        assert len(back.stderr.splitlines()) == 1
    assert (tmp_path / "run" / "config.yaml").read_bytes() == settings


def test_a_run_without_a_checkpoint_cannot_be_resumed(base: Path, tmp_path: Path) -> None:
    first = run_script("train.py", *short_run(base, **{"hydra.run.dir": "run"}), cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("*.ckpt"):
        checkpoint.unlink()
    done = run_script("train.py", "resume=run", cwd=tmp_path)
    assert done.returncode == 1
    assert "start it anew" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
