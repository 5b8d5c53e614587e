"""Commands about sweeps."""

from pathlib import Path
from typing import Annotated

import typer


def sweep_report(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep, with multirun.yaml and its jobs.")],
    sort: Annotated[str | None, typer.Option(help="Column to sort by. [default: the best job first]")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to. [default: the sweep's]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an older report.")] = False,
) -> None:
    """Compare a sweep's jobs: a table, its CSV, a rank × alpha heat map, parallel coordinates, and the best job."""
    from rich.console import Console

    from stickgen.sweeps.report import write_report

    for path in write_report(folder, Console(), sort=sort, out=out, overwrite=overwrite):
        typer.echo(f"wrote {path}")
