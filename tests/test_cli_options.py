"""Options that several commands have are one declaration."""

import inspect

import pytest

from stickgen.cli import COMMANDS
from stickgen.cli.motion import generate
from stickgen.render import FORMS

OTHERS = {
    # Of the same name and another meaning or default.
    ("card", "overwrite"), ("convert", "base"), ("unmerge", "base"), ("prepare", "encoder"), ("prepare", "encoder_id"),
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
