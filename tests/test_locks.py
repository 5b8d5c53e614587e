import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stickgen import locks
from stickgen.errors import FolderInUseError
from stickgen.locks import LOCK_FILE, folder_lock, is_running

ROOT = Path(__file__).parents[1]
HOLD = """
import sys
from pathlib import Path
from stickgen.locks import folder_lock
with folder_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> "subprocess.Popen[str]":
    """Start a process that holds the lock of a folder until its standard input is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def stop(process: "subprocess.Popen[str]", *, kill: bool) -> None:
    if kill:
        process.kill()
    process.communicate()


def test_a_folder_in_use_names_who_uses_it(tmp_path: Path) -> None:
    process = holder(tmp_path / "run")
    try:
        with pytest.raises(FolderInUseError) as refused, folder_lock(tmp_path / "run"):
            pytest.fail("the body must not run")
        said = str(refused.value)
        assert said.startswith(f"{tmp_path / 'run'}: in use by process {process.pid} on {platform.node()} since ")
        assert said.endswith("; wait until it has ended, stop it, or choose another folder")
    finally:
        stop(process, kill=False)
    with folder_lock(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists() or list((tmp_path / "run").iterdir()) == []


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    process = holder(tmp_path)
    stop(process, kill=True)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / LOCK_FILE).exists()
    with caplog.at_level("INFO"), folder_lock(tmp_path):
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()
    assert f"took over the lock of process {process.pid} on {platform.node()}, which has ended" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_process_has_a_folder_once(tmp_path: Path) -> None:
    with folder_lock(tmp_path), pytest.raises(FolderInUseError, match=f"process {os.getpid()} "), folder_lock(tmp_path):
        pytest.fail("the body must not run")
    with folder_lock(tmp_path):
        pass


def test_a_fork_of_the_owner_does_not_keep_the_lock(tmp_path: Path) -> None:
    """As the workers of a loader, which may live a little longer than a killed run."""
    code = HOLD.replace("sys.stdin.read()", "os.fork() and os.kill(os.getpid(), 9); sys.stdin.read()")
    code = code.replace("import sys", "import os, sys")
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=reading, cwd=ROOT)
    try:
        assert process.wait() == -signal.SIGKILL
        with folder_lock(tmp_path):
            pass
    finally:
        os.close(writing)
        os.close(reading)


def another(tmp_path: Path, **changes: object) -> None:
    owner = {**locks._owner(), "host": "elsewhere", "pid": 4242, **changes}
    (tmp_path / LOCK_FILE).write_text(json.dumps(owner))


def test_another_machines_lock_is_respected_unless_it_was_the_same_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another(tmp_path, slurm_job="17")
    for job in ("18", None):
        monkeypatch.setenv("SLURM_JOB_ID", job) if job else monkeypatch.delenv("SLURM_JOB_ID")
        with pytest.raises(FolderInUseError) as refused, folder_lock(tmp_path):
            pytest.fail("the body must not run")
        assert "in use by process 4242 on elsewhere" in str(refused.value)
        assert str(refused.value).endswith(f"if it was killed, remove {tmp_path / LOCK_FILE}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    with folder_lock(tmp_path):
        pass
    assert not (tmp_path / LOCK_FILE).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"host": 1}'])
def test_a_lock_that_names_nobody_is_taken_over(tmp_path: Path, text: str) -> None:
    (tmp_path / LOCK_FILE).write_text(text)
    with folder_lock(tmp_path):
        pass


def test_where_files_cannot_be_locked_the_process_that_is_named_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_lock_file", lambda handle: True)
    sleeper = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    start = locks._process_start(sleeper.pid)
    try:
        another(tmp_path, host=platform.node(), pid=sleeper.pid, process_start=start)
        with pytest.raises(FolderInUseError, match=f"process {sleeper.pid} "), folder_lock(tmp_path):
            pytest.fail("the body must not run")
        if start is not None:  # a later process of the same number
            another(tmp_path, host=platform.node(), pid=sleeper.pid, process_start=start - 1)
            with folder_lock(tmp_path):
                pass
            another(tmp_path, host=platform.node(), pid=sleeper.pid, process_start=start)
    finally:
        sleeper.communicate()
    assert not is_running(sleeper.pid, start)
    with folder_lock(tmp_path):
        pass


def test_a_folder_that_was_made_for_its_lock_goes_with_it(tmp_path: Path) -> None:
    with folder_lock(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    with folder_lock(tmp_path / "new"):
        (tmp_path / "new" / "file").write_text("")
    assert (tmp_path / "new" / "file").exists()
