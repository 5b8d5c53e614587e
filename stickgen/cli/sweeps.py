"""Commands about sweeps."""

from pathlib import Path
from typing import Annotated

import typer

from stickgen.cli.options import Overwrite


def sweep_report(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep, with multirun.yaml and its jobs.")],
    sort: Annotated[str | None, typer.Option(help="Column to sort by.", show_default="best job first")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to.", show_default="the sweep's")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare a sweep's jobs: a table, a CSV file, a rank × alpha heat map, parallel coordinates, the best job."""
    from rich.console import Console

    from stickgen.sweeps.report import write_report

    for path in write_report(folder, Console(), sort=sort, out=out, overwrite=overwrite):
        typer.echo(f"wrote {path}")
