from pathlib import Path

import pytest

from stickgen.errors import OutputExistsError
from stickgen.files import atomic_write, check_absent


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


def test_a_folder_replaces_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "adapter"
    for content in ("old", "new"):
        with atomic_write(path, overwrite=True) as scratch:
            (scratch / "inner").mkdir(parents=True)
            (scratch / "inner" / content).write_text(content)
    assert [p.name for p in (path / "inner").iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_body_that_writes_nothing_is_an_error_and_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(OSError, match="out"), atomic_write(path, overwrite=True):
        pass
    assert path.read_text() == "old"


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), atomic_write(tmp_path / "file" / "out"):
        pytest.fail("the body must not run")
