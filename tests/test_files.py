import errno
import io
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from stickgen import disk, locks
from stickgen.errors import ConfigError, DataError, OutputError, OutputExistsError
from stickgen.files import (
    atomic_write,
    check_absent,
    check_keeps,
    check_writable,
    read_torch,
    remove_leftovers,
    temporary_folder,
)


def test_a_file_appears_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "clips.pt"
    with atomic_write(path) as scratch:
        assert scratch.suffix == ".pt"
        assert scratch.parent.parent == path.parent
        scratch.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_output_is_kept_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(OutputExistsError, match="already exists and was kept"), atomic_write(path):
        pytest.fail("the body must not run")
    check_absent(path, overwrite=True)
    with atomic_write(path, overwrite=True) as scratch:
        scratch.write_text("new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "out"
    path.write_text("old")

    def write_half() -> None:
        with atomic_write(path, overwrite=True) as scratch:
            scratch.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def write_folder(path: Path, content: str, *names: str) -> None:
    with atomic_write(path, overwrite=True, folder_of=("weights", "card")) as scratch:
        scratch.mkdir()
        for name in names:
            (scratch / name).write_text(content)


def test_a_folder_replaces_one_of_its_like(tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    write_folder(path, "old", "weights", "card")
    write_folder(path, "new", "weights")
    assert {p.name: p.read_text() for p in path.iterdir()} == {"weights": "new"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_replaces_no_other(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write_folder(path, "old", "weights")
    (path / "checkpoints").mkdir()
    with pytest.raises(OutputExistsError, match=r"run: holds checkpoints, which would be lost, and was kept"):
        write_folder(path, "new", "weights")
    assert (path / "weights").read_text() == "old"
    with pytest.raises(OutputExistsError, match=r"weights: is a file and was kept; name a folder"):
        write_folder(path / "weights", "new", "weights")


@pytest.mark.parametrize("output", [".", "source", "other/../source", "source/weights", "link"])
def test_an_output_that_is_what_it_is_made_from(tmp_path: Path, output: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "weights").write_text("")
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(OutputExistsError, match=r"would replace what it is made from, .*source; name another output"):
        check_keeps([tmp_path / output], [source])
    check_keeps([tmp_path / "source2", source / "new.pth"], [source])


def test_a_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    path.mkdir()
    (path / "weights").write_text("old")

    def write() -> None:
        with atomic_write(path, overwrite=True) as scratch:
            scratch.write_text("new")

    with pytest.raises(OutputExistsError, match="adapter: is a folder and was kept"):
        write()
    with pytest.raises(OutputExistsError, match="adapter: is a folder and was kept"):
        check_absent(path, overwrite=True, file=True)
    assert (path / "weights").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_body_that_writes_nothing_is_an_error_and_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(OutputError, match=r"out: .*; nothing was replaced"), atomic_write(path, overwrite=True):
        pass
    assert path.read_text() == "old"


def test_a_place_that_cannot_be_written_to_is_told_by_the_name_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(prefix: str, dir: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", f"{dir}/{prefix}x2k_a")

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(OutputError) as refused, atomic_write(tmp_path / "model.pth"):
        pass
    assert str(refused.value) == f"{tmp_path / 'model.pth'}: Permission denied; name another output"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace", "link"])
def test_what_the_disk_refuses_names_the_output_and_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    path = tmp_path / "out"
    path.write_text("old")

    def refuse(*names: object) -> None:
        raise OSError(number, os.strerror(number), *(str(name) for name in names if isinstance(name, Path)))

    monkeypatch.setattr(os, call, refuse)
    with (
        pytest.raises(OutputError) as refused,
        atomic_write(path, overwrite=True, keep=tmp_path / "previous") as scratch,
    ):
        scratch.write_text("new")
    assert str(refused.value) == f"{path}: {os.strerror(number)}; nothing was replaced"
    assert path.read_text() == "old"


@pytest.mark.parametrize("named", [Path, Path.absolute])
def test_the_output_is_named_as_it_was_asked_for_however_a_writer_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: Callable[[Path], Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    message = r"^out\.html: No space left on device; nothing was replaced$"
    with pytest.raises(OutputError, match=message), atomic_write(Path("out.html")) as scratch:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(named(scratch)))


def test_an_error_of_something_that_is_read_meanwhile_keeps_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="source"), atomic_write(tmp_path / "out" / "file") as scratch:
        scratch.write_text((tmp_path / "source").read_text())


def test_the_replaced_file_is_kept_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, kept = tmp_path / "last", tmp_path / "previous"
    for content in "123":
        with atomic_write(path, overwrite=True, keep=kept) as scratch:
            scratch.write_text(content)
    assert (path.read_text(), kept.read_text()) == ("3", "2")

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with atomic_write(path, overwrite=True, keep=kept) as scratch:
        scratch.write_text("4")
    assert (path.read_text(), kept.read_text()) == ("4", "3")
    assert sorted(tmp_path.iterdir()) == [path, kept]


def test_where_folders_cannot_change_places_one_still_replaces_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "_exchange", lambda *_: False)
    test_a_folder_replaces_one_of_its_like(tmp_path)
    rename = os.rename

    def refuse_the_new(one: Path, other: Path) -> None:
        if Path(one).name == "adapter" and Path(other).name == "adapter":
            raise OSError(errno.EIO, "Input/output error")
        rename(one, other)

    monkeypatch.setattr(os, "rename", refuse_the_new)
    with pytest.raises(OutputError, match="adapter: Input/output error; nothing was replaced"):
        write_folder(tmp_path / "adapter", "newer", "weights")
    assert (tmp_path / "adapter" / "weights").read_text() == "new"


KILLED = """
import os, signal, sys
from pathlib import Path
from stickgen import disk
from stickgen.files import atomic_write
disk._exchange = lambda *_: False
def kill(*_): os.kill(os.getpid(), signal.SIGKILL)
path = Path(sys.argv[1])
if sys.argv[2] == "write":
    with atomic_write(path / "out", overwrite=True) as scratch:
        scratch.write_text("half")
        kill()
rename = os.rename
os.rename = lambda one, other: rename(one, other) if other.name.endswith(".replaced") else kill()
with atomic_write(path / "adapter", overwrite=True, folder_of=("weights",)) as scratch:
    scratch.mkdir()
"""


@pytest.mark.parametrize("at", ["write", "rename"])
def test_the_next_command_removes_what_a_killed_one_has_left(tmp_path: Path, at: str) -> None:
    write_folder(tmp_path / "adapter", "old", "weights")
    command = [sys.executable, "-c", KILLED, str(tmp_path), at]
    assert subprocess.run(command, check=False, cwd=Path(__file__).parents[1]).returncode == -9
    assert len(list(tmp_path.glob(".stickgen-*"))) == 1
    with atomic_write(tmp_path / "other") as scratch:
        scratch.write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "other"]
    assert (tmp_path / "adapter" / "weights").read_text() == "old"


def test_what_is_being_written_is_not_taken_for_left_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with atomic_write(tmp_path / "one") as first:
        first.write_text("one")
        with atomic_write(tmp_path / "two") as second:
            second.write_text("two")
        monkeypatch.setattr(locks, "_machine", lambda: "another")
        remove_leftovers(tmp_path)  # whose processes this machine cannot see
        assert first.read_text() == "one"
        os.utime(first.parent, (0, 0))  # but nobody takes so long
        remove_leftovers(tmp_path)
        assert not first.exists()
        monkeypatch.undo()
        first.parent.mkdir()
        first.write_text("one")
    assert (tmp_path / "one").read_text() == "one"


def test_a_temporary_folder_that_is_full_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    message = rf"^{tmp_path}: No space left on device; .*TMPDIR names another"
    with pytest.raises(OutputError, match=message), temporary_folder():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file/out: "), atomic_write(tmp_path / "file" / "out"):
        pytest.fail("the body must not run")


def saved(new_format: bool) -> bytes:
    buffer = io.BytesIO()
    content = {"a": torch.ones(5, 20), "b": [{"name": "a walk", "score": 0.9}] * 3}
    torch.save(content, buffer, _use_new_zipfile_serialization=new_format)
    return buffer.getvalue()


def damages(whole: bytes, count: int) -> list[bytes]:
    """Copies with bytes changed, flipped near either end, cut off or taken out."""
    chance = random.Random(0)
    copies = []
    for kind in range(count):
        copy = bytearray(whole)
        at = chance.randrange(len(copy))
        if kind % 4 == 0:
            copy[at] = chance.randrange(256)
        elif kind % 4 == 1:
            near = chance.randrange(400)
            copy[near if chance.random() < 0.5 else -1 - near] ^= 1 << chance.randrange(8)
        elif kind % 4 == 2:
            del copy[at:]
        else:
            del copy[at : at + chance.randrange(1, 64)]
        copies.append(bytes(copy))
    return copies


def test_what_could_not_be_written_in_the_end_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_writable()
    check_writable(tmp_path / "new" / "folder" / "a.json", tmp_path / "b.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file is a file, so nothing can be written in it"):
        check_writable(tmp_path / "file" / "folder" / "a.json")
    with pytest.raises(ConfigError, match="named for two outputs"):
        check_writable(tmp_path / "a.json", tmp_path / "." / "a.json")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigError, match="may not be written to; name another output"):
        check_writable(tmp_path / "a.json")
    assert not (tmp_path / "new").exists()


def test_folders_at_the_root_are_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder as /no-such-folder/dir; make it first"):
        check_writable(Path("/no-such-folder/dir/page.html"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("mmap", [True, False])
def test_damage_of_any_kind_is_told_in_one_line(tmp_path: Path, new_format: bool, mmap: bool) -> None:
    path = tmp_path / "base.pt"
    messages: list[str] = []
    for content in damages(saved(new_format), 300):
        path.write_bytes(content)
        try:
            read_torch(path, mistake=DataError, instead="", mmap=mmap)
        except DataError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(message.startswith(f"{path}: ") and "\n" not in message for message in messages)
    told = {message.removeprefix(f"{path}: ").partition(":")[0] for message in messages}
    ours = ("not a torch file, or damaged", "holds Python objects")
    assert all(one.startswith(ours) for one in told), "and nothing of torch's insides"
    assert not any("miniz" in message or message[-1].isdigit() for message in messages)


def test_an_archive_that_says_it_spans_disks(tmp_path: Path) -> None:
    path = tmp_path / "base.pt"
    content = bytearray(saved(True))
    end = content.rindex(b"PK\x06\x07")  # the locator of the zip64 end; its last number counts the disks
    content[end + 16] = 2
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"base\.pt: not a torch file, or damaged"):
        read_torch(path, mistake=DataError, instead="")
