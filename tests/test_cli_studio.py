import importlib.util
from pathlib import Path

import pytest

from tests.runs import help_without, run_command


def test_help_is_instant() -> None:
    assert "--port" in help_without("studio", {"torch", "numpy", "PIL", "lightning", "gradio", "fastapi"})


def test_without_gradio_one_line_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name))
    assert run_command(monkeypatch, "studio") == 1
    assert capsys.readouterr().err == "error: studio: gradio is not installed; pip install 'stickgen[studio]'\n"
    assert not (tmp_path / "outputs").exists()


def test_a_folder_that_is_missing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(monkeypatch, "studio", "gone") == 1
    assert capsys.readouterr().err.startswith("error: gone: no such file or folder")
