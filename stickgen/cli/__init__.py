"""The ``stickgen`` command: a thin list of commands, each of which imports what it needs when it runs."""

import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, cast

import typer

from stickgen import __version__
from stickgen.cli import data, export, info, models, motion, studio, sweeps
from stickgen.console import report_errors
from stickgen.errors import UsageError
from stickgen.signals import pass_signals_on

app = typer.Typer(
    name="stickgen",
    help="Fine-tune a text-to-stick-figure motion transformer with LoRA: data, training, evaluation, animation.",
    pretty_exceptions_enable=False,
)


def _train(context: typer.Context) -> None:
    """Train an adapter or a base. Settings are key=value; train.py is the same program."""
    from stickgen.cli.train import run

    sys.argv = ["stickgen train", *context.args]
    run()


def _merge(context: typer.Context) -> None:
    """Merge adapters into their base: checkpoint=<run> output=<file>. merge.py is the same program."""
    from stickgen.cli.merge import run

    sys.argv = ["stickgen merge", *context.args]
    run()


# Hydra reads their command lines, --help included.
_WITH_HYDRA: dict[str, Callable[..., None]] = {"train": _train, "merge": _merge}
_EVERYTHING = {"allow_extra_args": True, "ignore_unknown_options": True}
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
    "studio": studio.studio,
    "info": info.info,
}
EXPORTS: dict[str, Callable[..., None]] = {"web": export.web}
for name, command in _WITH_HYDRA.items():
    app.command(name, add_help_option=False, context_settings=_EVERYTHING)(command)
for name, command in COMMANDS.items():
    # Inside Typer too, which would end an interrupted command without a word.
    app.command(name)(report_errors()(command))
exports = typer.Typer(help="Write what others use without stickgen: a page that generates motion in the browser.")
for name, command in EXPORTS.items():
    exports.command(name)(report_errors()(command))
app.add_typer(exports, name="export")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"stickgen {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None: ...


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
