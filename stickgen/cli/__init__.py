"""The ``stickgen`` command: a thin list of commands, each of which imports what it needs when it runs."""

import re
import sys
from collections.abc import Callable
from typing import Any, cast

import typer

from stickgen.cli import data, models, motion, sweeps
from stickgen.console import report_errors
from stickgen.errors import UsageError
from stickgen.signals import pass_signals_on

app = typer.Typer(
    name="stickgen",
    help="Fine-tune a text-to-stick-figure motion transformer with LoRA: data, evaluation, animation.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
COMMANDS: dict[str, Callable[..., None]] = {
    "prepare": data.prepare,
    "sample": data.sample,
    "pack": data.pack,
    "inspect": data.inspect_data,
    "evaluate": models.evaluate,
    "convert": models.convert,
    "unmerge": models.unmerge,
    "card": models.card,
    "verify": models.verify,
    "generate": motion.generate,
    "compare": motion.compare,
    "sweep-report": sweeps.sweep_report,
}
for name, command in COMMANDS.items():
    # Inside Typer too, which would end an interrupted command without a word.
    app.command(name)(report_errors()(command))

# The base of whatever is wrong with a command line; Typer itself names only the classes below it.
_UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])


def main() -> None:
    """Run the command line; mistakes in it are one line and exit status 2."""
    pass_signals_on()
    arguments = sys.argv[1:] or ["--help"]
    with report_errors():
        if any(not argument or re.fullmatch("--[^=]+=", argument) for argument in arguments):
            # As a path it would be the working directory.
            raise UsageError("an argument is empty, as of a variable of the shell's that is not set")
        try:
            status = app(arguments, prog_name=app.info.name, standalone_mode=False)
        except _UsageError as error:
            raise _usage_error(error) from None
    raise SystemExit(status)


def _usage_error(error: Any) -> UsageError:
    """Say what Typer found wrong, in one line instead of a box of them."""
    command = error.ctx.command_path if error.ctx else app.info.name
    said = error.format_message().rstrip(".")
    return UsageError(f"{command}: {said[:1].lower()}{said[1:]} ({command} --help)")
