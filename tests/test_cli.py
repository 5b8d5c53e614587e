"""The `stickgen` command as a whole: mistakes in its command line, and how it is stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import stickgen
from tests.runs import environment, make_base, run_command, short_run
from tests.warm import ROOT

# A conversion that waits with a half-written file, without torch's import.
WAITING = """
import signal, sys, time, types
from stickgen.files import atomic_write

def convert(source, output, *rest, **options):
    with atomic_write(output) as scratch:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born without it
        scratch.write_text("half")
        print("writing", flush=True)
        time.sleep(600)

sys.modules["stickgen.export.convert"] = types.SimpleNamespace(convert=convert)
sys.argv = ["stickgen", "convert", ".", "output.pth"]
from stickgen.cli import main
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are others there")
@pytest.mark.parametrize(
    ("number", "status", "line"),
    [(signal.SIGINT, 130, "error: interrupted\n"), (signal.SIGTERM, 143, "error: SIGTERM: stopped\n")],
)
def test_a_command_that_is_stopped_says_so_and_leaves_nothing(
    tmp_path: Path, number: int, status: int, line: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(number)
        assert (process.wait(), process.stderr.read()) == (status, line)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["convert"], "stickgen convert: missing argument 'source' (stickgen convert --help)"),
        (["generate", "walk"], "stickgen generate: missing option '--model'"),
        (["convert", "a", "b", "--bogus"], "stickgen convert: no such option: --bogus"),
        (["convert", "a", "b", "c"], "stickgen convert: got unexpected extra argument"),
        (["evaluate", "a", "--given", "many"], "stickgen evaluate: invalid value for '--given': "),
        (["evaluate", "a", "--given", "-1"], "stickgen evaluate: invalid value for '--given': "),
        (["convertt", "a"], "stickgen: no such command 'convertt'"),
        (["convert", "a", ""], "an argument is empty, as of a variable of the shell's that is not set"),
        (["convert", "a", "b", "--to="], "an argument is empty"),
    ],
)
def test_a_mistake_in_the_command_line_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert run_command(monkeypatch, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {line}")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert", "nowhere", "x.pth"], "nowhere: no such file or folder"),
        (["convert", "here", "there.pth"], "there.pth: already exists and was kept"),
        (["card", "nowhere"], "nowhere: no such file or folder"),
        (["card", "here", "--scores", "scores.json"], "scores.json: no such file or folder"),
    ],
)
def test_a_wrong_path_does_not_wait_for_torch(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    words: str,
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there.pth").touch()
    monkeypatch.chdir(tmp_path)
    for module in ("convert", "card"):
        monkeypatch.setitem(sys.modules, f"stickgen.export.{module}", None)  # what would import it
    assert run_command(monkeypatch, *arguments) == 1
    assert capsys.readouterr().err.startswith(f"error: {words}")


def test_help_and_no_command_at_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(monkeypatch, "--help") == 0
    listed = capsys.readouterr().out
    assert "sweep-report" in listed
    assert run_command(monkeypatch) == 0
    assert capsys.readouterr() == (listed, "")


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"stickgen {stickgen.__version__}\n"


def test_info_prints_what_a_bug_report_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stickgen.training.precision.bfloat16_speed", lambda device: 0.0625)
    assert run_command(monkeypatch, "info") == 0
    lines = {
        key.strip(): value for key, _, value in (line.partition("  ") for line in capsys.readouterr().out.splitlines())
    }
    assert lines["stickgen"].strip().startswith(stickgen.__version__)
    assert "torch " in lines["packages"]
    assert f"{os.cpu_count()} cores" in lines["processor"]
    assert "0.0625 ×" in lines["bfloat16 on cpu"]
    of_pytorch = "AVX512" in lines["processor"]
    assert lines["generation"].strip() == ("PyTorch's products" if of_pytorch else "weights divided among threads")
    assert any(key.startswith("device") for key in lines)


# The same programs as train.py and merge.py


def stickgen_command(*arguments: object, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stickgen", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(**env), capture_output=True, text=True, check=False)


def test_training_and_merging_from_the_command(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base.safetensors")
    trained = stickgen_command("train", *short_run(base), "lora.rank=3", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    printed = dict(line.split(":", 1) for line in trained.stdout.splitlines() if ":" in line)
    run = printed["run folder"].strip()
    assert printed["see"].split()[:2] == ["stickgen", "generate"]
    assert f"--adapter {run} " in printed["see"]
    recorded = json.loads((tmp_path / run / "environment.json").read_text())["command"]
    assert recorded.startswith("stickgen train base.checkpoint=")
    export = printed["export"].split()
    assert export[0] == "stickgen"
    merged = stickgen_command(*export[1:], cwd=tmp_path)
    assert merged.returncode == 0, merged.stderr
    assert "layers merged" in merged.stdout


@pytest.mark.parametrize("program", ["train", "merge"])
@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--info", "defaults"]])
def test_hydra_reads_the_arguments_of_train_and_merge(program: str, arguments: list[str], tmp_path: Path) -> None:
    ours = stickgen_command(program, *arguments, cwd=tmp_path)
    script = subprocess.run(
        [sys.executable, str(ROOT / f"{program}.py"), *arguments],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (ours.returncode, ours.stdout) == (0, script.stdout)
    assert ours.stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["train", "lora.rnk=2"], 1, "error: lora.rnk: no such setting; did you mean lora.rank?\n"),
        (["merge"], 1, "error: checkpoint: not set; give it on the command line, as checkpoint=…\n"),
        (["train", ""], 2, "error: an argument is empty, as of a variable of the shell's that is not set\n"),
    ],
)
def test_mistakes_in_training_and_merging_are_one_line(
    arguments: list[str], status: int, line: str, tmp_path: Path
) -> None:
    done = stickgen_command(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (status, line)
    assert list(tmp_path.iterdir()) == []


def test_a_shell_is_given_the_commands_to_complete(tmp_path: Path) -> None:
    done = stickgen_command(cwd=tmp_path, _STICKGEN_COMPLETE="complete_bash", COMP_WORDS="stickgen tr", COMP_CWORD="1")
    assert done.stdout.split() == ["train"]
