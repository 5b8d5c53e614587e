"""The `stickgen` command as a whole: mistakes in its command line, and how it is stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs import environment, run_command

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
