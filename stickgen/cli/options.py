"""Options that several commands have; each is declared once, so that its name and help are the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Base = Annotated[Path | None, typer.Option("--base", help="Base of the adapters. [default: the one they name]")]
AllowOtherBase = Annotated[
    bool, typer.Option("--allow-other-base", help="Put adapters on a base that they were not trained on.")
]
Encoder = Annotated[
    str | None,
    typer.Option("--encoder", help="Text encoder, hub id or folder. [default: the one that the base names]"),
]
EncoderId = Annotated[str | None, typer.Option("--encoder-id", help="Id of an encoder that is given as a folder.")]
Seconds = Annotated[float, typer.Option("--seconds", help="How much to generate, at 25 frames a second.")]
DataSource = Annotated[Path, typer.Argument(help="Data file, as sft_data_embedded.pt, packed or not.")]
DataOutput = Annotated[Path, typer.Argument(help="Data file to write; .safetensors packs it.")]
Dim = Annotated[int, typer.Option("--dim", help="Numbers a frame: 20 (5 segments) or 48 (12 segments).")]
Theme = Annotated[str, typer.Option("--theme", help="light or dark.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
