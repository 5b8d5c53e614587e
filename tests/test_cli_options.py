"""Options that several commands have are one declaration."""

import inspect

import pytest

from stickgen.cli import COMMANDS
from stickgen.cli.motion import generate
from stickgen.render import FORMS
from tests.runs import run_command

OTHERS = {
    # Of the same name and another meaning or default.
    ("card", "overwrite"), ("convert", "base"), ("unmerge", "base"), ("prepare", "base"), ("prepare", "encoder"),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", ["base", "allow_other_base", "encoder", "encoder_id", "overwrite", "dim", "seconds", "theme"]
)
def test_an_option_of_several_commands_is_declared_once(name: str) -> None:
    found = {
        command: parameters[name].annotation
        for command, function in COMMANDS.items()
        if name in (parameters := inspect.signature(function).parameters) and (command, name) not in OTHERS
    }
    assert len(found) >= 2
    assert len({id(kind) for kind in found.values()}) == 1, found


def test_the_help_of_generate_names_every_form() -> None:
    (option,) = inspect.signature(generate).parameters["out"].annotation.__metadata__
    for form in FORMS:
        assert form.suffix in option.help


def test_defaults_are_in_every_help_alike(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {
        (command, name): kind.help or ""
        for command, function in COMMANDS.items()
        for name, parameter in inspect.signature(function).parameters.items()
        for kind in getattr(parameter.annotation, "__metadata__", ())
    }
    assert len(texts) > 50
    # Rich takes brackets for its markup and drops them: such defaults belong into show_default.
    assert [where for where, text in texts.items() if "[" in text or "default:" in text] == []

    assert run_command(monkeypatch, "inspect", "--help") == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "[default: (24 on a sheet, all on a page)]" in shown
    assert "[default: quality]" in shown
