"""The ``stickgen`` command: a thin list of commands, each of which imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from stickgen.console import report_errors

app = typer.Typer(
    name="stickgen",
    help="Fine-tune a text-to-stick-figure motion transformer with LoRA: data, evaluation, animation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _stickgen() -> None:
    """Keep commands named even while there is only one."""


@app.command()
def prepare(
    sources: Annotated[list[Path], typer.Argument(help="Joint archives (.npz), BVH files (.bvh), data files (.pt).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Data file to write; .safetensors packs it.")] = Path(
        "data/sft_data_embedded.pt"
    ),
    view: Annotated[
        list[str] | None,
        typer.Option(help="side, front, both, or a yaw angle in degrees; may be repeated. [default: side]"),
    ] = None,
    random_views: Annotated[
        int, typer.Option(help="Further views of each clip, from yaw angles drawn between -90 and 90 degrees.")
    ] = 0,
    name_views: Annotated[
        bool, typer.Option("--name-views", help="Captions say from where a clip is seen, if not from the side.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the random views.")] = 0,
    dim: Annotated[int, typer.Option(help="Numbers a frame: 20 (5 segments) or 48 (12 segments).")] = 20,
    encoder: Annotated[
        str, typer.Option(help="Text encoder: hub id, or folder of a saved sentence-transformers model.")
    ] = "BAAI/bge-large-en-v1.5",
    encoder_id: Annotated[str | None, typer.Option(help="Id to record for an encoder given as a folder.")] = None,
    captions_file: Annotated[
        Path | None,
        typer.Option(help="CSV or JSON with the columns file, caption, action, take; BVH files need one."),
    ] = None,
    captions: Annotated[str, typer.Option(help="Of several captions: first, or all (one clip each).")] = "first",
    only: Annotated[list[str] | None, typer.Option(help="Keep clips with this action label; may be repeated.")] = None,
    window: Annotated[int, typer.Option(help="Most frames of a clip; longer takes are cut.")] = 250,
    source: Annotated[str | None, typer.Option(help="Data set id to record. [default: the file's own]")] = None,
    joint_map: Annotated[
        Path | None, typer.Option(help='JSON file naming joints that are not recognised: {"left_hip": "L_Femur"}.')
    ] = None,
    up: Annotated[str, typer.Option(help="Up axis of the sources: auto, x, y, z, -x, -y or -z.")] = "auto",
    skip_seconds: Annotated[
        float, typer.Option(help="Time dropped at the start of BVH files, which often blend out of a T-pose.")
    ] = 0.1,
    fix_split: Annotated[
        bool,
        typer.Option("--fix-split", help="Write each clip's split into the file, every source divided for itself."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Make a data file of motion capture: project to stick figures, score, embed the captions."""
    from stickgen.data.prepare import PrepareOptions
    from stickgen.data.prepare import prepare as make_data_file
    from stickgen.data.text import TextEncoder

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
        joint_map=joint_map,
        up=up,
        skip_seconds=skip_seconds,
    )
    summary = make_data_file(
        sources,
        output,
        lambda: TextEncoder(encoder, encoder_id=encoder_id),
        options,
        captions=captions_file,
        overwrite=overwrite,
    )
    typer.echo(
        f"{output}: {summary.clips} clips of {summary.takes} takes, {summary.frames} frames; "
        f"{summary.high_quality} with quality >= 0.8"
    )
    if summary.left_out:
        typer.echo(f"left out: {summary.left_out} recordings of fewer than {options.minimum} frames")
    if summary.unlabelled:
        typer.echo(f"without an action class: {summary.unlabelled} clips (name it in the column stickgen_action)")


@app.command()
def sample(
    output: Annotated[Path, typer.Argument(help="Data file to write; .safetensors packs it.")],
    clips: Annotated[int, typer.Option(help="How many clips.")] = 240,
    styles: Annotated[
        list[str] | None, typer.Option(help="neutral, tired, energetic or sneaky; may be repeated. [default: all]")
    ] = None,
    actions: Annotated[
        list[str] | None, typer.Option(help="walk, run, wave, …; may be repeated. [default: all ten]")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same clips.", min=0)] = 0,
    dim: Annotated[int, typer.Option(help="Numbers a frame: 20 (5 segments) or 48 (12 segments).")] = 20,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Make a data file of the built-in sample: generated motion in several styles, nothing to download."""
    from stickgen.data.file import write_sequences
    from stickgen.data.sample import ACTIONS_OF_SAMPLE, SAMPLE_INFO, STYLES, sample_sequences
    from stickgen.files import check_absent

    check_absent(output, overwrite=overwrite, file=True)
    sequences = sample_sequences(
        clips, styles=styles or STYLES, actions=actions or ACTIONS_OF_SAMPLE, seed=seed, dim=dim
    )
    write_sequences(output, sequences, SAMPLE_INFO, overwrite=overwrite)
    takes = len({sequence["meta"]["take"] for sequence in sequences})
    typer.echo(f"{output}: {clips} clips of {takes} takes, {sum(len(s['motion']) for s in sequences)} frames")


@app.command()
def pack(
    source: Annotated[Path, typer.Argument(help="Data file, as sft_data_embedded.pt.")],
    output: Annotated[Path, typer.Argument(help="Packed file to write, as data.safetensors.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Pack a data file, checking every number: the result opens at once however many clips it holds."""
    from stickgen.data.file import pack as pack_file

    clips = pack_file(source, output, overwrite=overwrite).infos
    takes = len({clip.take for clip in clips})
    typer.echo(f"{output}: {len(clips)} clips of {takes} takes, {sum(clip.length for clip in clips)} frames")


@app.command("inspect")
def inspect_data(
    data: Annotated[Path, typer.Argument(help="Data file, as sft_data_embedded.pt, packed or not.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Draw clips here, a .png: some frames of each in a row.")
    ] = None,
    order: Annotated[
        str, typer.Option(help="Which clips: quality, worst first; or action, the worst of every action in turn.")
    ] = "quality",
    clips: Annotated[int, typer.Option(help="How many.")] = 24,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    size: Annotated[int, typer.Option(help="Height of a frame in pixels.")] = 120,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing sheet.")] = False,
) -> None:
    """Show a data file: counts by split, length, action, source and quality, and a sheet of its clips."""
    from rich.console import Console

    from stickgen.render import Style
    from stickgen.reports.inspect import inspect

    style = Style(theme=theme, size=size)
    inspect(data, Console(), out, order=order, clips=clips, style=style, overwrite=overwrite)
    if out is not None:
        typer.echo(f"sheet: {out}")


@app.command()
def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(help="Run folders, adapters or bases, bare or as label=path; one label: mean ± std of them."),
    ],
    data: Annotated[
        list[str] | None, typer.Option(help="Data file; may be repeated. [default: that of the first run]")
    ] = None,
    base: Annotated[Path | None, typer.Option(help="Base of the adapters. [default: the one they name]")] = None,
    split: Annotated[str, typer.Option(help="Which clips: val or test.")] = "test",
    given: Annotated[int, typer.Option(help="Frames of each clip that a rollout is given.", min=1)] = 10,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw them here: .png, .svg or .pdf.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = False,
) -> None:
    """Score models on held-out clips: next frames and free rollouts, beside baselines and the frozen base."""
    from rich.console import Console

    from stickgen.evaluation.evaluate import evaluate as score
    from stickgen.evaluation.evaluate import fingerprints, print_report
    from stickgen.evaluation.figure import check_figure, save_figure
    from stickgen.evaluation.rollouts import RolloutProtocol
    from stickgen.evaluation.scores import ScoresFile
    from stickgen.files import check_absent

    if json is not None:
        check_absent(json, overwrite=overwrite, file=True)
    if figure is not None:
        check_figure(figure, overwrite=overwrite)
    protocol = RolloutProtocol(given=given)
    report = score(models, data or (), base=base, split=split, protocol=protocol)
    print_report(Console(), report)
    if json is not None:
        ScoresFile(split, protocol, fingerprints(models), report).write(json)
    if figure is not None:
        save_figure(report, figure, overwrite=overwrite)


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="Run, .ckpt or adapter folder, or a .pth or .safetensors of the reference system.")
    ],
    output: Annotated[Path, typer.Argument(help="What to write; its name tells the form, if --to does not.")],
    to: Annotated[
        str | None,
        typer.Option(
            help="peft: a folder; checkpoint: .pth with lora_state_dict and lora_config; bare: tensors alone, .pth or "
            ".safetensors; wrapped: .pth with the base in it; base: the base inside a wrapped one. "
            "[default: a folder peft, .pth checkpoint, .safetensors bare]"
        ),
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Of a bare source, which does not tell it.")] = None,
    base: Annotated[Path | None, typer.Option(help="Base to wrap. [default: the one the adapter names]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
) -> None:
    """Convert adapters between PEFT's folders and the reference system's files."""
    from stickgen.export.convert import convert as convert_adapter

    typer.echo(f"{output}: {convert_adapter(source, output, to, alpha=alpha, base=base, overwrite=overwrite)}")


@app.command()
def card(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, of an adapter or of whole weights.")],
    scores: Annotated[
        Path | None, typer.Option(help="Figures of stickgen evaluate --json, this run's model among them.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name. [default: the run's]")] = None,
    license_id: Annotated[
        str | None, typer.Option("--license", help="The weights' licence, by its id on the hub, as apache-2.0.")
    ] = None,
    base_model: Annotated[str | None, typer.Option(help="Hub id of the base.")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Hub id of a data set trained on; may be repeated.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a README.md of your own.")] = False,
) -> None:
    """Write a run's model card, README.md beside its weights, with its scores beside the baselines."""
    from stickgen.export.card import Published, write_card

    published = Published(name=name, license=license_id, base_model=base_model, datasets=tuple(dataset or ()))
    written = write_card(run, published, scores=scores, overwrite=overwrite)
    typer.echo(f"card: {written}")


@app.command()
def generate(
    prompts: Annotated[
        list[str], typer.Argument(help="What the figure does; several prompts are rows of the picture.")
    ],
    model: Annotated[
        list[str],
        typer.Option(help="Run folder, adapter or base, bare or as label=path; may be repeated: side by side."),
    ],
    out: Annotated[
        list[Path], typer.Option("--out", "-o", help=".gif, .mp4, .png (contact sheet), .motion or .npz; repeatable.")
    ],
    seconds: Annotated[float, typer.Option(help="How much to generate, at 25 frames a second.")] = 10.0,
    base: Annotated[Path | None, typer.Option(help="Base of the adapters. [default: the one they name]")] = None,
    allow_other_base: Annotated[
        bool, typer.Option("--allow-other-base", help="Put adapters on a base that they were not trained on.")
    ] = False,
    encoder: Annotated[
        str | None, typer.Option(help="Text encoder, hub id or folder. [default: the one that the base names]")
    ] = None,
    encoder_id: Annotated[str | None, typer.Option(help="Id of an encoder that is given as a folder.")] = None,
    seed_frames: Annotated[
        Path | None,
        typer.Option(help="Data file or .motion file whose first frames to go on from. [default: standing]"),
    ] = None,
    seed_clip: Annotated[int, typer.Option(help="Which clip of that data file.", min=0)] = 0,
    seed_length: Annotated[int, typer.Option(help="How many of its frames.", min=1)] = 10,
    action: Annotated[
        str | None,
        typer.Option(help="For models that were fed actions: walk, or walk:2,wave:1,walk with the seconds of each."),
    ] = None,
    filmed: Annotated[
        str | None,
        typer.Option(help="For models that were trained with a camera: x,y,zoom, or x,y,zoom..x,y,zoom to move it."),
    ] = None,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
    camera: Annotated[str, typer.Option(help="follow the figures, or fixed with their whole way in view.")] = "follow",
    trail: Annotated[float, typer.Option(help="Seconds of the way of hands and feet to draw.")] = 0.0,
    size: Annotated[int, typer.Option(help="Height of a panel in pixels.")] = 320,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")] = False,
) -> None:
    """Make motion of text and show it: models side by side, prompts below each other."""
    import math

    from stickgen.errors import ConfigError
    from stickgen.render import Panel, Style, check_output, save
    from stickgen.skeleton import FPS

    style = Style(theme=theme, camera=camera, trail=trail, size=size)  # type: ignore[arg-type]  # checked by Style
    for path in out:
        check_output(path, len(model) * len(prompts), overwrite=overwrite)
    if not math.isfinite(seconds):
        raise ConfigError(f"seconds={seconds}: a number expected")

    from stickgen.generation import generate as make_motions
    from stickgen.generation import read_seed_frames
    from stickgen.generation.conditions import read_actions, read_cameras
    from stickgen.generation.generate import check_request

    frames = round(seconds * FPS)
    check_request(prompts, frames)
    actions = None if action is None else read_actions(action, frames)
    cameras = None if filmed is None else read_cameras(filmed, frames)
    given = None if seed_frames is None else read_seed_frames(seed_frames, seed_length, seed_clip)
    motions = make_motions(
        model,
        prompts,
        frames,
        given,
        actions=actions,
        cameras=cameras,
        base=base,
        encoder=encoder,
        encoder_id=encoder_id,
        allow_other_base=allow_other_base,
    )
    labelled = len(model) > 1
    panels = [Panel(m.motion, m.model if labelled else "", m.prompt, m.given, m.actions) for m in motions]
    for path in out:
        save(path, panels, style, overwrite=overwrite)
        typer.echo(f"{path}: {len(panels)} motion{'s' * (len(panels) > 1)} of {panels[0].frames / FPS:g} s")


@app.command()
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
    seconds: Annotated[float, typer.Option(help="How much to generate, at 25 frames a second.")] = 4.0,
    scores: Annotated[
        Path | None, typer.Option(help="Figures of stickgen evaluate --json. [default: those the runs ended with]")
    ] = None,
    base: Annotated[Path | None, typer.Option(help="Base of the adapters. [default: the one they name]")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Text encoder, hub id or folder. [default: the one that the base names]")
    ] = None,
    encoder_id: Annotated[str | None, typer.Option(help="Id of an encoder that is given as a folder.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing page.")] = False,
) -> None:
    """Write a page that plays models, their frozen base and the real clips in step, with errors and figures."""
    import math

    from stickgen.errors import ConfigError
    from stickgen.reports.compare import Shown, read_prompts
    from stickgen.reports.compare import compare as write_page
    from stickgen.skeleton import FPS

    if not math.isfinite(seconds):
        raise ConfigError(f"seconds={seconds}: a number expected")
    texts = () if prompts is None else read_prompts(prompts)
    shown = Shown(texts, data, split, clips, given, round(seconds * FPS))
    scenes = write_page(
        models,
        out,
        shown,
        scores=scores,
        base=base,
        encoder=encoder,
        encoder_id=encoder_id,
        overwrite=overwrite,
    )
    typer.echo(f"{out}: {len(scenes)} scene{'s' * (len(scenes) > 1)}, {len(scenes[0].panels)} figures side by side")


@app.command("sweep-report")
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


def main() -> None:
    """Run the command line."""
    with report_errors():
        app()


if __name__ == "__main__":
    main()
