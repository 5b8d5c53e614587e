"""Commands about trained models: their scores, their files, their cards."""

from pathlib import Path
from typing import Annotated

import typer

from stickgen.cli import options


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Run folders, adapters or bases, as path or label=path; models with the same label are averaged."
        ),
    ],
    data: Annotated[
        list[str] | None, typer.Option(help="Data file; may be repeated.", show_default="the first run's")
    ] = None,
    base: options.Base = None,
    allow_other_base: options.AllowOtherBase = False,
    split: Annotated[str, typer.Option(help="Split to score: val or test.")] = "test",
    given: Annotated[
        int, typer.Option(help="Frames of each clip that a rollout continues; 0: rollouts from rest only.", min=0)
    ] = 10,
    max_frames: Annotated[
        int, typer.Option(help="Maximum frames per clip, whatever the run's data.max_frames.", min=2)
    ] = 250,
    by: Annotated[str | None, typer.Option(help="Also print rows by group: action or style.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", show_default="PyTorch's choice", min=1)] = None,
    json: Annotated[Path | None, typer.Option(help="Write the scores to this file.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw the scores: .png, .svg or .pdf.")] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Score models on held-out clips, next frames and free rollouts, beside the frozen base and baselines."""
    import torch
    from rich.console import Console

    from stickgen.artifacts.model import ModelOptions
    from stickgen.cli.progress import shown_progress
    from stickgen.evaluation.evaluate import evaluate as score
    from stickgen.evaluation.plot import check_plot, save_plot
    from stickgen.evaluation.rollouts import RolloutProtocol
    from stickgen.evaluation.table import print_scores
    from stickgen.files import check_absent, check_writable

    if json is not None:
        check_absent(json, overwrite=overwrite, file=True)
    if figure is not None:
        check_plot(figure, overwrite=overwrite)
    check_writable(*(output for output in (json, figure) if output is not None))
    if threads is not None:
        torch.set_num_threads(threads)
    protocol = RolloutProtocol(given=given, max_frames=max_frames)
    with shown_progress() as progress:
        scores = score(
            models, data or (), ModelOptions(base, allow_other_base), split=split, protocol=protocol, by=by,
            progress=progress,
        )  # fmt: skip
    print_scores(Console(), scores)
    if json is not None:
        scores.write(json)
    if figure is not None:
        save_plot(scores.report, figure, overwrite=overwrite)


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="An adapter: run, .ckpt, adapter folder, or .pth or .safetensors of stick-gen. For ONNX: a base, a "
            "merged model or a run of all weights. For motion: a .motion, .npz or data file."
        ),
    ],
    output: Annotated[Path, typer.Argument(help="Output; without --to, the end of its name gives the format.")],
    to: Annotated[
        str | None,
        typer.Option(
            help="peft: a folder; checkpoint: .pth with lora_state_dict and lora_config; bare: tensors alone, .pth or "
            ".safetensors; wrapped: .pth that contains the base; base: the base of a wrapped file; onnx: a graph, "
            "checked with onnxruntime.",
            show_default="folder: peft, .pth: checkpoint, .safetensors: bare, .onnx: onnx",
        ),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Alpha of a bare adapter, which does not record it.")] = None,
    base: Annotated[
        Path | None, typer.Option(help="Base to wrap.", show_default="the base that the adapter records")
    ] = None,
    clip: Annotated[int | None, typer.Option(help="Index of a motion in a data file or .npz, from 0.", min=0)] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Convert an adapter to another format, a model to ONNX, or motion to a format of stickgen generate."""
    from stickgen.errors import ConfigError
    from stickgen.files import check_absent, check_exists

    check_exists(source)
    check_absent(output, overwrite=overwrite)

    from stickgen.export.motion import convert_motion, is_motion

    if is_motion(source, output):
        for name, value in (("to", to), ("alpha", alpha), ("base", base)):
            if value is not None:
                raise ConfigError(f"{name}={value}: is for adapters and models, not for motion")
        typer.echo(f"{output}: {convert_motion(source, output, clip, overwrite=overwrite)}")
        return
    if clip is not None:
        raise ConfigError(f"clip={clip}: is for motion; {output} is a form of adapters and models")

    from stickgen.export.convert import convert as convert_adapter

    typer.echo(f"{output}: {convert_adapter(source, output, to, alpha=alpha, base=base, overwrite=overwrite)}")


def unmerge(
    merged: Annotated[Path, typer.Argument(help="Model that merge.py wrote.")],
    output: Annotated[Path, typer.Argument(help="Base to write: .safetensors or .pth.")],
    base: Annotated[Path | None, typer.Option(help="The stored base.", show_default="its path at the merge")] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write the base of a merged model, bit for bit: the stored base, checked by its fingerprint."""
    from stickgen.export.unmerge import unmerge as write_base

    typer.echo(f"{output}: {write_base(merged, output, base, overwrite=overwrite)}")


def card(
    source: Annotated[
        Path, typer.Argument(help="Folder of a finished run, or a data file, or a folder or pattern of packed ones.")
    ],
    scores: Annotated[
        Path | None, typer.Option(help="Scores of stickgen evaluate --json that include this run's model.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the model or data set.", show_default="the run's, the file's")
    ] = None,
    license_id: Annotated[
        str | None,
        typer.Option("--license", help="Licence of the weights or clips: an id of the Hub, such as apache-2.0."),
    ] = None,
    base_model: Annotated[str | None, typer.Option(help="Hub id of the base.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Hub id of a training data set; may be repeated.")] = None,
    split_by: options.SplitBy = "take",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Card of a data file.", show_default="data.md for data.pt, a folder's README.md"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a card of your own.")] = False,
) -> None:
    """Write the model card of a run, README.md beside its weights, or the card of a data file."""
    import glob

    from stickgen.errors import ConfigError
    from stickgen.files import check_exists

    for path in (None if glob.has_magic(str(source)) else source, scores):
        if path is not None:
            check_exists(path)

    from stickgen.export.card import Published, write_card
    from stickgen.export.data_card import is_data, write_data_card

    data = is_data(source)
    of_models = {"--scores": scores, "--base-model": base_model, "--dataset": dataset}
    of_data = {"--split-by": None if split_by == "take" else split_by, "--out": out}
    for option, value in (of_models if data else of_data).items():
        if value:
            kinds = ("models", "a data file") if data else ("data files", "a run")
            raise ConfigError(f"{option}: is for cards of {kinds[0]}, and {source} is {kinds[1]}; leave it out")
    published = Published(name=name, license=license_id, base_model=base_model, datasets=tuple(dataset or ()))
    if data:
        written = write_data_card(source, published, output=out, split_by=split_by, overwrite=overwrite)
    else:
        written = write_card(source, published, scores=scores, overwrite=overwrite)
    typer.echo(f"card: {written}")


def verify(
    paths: Annotated[list[Path], typer.Argument(help="Tensor files, run folders or adapter folders.")],
) -> None:
    """Compare files with the digests recorded in them; exit with status 1 if a file is damaged."""
    from stickgen.errors import CheckpointError
    from stickgen.export.verify import verify as verify_files

    damaged = []
    for path in paths:
        for file in verify_files(path):
            state = "no digest, but readable" if not file.digest else "as it was written"
            typer.echo(f"{file.path}: {state}" if file.damage is None else file.damage)
            damaged += [file] if file.damage is not None else []
    if damaged:
        shown = ", ".join(str(file.path) for file in damaged[:3])
        raise CheckpointError(
            f"{len(damaged)} damaged: {shown}{', …' if len(damaged) > 3 else ''}; restore from a copy"
        )
