"""The command that starts the studio."""

from pathlib import Path
from typing import Annotated

import typer

from stickgen.cli import options


def studio(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of runs, and data files; the studio reads and writes nothing else. The first folder gets new "
            "runs.",
            show_default="outputs",
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Port on this machine.", show_default="a free one", min=0, max=65535)] = 0,
    encoder: options.Encoder = None,
    encoder_id: options.EncoderId = None,
) -> None:
    """Browse data, train, generate and compare in the browser, on this machine only."""
    from importlib.util import find_spec

    from stickgen.errors import ConfigError

    if find_spec("gradio") is None:
        raise ConfigError("studio: gradio is not installed; pip install 'stickgen[studio]'")
    paths = paths or [Path("outputs")]
    if paths == [Path("outputs")]:
        paths[0].mkdir(exist_ok=True)

    from stickgen.artifacts.model import ModelOptions
    from stickgen.studio.server import Server
    from stickgen.studio.studio import Studio

    server = Server(Studio.of(paths, ModelOptions(encoder=encoder, encoder_id=encoder_id)), port)
    typer.echo(f"stickgen studio: open {server.address.url}\nCtrl-C stops it; runs in training go on.")
    server.run()
