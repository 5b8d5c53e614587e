"""Commands that show motion made by models."""

from pathlib import Path
from typing import Annotated

import typer

from stickgen.cli import options


def generate(
    prompts: Annotated[
        list[str], typer.Argument(help="What the figure does; several prompts are rows of the picture.")
    ],
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "--adapter",
            "-m",
            help="Run folder, adapter or base, bare or as label=path; may be repeated: side by side. An adapter's "
            "strength goes behind it: path=0.6.",
        ),
    ],
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            help="Its name's end is the form: .gif, .mp4, .webp, .png (contact sheet), .svg, .lottie.json, .bvh, .glb, "
            ".openpose.zip, .csv, .motion or .npz; may be repeated. [default: motion.gif]",
        ),
    ] = None,
    seconds: options.Seconds = 10.0,
    base: options.Base = None,
    allow_other_base: options.AllowOtherBase = False,
    encoder: options.Encoder = None,
    encoder_id: options.EncoderId = None,
    seed: Annotated[
        int | None, typer.Option(help="Draws another motion of the same prompt. [default: the most typical motion]")
    ] = None,
    seed_frames: Annotated[
        Path | None,
        typer.Option(help="Data file or .motion file whose first frames to go on from. [default: standing]"),
    ] = None,
    seed_clip: Annotated[int | None, typer.Option(help="Which sequence of that data file. [default: 0]", min=0)] = None,
    seed_length: Annotated[int | None, typer.Option(help="How many of its frames. [default: 10]", min=1)] = None,
    action: Annotated[
        str | None,
        typer.Option(help="For models that were fed actions: walk, or walk:2,wave:1,walk with the seconds of each."),
    ] = None,
    filmed: Annotated[
        str | None,
        typer.Option(help="For models that were trained with a camera: x,y,zoom, or x,y,zoom..x,y,zoom to move it."),
    ] = None,
    theme: options.Theme = "light",
    camera: Annotated[str, typer.Option(help="follow the figures, or fixed with their whole way in view.")] = "follow",
    trail: Annotated[float, typer.Option(help="Seconds of the way of hands and feet to draw.")] = 0.0,
    size: Annotated[int, typer.Option(help="Height of a panel in pixels.")] = 320,
    overwrite: options.Overwrite = False,
) -> None:
    """Make motion of text and show it: models side by side, prompts below each other."""
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
    models: Annotated[
        list[str], typer.Argument(help="Run folders, adapters or bases, bare or as label=path, side by side.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page, one .html file.")],
    prompts: Annotated[
        Path | None, typer.Option(help="Text file, a prompt a line: motion from the text alone.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Data file whose clips to go on with. [default: that of the first run, without prompts]"),
    ] = None,
    split: Annotated[str, typer.Option(help="Which of its clips: test, val or train.")] = "test",
    clips: Annotated[int, typer.Option(help="Most clips.")] = 6,
    given: Annotated[int, typer.Option(help="First frames of a clip that the models are given.", min=1)] = 10,
    seconds: options.Seconds = 4.0,
    scores: Annotated[
        Path | None, typer.Option(help="Figures of stickgen evaluate --json. [default: those the runs ended with]")
    ] = None,
    base: options.Base = None,
    allow_other_base: options.AllowOtherBase = False,
    encoder: options.Encoder = None,
    encoder_id: options.EncoderId = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write a page that plays models, their frozen base and the real clips in step, with errors and figures."""
    import math

    from stickgen.artifacts.model import ModelOptions
    from stickgen.errors import ConfigError
    from stickgen.motion.skeleton import FPS
    from stickgen.reports.compare import Shown, read_prompts
    from stickgen.reports.compare import compare as write_page

    if not math.isfinite(seconds):
        raise ConfigError(f"seconds={seconds}: a number expected")
    texts = () if prompts is None else read_prompts(prompts)
    shown = Shown(texts, data, split, clips, given, round(seconds * FPS))
    loading = ModelOptions(base, allow_other_base, encoder, encoder_id)
    scenes = write_page(models, out, shown, loading, scores=scores, overwrite=overwrite)
    typer.echo(f"{out}: {len(scenes)} scene{'s' * (len(scenes) > 1)}, {len(scenes[0].panels)} figures side by side")
