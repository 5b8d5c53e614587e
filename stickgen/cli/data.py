"""Commands that make, pack and show data files; each imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from stickgen.cli.options import DataOutput, DataSource, Dim, Overwrite, SplitBy, Theme

_CAPTIONS, _READING = "Captions and labels", "Reading the sources"


def prepare(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Files or folders: BVH, C3D, AMASS, HumanML3D, 2-D keypoints, data files, … (docs/preparing.md)."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Data file to write; .safetensors makes a packed file.")
    ] = Path("data/sft_data_embedded.pt"),
    base: Annotated[
        Path | None,
        typer.Option(
            help="Base that you will train; its text encoder embeds the captions.", show_default="stickgen's base"
        ),
    ] = None,
    view: Annotated[
        list[str] | None,
        typer.Option(help="side, front, both, or a yaw angle in degrees; may be repeated.", show_default="side"),
    ] = None,
    random_views: Annotated[
        int, typer.Option(help="Further views per clip, at random yaw angles from -90 to 90 degrees.")
    ] = 0,
    name_views: Annotated[
        bool, typer.Option("--name-views", help="Add the view to the captions, unless it is the side.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the random views.")] = 0,
    dim: Dim = 20,
    window: Annotated[int, typer.Option(help="Maximum frames per clip; longer recordings are cut.")] = 250,
    only: Annotated[list[str] | None, typer.Option(help="Keep clips with this action label; may be repeated.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Data set id to record in every clip.", show_default="the file's own")
    ] = None,
    fix_split: Annotated[
        bool,
        typer.Option("--fix-split", help="Record each clip's split in the file; each source is divided separately."),
    ] = False,
    captions_file: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_CAPTIONS,
            help="Table (CSV, JSON or JSON lines) with the columns file, caption, action, take, style, subject, split, "
            "license.",
        ),
    ] = None,
    caption_from: Annotated[
        str,
        typer.Option(
            rich_help_panel=_CAPTIONS, help="Pattern of labels in file names: 'dataset-2_{action}_{style}_*'."
        ),
    ] = "",
    caption: Annotated[
        str, typer.Option(rich_help_panel=_CAPTIONS, help="Template of captions: 'A person {action}s, {style}.'")
    ] = "",
    captions: Annotated[
        str, typer.Option(rich_help_panel=_CAPTIONS, help="Use the first caption of a recording, or all (a clip each).")
    ] = "first",
    encoder: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_CAPTIONS,
            help="Text encoder: hub id, or folder of a saved sentence-transformers model.",
            show_default="the base's",
        ),
    ] = None,
    joint_map: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_READING, help='JSON file that names unrecognised joints: {"left_hip": "L_Femur"}.'
        ),
    ] = None,
    up: Annotated[
        str, typer.Option(rich_help_panel=_READING, help="Up axis of the sources: auto, x, y, z, -x, -y or -z.")
    ] = "auto",
    fps: Annotated[
        float | None, typer.Option(rich_help_panel=_READING, help="Frames per second of files that do not record it.")
    ] = None,
    image_size: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_READING,
            help="Size of the video, such as 1920x1080, if its keypoints are fractions of it.",
        ),
    ] = None,
    min_confidence: Annotated[
        float, typer.Option(rich_help_panel=_READING, help="Keypoints of a video below this confidence are dropped.")
    ] = 0.3,
    pose_model: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_READING, help="MediaPipe pose landmarker (.task), which finds people in videos."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(rich_help_panel=_READING, help="Number of processes.", show_default="all cores", min=1),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Make a data file from motion: project it to stick figures, score its quality, embed its captions."""
    from stickgen.cli.progress import shown_progress
    from stickgen.data.clips import amount, counted
    from stickgen.mocap.captions import Captioner
    from stickgen.mocap.cutting import PrepareOptions
    from stickgen.mocap.importers.importer import ImportOptions, parse_size
    from stickgen.mocap.importers.joints import read_joint_map
    from stickgen.mocap.pool import cores
    from stickgen.mocap.prepare import encoder_for
    from stickgen.mocap.prepare import prepare as make_data_file
    from stickgen.mocap.vocabulary import suggest_actions
    from stickgen.text.encoder import TextEncoder

    options = PrepareOptions(
        views=tuple(view or ["side"]),
        random_views=random_views,
        name_views=name_views,
        seed=seed,
        fix_split=fix_split,
        dim=dim,
        window=window,
        captions=captions,  # type: ignore[arg-type]  # checked by PrepareOptions
        only=tuple(only or ()),
        source=source,
        reading=ImportOptions(
            read_joint_map(joint_map) if joint_map else {},
            up,
            fps=fps,
            image_size=parse_size(image_size) if image_size else None,
            min_confidence=min_confidence,
            pose_model=pose_model,
        ),
    )
    captioner = Captioner.of(captions_file, caption_from, caption)
    name = encoder_for(base, encoder)
    with shown_progress() as progress:
        summary = make_data_file(
            sources,
            output,
            lambda: TextEncoder(name),
            options,
            captioner=captioner,
            overwrite=overwrite,
            workers=workers or cores(),
            progress=progress,
        )
    typer.echo(
        f"{output}: {amount(summary.clips, summary.takes, summary.frames)}; {summary.high_quality} with quality >= 0.8"
    )
    typer.echo(f"captions embedded by {name}")
    if summary.gathered:
        typer.echo(f"taken over from data files: {counted(summary.gathered, 'clip')}")
    if summary.left_out:
        typer.echo(f"left out: {counted(summary.left_out, 'recording')} of fewer than {options.minimum} frames")
    if summary.flat and (options.all_views != ("side",) or random_views):
        typer.echo(
            f"kept as the camera saw them: {counted(summary.flat, 'recording')} without depth; views do not apply"
        )
    if summary.unlabelled:
        typer.echo(
            f"without an action class: {counted(summary.unlabelled, 'clip')} (name it in the column stickgen_action)"
        )
    for label, recordings in sorted(summary.unknown_actions.items(), key=lambda item: (-item[1], item[0]))[:20]:
        near = suggest_actions(label)
        hint = f"; perhaps {' or '.join(near)}" if near else ""
        typer.echo(f"  no class for {label!r}: {counted(recordings, 'recording')}{hint}")


def sample(
    output: DataOutput,
    clips: Annotated[int, typer.Option(help="Number of clips.")] = 240,
    styles: Annotated[
        list[str] | None, typer.Option(help="neutral, tired, energetic or sneaky; may be repeated.", show_default="all")
    ] = None,
    actions: Annotated[
        list[str] | None, typer.Option(help="walk, run, wave, …; may be repeated.", show_default="all ten")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same clips.", min=0)] = 0,
    dim: Dim = 20,
    overwrite: Overwrite = False,
) -> None:
    """Make a data file of generated motion in several styles; nothing is downloaded."""
    from stickgen.config import SampleConfig
    from stickgen.data.clips import amount
    from stickgen.data.file import check_data_name, write_sequences
    from stickgen.files import check_absent, check_writable
    from stickgen.sample import ACTIONS_OF_SAMPLE, SAMPLE_INFO, STYLES, sample_sequences

    check_absent(output, overwrite=overwrite, file=True)
    check_data_name(output)
    check_writable(output)
    SampleConfig(clips=clips, seed=seed)
    sequences = sample_sequences(
        clips, styles=styles or STYLES, actions=actions or ACTIONS_OF_SAMPLE, seed=seed, dim=dim
    )
    write_sequences(output, sequences, SAMPLE_INFO, overwrite=overwrite)
    takes = len({sequence["meta"]["take"] for sequence in sequences})
    typer.echo(f"{output}: {amount(clips, takes, sum(len(s['motion']) for s in sequences))}")


def pack(
    sources: Annotated[list[Path], typer.Argument(help="Data files, such as sft_data_embedded.pt.")],
    output: Annotated[
        Path,
        typer.Argument(help="Packed file to write, such as data.safetensors, or a folder for one per data file."),
    ],
    overwrite: Overwrite = False,
) -> None:
    """Check every number of a data file and write a packed file, which opens at once."""
    from stickgen.cli.progress import shown_progress
    from stickgen.data.clips import amount
    from stickgen.data.file import is_packed, pack_each
    from stickgen.data.file import pack as pack_file
    from stickgen.errors import ConfigError

    several = not is_packed(output) and (output.is_dir() or not output.suffix)
    if len(sources) > 1 and not several:
        raise ConfigError(f"{output}: a folder expected for {len(sources)} data files; each becomes a file in it")
    with shown_progress() as progress:
        if several:
            packed = pack_each(sources, output, overwrite=overwrite, progress=progress)
        else:
            packed = {output: pack_file(sources[0], output, overwrite=overwrite, progress=progress)}
    for path, store in packed.items():
        typer.echo(f"{path}: {amount(*store.infos.amount())}")


def inspect_data(
    data: DataSource,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            help="Sheet of frames (.png), page that plays the clips (.html), or flagged clips for data.curation "
            "(.yaml); may be repeated.",
        ),
    ] = None,
    order: Annotated[
        str,
        typer.Option(
            help="Order of the clips: quality (worst first, then the oddest), or action (the worst of each in turn)."
        ),
    ] = "quality",
    clips: Annotated[
        int | None, typer.Option(help="Maximum number of clips.", show_default="24 on a sheet, all on a page")
    ] = None,
    flag: Annotated[
        list[str] | None, typer.Option(help="Flag clips by a rule, such as jerk>200 or duplicate<0.1; may be repeated.")
    ] = None,
    curation: Annotated[Path | None, typer.Option(help="A .yaml file of clips that are already flagged.")] = None,
    split_by: SplitBy = "take",
    theme: Theme = "light",
    size: Annotated[int, typer.Option(help="Height of a sheet's frames in pixels.")] = 120,
    overwrite: Overwrite = False,
) -> None:
    """Show the counts, measures and leakage of a data file; draw or play its clips; flag clips by rules."""
    from rich.console import Console

    from stickgen.render import Style
    from stickgen.reports.inspect import Shown, inspect

    style = Style(theme=theme, size=size)
    shown = Shown(tuple(out or ()), order, clips, tuple(flag or ()), curation, split_by, style)
    inspect(data, Console(), shown, overwrite=overwrite)
    kinds = {".png": "sheet", ".yaml": "flagged clips"}
    for path in shown.outputs:
        typer.echo(f"{kinds.get(path.suffix.lower(), 'page')}: {path}")
