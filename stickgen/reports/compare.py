"""``stickgen compare``: models side by side in one page, with their figures, or in one picture."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stickgen.artifacts.model import AS_RECORDED, ModelOptions
from stickgen.artifacts.model_name import label_and_path
from stickgen.artifacts.run import RunFolder, read_json
from stickgen.config import DataConfig
from stickgen.errors import CheckpointError, ConfigError
from stickgen.evaluation.frozen import frozen_bases
from stickgen.evaluation.scores import ScoresFile
from stickgen.evaluation.table import summary_text
from stickgen.files import atomic_write, check_absent, check_writable
from stickgen.generation.generate import check_labels
from stickgen.generation.request import GenerationRequest
from stickgen.metrics import SHOWN
from stickgen.motion.skeleton import FPS
from stickgen.render import Panel, check_output, save
from stickgen.render.forms import form_of
from stickgen.reports.page import Table, page
from stickgen.reports.scenes import REAL, Scene, scenes_of_clips, scenes_of_prompts

MOST_SCENES = 50
"""A page holds all its motion; beyond some tens of scenes nobody looks at it, and browsers are slow to open it."""


@dataclass(frozen=True)
class Shown:
    """What a comparison shows.

    Attributes:
        prompts: texts that the models make motion of, from the rest pose.
        data: a data file whose clips the models go on with; None: that of the first model's run, where there are no
            prompts.
        split: which of its clips: "test", "val" or "train".
        clips: most of them.
        given: frames of each that the models are given.
        frames: most frames that are made.
    """

    prompts: Sequence[str] = ()
    data: str | None = None
    split: str = "test"
    clips: int = 6
    given: int = 10
    frames: int = 4 * FPS

    def check(self) -> None:
        """Refuse what cannot be shown.

        Raises:
            StickgenError: a number or the split is impossible, or a prompt is empty.
        """
        if self.split not in ("train", "val", "test"):
            raise ConfigError(f"split={self.split}: train, val or test expected")
        if not 1 <= self.clips <= MOST_SCENES or len(self.prompts) > MOST_SCENES:
            raise ConfigError(f"{max(self.clips, len(self.prompts))} scenes: 1 to {MOST_SCENES} go into a page")
        GenerationRequest(self.prompts or ["none"], self.frames)


def read_prompts(path: Path) -> list[str]:
    """Return the prompts in a file, one a line; empty lines do not count.

    Raises:
        ConfigError: it cannot be read, or has none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; a text file with a prompt a line expected") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; a text file with a prompt a line expected") from None
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise ConfigError(f"{path}: holds no prompt; one a line expected")
    return prompts


def compare(
    models: Sequence[str],
    output: Path,
    shown: Shown,
    options: ModelOptions = AS_RECORDED,
    *,
    scores: Path | None = None,
    overwrite: bool = False,
) -> list[Scene]:
    """Write what models make of the same prompts and clips, a page that plays it, and return its scenes.

    A picture has a row for each scene and a column for each model; of the page's tables it has none.

    Args:
        models: paths as of :func:`~stickgen.artifacts.model.load_model`, each bare or as ``label=path``.
        output: the page (``.html``), one file that needs no network; or a form of
            :data:`~stickgen.render.forms.FORMS` that holds several motions.
        shown: prompts, clips and lengths.
        options: of the base and the text encoder.
        scores: figures of ``stickgen evaluate --json`` for the table; None: those of the models' runs.
        overwrite: replace an existing output.

    Raises:
        ConfigError: there is nothing to show, a setting is impossible, or two figures would have one label.
        OutputExistsError: the output exists and ``overwrite`` is false, or it is a folder.
        StickgenError: the output cannot be written there; a model, the data or the figures cannot be read, or do not
            fit each other.
    """
    is_page = output.suffix.lower() in (".html", ".htm")
    if is_page:
        check_absent(output, overwrite=overwrite, file=True)
        check_writable(output)
    elif form_of(output) is None:
        raise ConfigError(f"{output}: a name that ends in .html, or in a format of stickgen generate, expected")
    else:
        check_output(output, overwrite=overwrite)
    shown.check()
    named = [label_and_path(model) for model in models]
    check_labels([REAL, *(label for label, _ in named)])
    tables = _tables_of_scores(scores) if scores is not None else _tables_of_runs(named)
    loaded = [(label, options.load(path)) for label, path in named]
    settings = next((model.run.data for _, model in loaded if model.run is not None), None)
    if shown.data is None and not shown.prompts and settings is None:
        raise ConfigError("nothing to show: no model comes from a run that names data; give --prompts or --data")
    loaded = [*frozen_bases(loaded), *loaded]
    check_labels([label for label, _ in loaded])
    continued = shown.data is not None or not shown.prompts
    if not is_page:
        check_output(output, len(loaded) * max(len(shown.prompts), 1) + continued, overwrite=overwrite)
    scenes: list[Scene] = []
    if continued:
        config = settings or DataConfig()
        config = config if shown.data is None else replace(config, path=shown.data)
        scenes += scenes_of_clips(loaded, config, shown.split, shown.clips, shown.given, shown.frames)
    if shown.prompts:
        scenes += scenes_of_prompts(loaded, shown.prompts, shown.frames, options)
    if not is_page:
        save(output, _panels(scenes), overwrite=overwrite)
        return scenes
    text = page(scenes, tables, title=" · ".join(label for label, _ in loaded))
    with atomic_write(output, overwrite=overwrite) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return scenes


def _panels(scenes: Sequence[Scene]) -> list[Panel]:
    """Return the motions of all scenes, captions made different: neighbours of one caption would be one row."""
    seen: Counter[str] = Counter()
    panels = []
    for scene in scenes:
        seen[scene.caption] += 1
        number = f" ({seen[scene.caption]})" if seen[scene.caption] > 1 else ""
        panels += [replace(panel, caption=scene.caption + number) for panel in scene.panels]
    return panels


def _tables_of_scores(path: Path) -> list[Table]:
    file = ScoresFile.read(path)
    return [
        Table(
            f"{source} · {file.split} clips, rolled out of {file.protocol.start}",
            list(rows),
            {
                metric.full_heading: [summary_text(name, metrics.get(name)) for metrics in rows.values()]
                for name, metric in SHOWN.items()
                if any(name in metrics for metrics in rows.values())
            },
        )
        for source, rows in file.report.items()
    ]


def _tables_of_runs(named: Sequence[tuple[str, str]]) -> list[Table]:
    """Return the figures that the models' runs ended with."""
    tables = []
    for label, path in named:
        metrics = RunFolder(Path(path)).metrics
        if metrics.is_file():
            content = read_json(metrics)
            try:
                tables.append(_table_of_run(label, content))
            except (KeyError, TypeError, AttributeError, ValueError):
                raise CheckpointError(f"{metrics}: not the figures of a run") from None
    return tables


def _table_of_run(label: str, content: dict[str, Any]) -> Table:
    rows = {(label if name == content["trained"] else name): by["test"] for name, by in content["scores"].items()}
    cells = {
        metric.full_heading: [metric.text(_number(metrics.get(name))) for metrics in rows.values()]
        for name, metric in SHOWN.items()
        if any(metrics.get(name) is not None for metrics in rows.values())
    }
    return Table(f"{label} · test clips of its run", list(rows), cells)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
