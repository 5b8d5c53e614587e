import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stickgen.cli.train import main
from stickgen.config import PROJECT, MergeConfig, TrainConfig, register, typed
from stickgen.console import job_errors, report_errors, run_hydra
from stickgen.errors import AdapterError, CheckpointError, ConfigError, DataError, OutputExistsError, StickgenError

Errors = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _full_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """What run_hydra sets is taken back."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")


def failing(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def exit_line(capsys: Errors, run: Callable[[], Any]) -> str:
    """Running ends with status 1 and one line on standard error; return it without ``error: ``."""
    with pytest.raises(SystemExit) as caught:
        run()
    assert caught.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("error: ").rstrip("\n")


def reported(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        with report_errors():
            raise error

    return run


@pytest.mark.parametrize(
    "kind", [StickgenError, ConfigError, DataError, CheckpointError, AdapterError, OutputExistsError]
)
def test_a_users_mistake_is_one_line(capsys: Errors, kind: type[StickgenError]) -> None:
    assert exit_line(capsys, reported(kind("lora.rank=0: at least 1 expected"))) == "lora.rank=0: at least 1 expected"


def test_a_message_of_several_lines_is_made_one(capsys: Errors) -> None:
    assert exit_line(capsys, reported(DataError("first\n   second\n"))) == "first second"


def test_no_traceback_is_chained(capsys: Errors) -> None:
    def run() -> None:
        with report_errors():
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise DataError("outer") from error

    assert exit_line(capsys, run) == "outer"


@pytest.mark.parametrize(
    ("number", "kind"),
    [(errno.ENOENT, FileNotFoundError), (errno.EACCES, PermissionError), (errno.EISDIR, IsADirectoryError)],
)
def test_the_systems_answer_to_a_path_is_one_line(capsys: Errors, number: int, kind: type[OSError]) -> None:
    line = exit_line(capsys, reported(OSError(number, os.strerror(number), "some/file.pt")))
    assert line == f"some/file.pt: {os.strerror(number)}"
    assert isinstance(OSError(number, ""), kind)


def test_a_full_disk_names_no_file(capsys: Errors) -> None:
    line = exit_line(capsys, reported(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    assert line == os.strerror(errno.ENOSPC)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        KeyError("a bug"),
        RuntimeError("a bug"),
        AssertionError("a bug"),
        OSError(errno.ECONNRESET, "reset"),
        OSError("without a number"),
    ],
)
def test_whatever_else_keeps_its_traceback(capsys: Errors, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        reported(error)()
    assert caught.value is error
    with pytest.raises(type(error)):
        run_hydra(failing(error), TrainConfig)
    assert capsys.readouterr().err == ""


def test_without_an_error_nothing_happens(capsys: Errors) -> None:
    calls = []
    with report_errors():
        calls.append(1)
    run_hydra(lambda: calls.append(2), TrainConfig)
    assert calls == [1, 2]
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


# Hydra entries


def test_a_users_mistake_in_a_job_is_one_line(capsys: Errors) -> None:
    line = exit_line(capsys, lambda: run_hydra(failing(CheckpointError("no such file")), TrainConfig))
    assert line == "no such file"


@pytest.mark.parametrize("error", [HydraException("wrong override"), OmegaConfBaseException("wrong value")])
def test_a_mistake_in_the_overrides_is_one_line(capsys: Errors, error: Exception) -> None:
    line = exit_line(capsys, lambda: run_hydra(failing(error), TrainConfig))
    assert line.startswith(str(error))
    assert "--help" in line


def test_hydra_hands_errors_on_while_the_entry_runs() -> None:
    seen = []
    run_hydra(lambda: seen.append(os.environ["HYDRA_FULL_ERROR"]), TrainConfig)
    assert seen == ["1"]


@pytest.mark.parametrize("error", [ConfigError("x"), HydraException("x"), OmegaConfBaseException("x")])
def test_full_errors_on_request(monkeypatch: pytest.MonkeyPatch, capsys: Errors, error: Exception) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(type(error)) as caught:
        run_hydra(failing(error), TrainConfig)
    assert caught.value is error
    assert capsys.readouterr().err == ""


def entry(monkeypatch: pytest.MonkeyPatch, *overrides: str, name: str = "train") -> Callable[[], None]:
    """Run the real configuration with overrides; the job itself only builds its settings."""
    register()
    kind: type = TrainConfig if name == "train" else MergeConfig
    monkeypatch.setattr("sys.argv", ["train.py", *overrides])
    monkeypatch.delenv("LORA_RANK", raising=False)
    monkeypatch.delenv("USE_LORA", raising=False)

    @hydra.main(version_base="1.3", config_path=str(PROJECT / "conf"), config_name=name)
    def main(composed: Any) -> None:
        with job_errors(kind):
            if name == "train":
                composed.run_dir = "run"  # as train.py does
            typed(composed, kind)

    def run() -> None:
        try:
            run_hydra(main, kind)
        finally:
            GlobalHydra.instance().clear()

    return run


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["lora.rank_pattern={ffn: 4}"], ["lora.rank_pattern: begin with a +", "'+lora.rank_pattern=…'"]),
        (["lora.use_dora=true"], ["lora.use_dora: no such setting any more; write lora.kind=dora"]),
        (["lora.rnk=4"], ["lora.rnk: no such setting", "did you mean lora.rank?"]),
        (["xyzzy=4"], ["xyzzy: no such setting", "--help"]),
        (["lora.rank=abc"], ["lora.rank=abc: a whole number expected"]),
        (["lora.alpha=much"], ["lora.alpha=much: a number expected"]),
        (["lora.enabled=perhaps"], ["lora.enabled=perhaps: true or false expected"]),
        (["lora.rank=0"], ["lora.rank=0: a whole number of at least 1 expected"]),
        (["base=enormous"], ["base=enormous: no such choice; choose from cmu, ", "medium"]),
        (["trainer=cpuu"], ["trainer=cpuu: no such choice; did you mean cpu? Choose from cpu, ddp, default, gpu"]),
        (["lora/targets=attn"], ["lora/targets=attn: no such choice; did you mean attention? Choose from action_"]),
        (
            ["lora/targets=[ffn,attn]"],
            ["lora/targets=attn: no such choice; did you mean attention? Choose from action_"],
        ),
        (["lora.rank"], ["lora.rank: has no value; give it as lora.rank=…"]),
        (
            ["outputs/a"],
            ["outputs/a: not a setting; settings are given as key=value, such as base.checkpoint=outputs/a"],
        ),
        (["./run.pth"], ["./run.pth: not a setting", "resume=./run.pth"]),
        (["/runs/a"], ["/runs/a: not a setting"]),
        (["data.path=a(b.pt"], ["data.path=a(b.pt: cannot be read; quote", "'key=\"value\"'"]),
        (["base.checkpoint=null"], ["base.checkpoint: no base given"]),
    ],
)
def test_real_mistakes_in_overrides(
    monkeypatch: pytest.MonkeyPatch, tmp_path, capsys: Errors, overrides: list[str], parts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = exit_line(capsys, entry(monkeypatch, *overrides))
    for part in parts:
        assert part in line


@pytest.mark.parametrize("path", ["outputs/a", "./run.ckpt", "run"])
def test_a_bare_path_for_merge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Errors, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    line = exit_line(capsys, entry(monkeypatch, path, name="merge"))
    assert line == f"{path}: not a setting; settings are given as key=value, such as checkpoint={path}"


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("LORA_RANK", "abc", "a whole number expected; this environment variable sets lora.rank"),
        ("USE_LORA", "maybe", "true or false expected; this environment variable sets lora.enabled"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Errors, name: str, value: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run = entry(monkeypatch)
    monkeypatch.setenv(name, value)
    assert exit_line(capsys, run) == f"{name}={value}: {line}"


def test_a_mandatory_setting_of_merge(monkeypatch: pytest.MonkeyPatch, tmp_path, capsys: Errors) -> None:
    monkeypatch.chdir(tmp_path)
    line = exit_line(capsys, entry(monkeypatch, name="merge"))
    assert line == "checkpoint: not set; give it on the command line, as checkpoint=…"


def test_an_interrupt_is_one_line_and_a_status_of_its_own(capsys: Errors) -> None:
    with pytest.raises(SystemExit) as stopped:
        reported(KeyboardInterrupt())()
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.parametrize("overrides", [["resume=nowhere"], ["lora.rank=0", "hydra.run.dir=job"]])
def test_a_job_that_never_began_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Errors, overrides: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = exit_line(capsys, entry(monkeypatch, *overrides))
    assert line.startswith(overrides[0])
    assert list(tmp_path.iterdir()) == []


# Jobs of a sweep


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[RunMode], None]:
    def choose(mode: RunMode) -> None:
        runtime = {"output_dir": str(tmp_path), "choices": {"hydra/launcher": "basic"}}
        monkeypatch.setattr(HydraConfig, "get", lambda: OmegaConf.create({"mode": mode, "runtime": runtime}))

    return choose


def test_a_single_job_reports_at_once(mode: Callable, capsys: Errors) -> None:
    mode(RunMode.RUN)

    def run() -> None:
        with job_errors(TrainConfig):
            raise ConfigError("seed=-1: wrong")

    assert exit_line(capsys, run) == "seed=-1: wrong"


def test_a_job_of_a_sweep_leaves_the_mistake_to_hydra(mode: Callable, capsys: Errors) -> None:
    mode(RunMode.MULTIRUN)
    with pytest.raises(ConfigError), job_errors(TrainConfig):
        raise ConfigError("seed=-1: wrong")
    assert capsys.readouterr().err == ""


def test_a_mistake_that_ends_a_sweep_is_one_line_too(capsys: Errors) -> None:
    error = ConfigCompositionException("Error merging override lora.rank=abc")
    error.__cause__ = ValueError("Value 'abc' could not be converted to Integer\n    full_key: lora.rank")
    line = exit_line(capsys, lambda: run_hydra(failing(error), TrainConfig))
    assert line == "lora.rank=abc: a whole number expected"


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (RuntimeError('Could not detect "srun", are you indeed on a slurm cluster?'), "launcher=submitit_local"),
        (ValueError("n_jobs == 0 in Parallel has no meaning"), "hydra.launcher.n_jobs=0: at least 1"),
    ],
)
def test_what_launchers_refuse_is_one_line(capsys: Errors, refusal: Exception, said: str) -> None:
    assert said in exit_line(capsys, lambda: run_hydra(failing(refusal), TrainConfig))


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_errors_that_no_launcher_raises_are_handed_on(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="another"):
        run_hydra(failing(kind("another")), TrainConfig)


@pytest.mark.skipif(os.name == "nt", reason="pipes end otherwise there")
@pytest.mark.parametrize("command", [[str(PROJECT / "train.py")], ["-m", "stickgen"]], ids=["train.py", "stickgen"])
def test_a_reader_that_has_seen_enough_is_no_error(command: list[str], tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, *command, "--help"],
            stdout=writing, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )  # fmt: skip
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.parametrize("override", ["+=", "base=[[[]]]", "+base=[[a]]"])
def test_words_that_hydra_stumbles_over_are_one_line(
    override: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It raises AssertionError, ValueError and TypeError of its own insides over them."""
    monkeypatch.setattr(sys, "argv", ["train.py", override])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    with pytest.raises(SystemExit) as stopped:
        run_hydra(main, TrainConfig)
    assert stopped.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
