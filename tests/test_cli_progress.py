import pytest

from stickgen.cli import progress
from stickgen.cli.progress import shown_progress


def test_without_a_terminal_a_line_is_printed_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with shown_progress() as show:
        show("reading", 500, 2000)  # an earlier command's
        for done in range(501, 601):
            clock[0] += 1
            show("reading", done, 2000)
        for done in range(100):
            clock[0] += 0.1
            show("embedding", done, 100)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "reading: 560 of 2,000, about 24:00 min left\n"


def test_on_a_terminal_there_is_a_bar_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with shown_progress() as show:
        show("packing", 0, 10)
        show("packing", 5, 10)
    written = capsys.readouterr().err
    assert "packing" in written
    assert "-:--:--" in written or "0:00" in written
