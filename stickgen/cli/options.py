"""Options that several commands have; each is declared once, so that its name and help are the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

Base = Annotated[
    Path | None, typer.Option("--base", help="Base of the adapters.", show_default="the base that each records")
]
AllowOtherBase = Annotated[
    bool, typer.Option("--allow-other-base", help="Allow a base that the adapters were not trained on.")
]
Encoder = Annotated[
    str | None,
    typer.Option("--encoder", help="Text encoder, hub id or folder.", show_default="the base's"),
]
EncoderId = Annotated[str | None, typer.Option("--encoder-id", help="Id of an encoder that is given as a folder.")]
Seconds = Annotated[float, typer.Option("--seconds", help="Length of each motion, at 25 frames per second.")]
DataSource = Annotated[Path, typer.Argument(help="Data file, packed or not, such as sft_data_embedded.pt.")]
DataOutput = Annotated[Path, typer.Argument(help="Data file to write; .safetensors makes a packed file.")]
Dim = Annotated[int, typer.Option("--dim", help="Numbers per frame: 20 (5 segments) or 48 (12 segments).")]
SplitBy = Annotated[
    str, typer.Option("--split-by", help="What is never divided between splits: take, or subject (one person).")
]
Theme = Annotated[str, typer.Option("--theme", help="Colours: light or dark.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
