"""The ``stickgen`` command: a thin list of commands, each of which imports what it needs when it runs."""

from collections.abc import Callable

import typer

from stickgen.cli import data, models, motion, sweeps
from stickgen.console import report_errors

app = typer.Typer(
    name="stickgen",
    help="Fine-tune a text-to-stick-figure motion transformer with LoRA: data, evaluation, animation.",
    no_args_is_help=True,
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
    "generate": motion.generate,
    "compare": motion.compare,
    "sweep-report": sweeps.sweep_report,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Run the command line."""
    with report_errors():
        app()
