"""Commands that show motion made by models."""

from pathlib import Path
from typing import Annotated

import typer

from stickgen.cli import options


def generate(
    prompts: Annotated[
        list[str],
        typer.Argument(
            help="What the figure does; each prompt is a row of the picture. Seconds in square brackets end a part of "
            "a prompt; the last part fills the rest."
        ),
    ],
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "--adapter",
            "-m",
            help="Run folder, adapter or base, as path or label=path; may be repeated, each is a column. path=0.6 "
            "applies 0.6 of an adapter's update, a=0.6+b=0.4 the weighted sum of two; a=1,0 has a weight for each part "
            "of a prompt.",
        ),
    ],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            help="Output; the end of its name gives the format: .gif, .mp4, .webp, .png (contact sheet), .svg, "
            ".lottie.json, .bvh, .glb, .openpose.zip, .csv, .motion or .npz; may be repeated.",
            show_default="motion.gif",
        ),
    ] = None,
    seconds: options.Seconds = 10.0,
    base: options.Base = None,
    allow_other_base: options.AllowOtherBase = False,
    encoder: options.Encoder = None,
    encoder_id: options.EncoderId = None,
    seed: Annotated[
        int | None, typer.Option(help="Draw another motion of the same prompt.", show_default="the most typical motion")
    ] = None,
    seed_frames: Annotated[
        Path | None,
        typer.Option(help="Data file or .motion file whose first frames are continued.", show_default="standing"),
    ] = None,
    seed_clip: Annotated[
        int | None, typer.Option(help="Index of the sequence in that data file.", show_default="0", min=0)
    ] = None,
    seed_length: Annotated[
        int | None, typer.Option(help="Number of its frames that are given.", show_default="10", min=1)
    ] = None,
    action: Annotated[
        str | None,
        typer.Option(help="Action labels, for models trained with them: walk, or walk:2,wave:1,walk with seconds."),
    ] = None,
    filmed: Annotated[
        str | None,
        typer.Option(help="Camera, for models trained with one: x,y,zoom, or x,y,zoom..x,y,zoom to move it."),
    ] = None,
    theme: options.Theme = "light",
    camera: Annotated[str, typer.Option(help="follow the figures, or fixed with their whole path in view.")] = "follow",
    trail: Annotated[float, typer.Option(help="Draw the paths of hands and feet over this many seconds.")] = 0.0,
    size: Annotated[int, typer.Option(help="Height of a panel in pixels.")] = 320,
    overwrite: options.Overwrite = False,
) -> None:
    """Generate motion from text and draw it: one row per prompt, one column per model."""
    import math
    from dataclasses import replace

    from stickgen.errors import ConfigError
    from stickgen.motion.skeleton import FPS
    from stickgen.render import Panel, Style, check_output, check_panels, save

    style = Style(theme=theme, camera=camera, trail=trail, size=size)  # type: ignore[arg-type]  # checked by Style
    out = list({path.resolve(): path for path in out or [Path("motion.gif")]}.values())
    if seed_frames is None and (seed_clip is not None or seed_length is not None):
        raise ConfigError("seed-clip and seed-length: choose frames of a file; name it with --seed-frames")
    for path in out:
        check_output(path, len(model) * len(prompts), overwrite=overwrite)
    if not math.isfinite(seconds):
        raise ConfigError(f"seconds={seconds}: a number expected")

    from stickgen.artifacts.model import ModelOptions
    from stickgen.generation import GenerationRequest, read_seed_frames
    from stickgen.generation import generate as make_motions
    from stickgen.generation.conditions import read_actions, read_cameras

    frames = round(seconds * FPS)
    request = replace(
        GenerationRequest(prompts, frames, seed=seed),
        actions=None if action is None else read_actions(action, frames),
        cameras=None if filmed is None else read_cameras(filmed, frames),
        seed_frames=None if seed_frames is None else read_seed_frames(seed_frames, seed_length or 10, seed_clip or 0),
    )
    motions = make_motions(model, request, ModelOptions(base, allow_other_base, encoder, encoder_id))
    labelled = len(model) > 1
    panels = [Panel(m.motion, m.model if labelled else "", m.prompt, m.given, m.actions) for m in motions]
    for path in out:
        check_panels(path, panels)
    for path in out:
        save(path, panels, style, overwrite=overwrite)
        typer.echo(f"{path}: {len(panels)} motion{'s' * (len(panels) > 1)} of {panels[0].frames / FPS:g} s")


def compare(
    models: Annotated[list[str], typer.Argument(help="Run folders, adapters or bases, as path or label=path.")],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Page to write, one .html file; or .gif, .mp4, .webp, .png, .csv or .npz with all motions.",
        ),
    ],
    prompts: Annotated[
        Path | None, typer.Option(help="Text file with one prompt per line; each starts from rest.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data file whose clips are continued.", show_default="the first run's, without --prompts"),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the clips: test, val or train.")] = "test",
    clips: Annotated[int, typer.Option(help="Maximum number of clips.")] = 6,
    given: Annotated[int, typer.Option(help="Frames of each clip that the models continue.", min=1)] = 10,
    seconds: options.Seconds = 4.0,
    scores: Annotated[
        Path | None, typer.Option(help="Scores of stickgen evaluate --json.", show_default="the runs' final metrics")
    ] = None,
    base: options.Base = None,
    allow_other_base: options.AllowOtherBase = False,
    encoder: options.Encoder = None,
    encoder_id: options.EncoderId = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a page that plays models, their frozen base and the real clips in sync, with errors and scores."""
    import math

    from stickgen.artifacts.model import ModelOptions
    from stickgen.data.clips import counted
    from stickgen.errors import ConfigError
    from stickgen.generation.clips import EXPLODED
    from stickgen.motion.skeleton import FPS
    from stickgen.reports.compare import Shown, read_prompts
    from stickgen.reports.compare import compare as write_page

    if not math.isfinite(seconds):
        raise ConfigError(f"seconds={seconds}: a number expected")
    texts = () if prompts is None else read_prompts(prompts)
    shown = Shown(texts, data, split, clips, given, round(seconds * FPS))
    loading = ModelOptions(base, allow_other_base, encoder, encoder_id)
    scenes = write_page(models, out, shown, loading, scores=scores, overwrite=overwrite)
    shown_labels = ", ".join(panel.label.removesuffix(EXPLODED) for panel in scenes[0].panels)
    typer.echo(f"{out}: {counted(len(scenes), 'scene')}, side by side: {shown_labels}")
