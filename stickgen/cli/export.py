"""Commands that write what others read without stickgen."""

from pathlib import Path
from typing import Annotated

import typer

from stickgen.cli import options


def web(
    models: Annotated[
        list[str],
        typer.Argument(help="Runs or adapters of one base, as path or label=path, each with a slider; or one base."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    prompts: Annotated[Path, typer.Option(help="Text file with one prompt per line.")],
    runtime: Annotated[
        Path, typer.Option(help="Folder of onnxruntime-web, as npm install onnxruntime-web makes it.")
    ] = Path("node_modules/onnxruntime-web"),
    base: options.Base = None,
    allow_other_base: options.AllowOtherBase = False,
    encoder: options.Encoder = None,
    encoder_id: options.EncoderId = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a folder with a page that generates motion in the browser, for any static server."""
    from stickgen.artifacts.model import ModelOptions
    from stickgen.export.web import export_web
    from stickgen.reports.compare import read_prompts

    loading = ModelOptions(base, allow_other_base, encoder, encoder_id)
    report = export_web(models, out, read_prompts(prompts), loading, runtime=runtime, overwrite=overwrite)
    typer.echo(
        f"{out}: {report.bytes / 1e6:.1f} MB; the largest difference from a rollout is "
        f"{report.largest_difference:.2g} body heights\nserve it: python -m http.server --directory {out}"
    )
