"""What the Generate tab does: motion from prompts with models that stay loaded, and the command that makes the same."""

import os
import shlex
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stickgen.artifacts.model import LoadedModel, ModelOptions, parts
from stickgen.artifacts.model_name import Weighted
from stickgen.artifacts.run import RunFolder
from stickgen.errors import CheckpointError, ConfigError
from stickgen.files import temporary_folder
from stickgen.generation import Generated, GenerationRequest, read_seed_frames
from stickgen.generation.generate import check_labels, generate_with
from stickgen.generation.request import MAX_FRAMES
from stickgen.generation.script import read_script
from stickgen.motion.skeleton import FPS
from stickgen.render import Panel, Style, save
from stickgen.reports.scenes import Scene

GIVEN = 10
"""Frames of a clip that are continued, as by default in ``stickgen generate``."""

_MOST_LOADED = 4
"""Models that stay in memory; each is a base of its own, 80 MB for the one that comes with the project."""

_FIRST = FPS
"""Frames that are shown while the others are made."""


@dataclass(frozen=True)
class Column:
    """A model to generate with.

    Attributes:
        label: heads its column.
        adapters: path and weights of an adapter, or of several that are summed; a base or a run alone has no weight.
    """

    label: str
    adapters: tuple[Weighted, ...]

    @property
    def model(self) -> str:
        """The model as ``stickgen generate --model`` takes it, without the label."""
        named = [replace(one, path=Path(as_typed(one.path))) for one in self.adapters]
        return "+".join(str(one) for one in named)


def columns_of(paths: Sequence[tuple[str, Path, tuple[float, ...]]], *, blend: bool) -> list[Column]:
    """Return the columns of some models.

    Args:
        paths: label, path and weights of each; no weights of what has none.
        blend: put the models that have weights into one column, the sum of them.
    """
    columns = [Column(label, (Weighted(path, _same(weights)),)) for label, path, weights in paths]
    if not blend:
        return columns
    summed = tuple(Weighted(path, weights) for _, path, weights in paths if weights)
    return [column for column, (_, _, weights) in zip(columns, paths, strict=True) if not weights] + (
        [Column("blend", summed)] if summed else []
    )


def _same(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Return one weight in the place of equal ones."""
    return weights if len(set(weights)) > 1 else (weights or (1.0,))[:1]


def parts_of(prompts: Sequence[str]) -> int:
    """Return how many parts each prompt has; 1 where they have different numbers, or one is not well formed."""
    try:
        counts = {len(read_script(prompt, MAX_FRAMES)) for prompt in prompts}
    except ConfigError:
        return 1
    return counts.pop() if len(counts) == 1 else 1


@dataclass(frozen=True)
class Asked:
    """What to generate, as ``stickgen generate`` can be asked for it.

    Attributes:
        prompts: one a row.
        columns: one a column.
        seconds: length.
        seed: draws another motion; None: the most typical one.
        start: data file whose clip is continued; None: the figure stands.
        clip: number of the clip.
        options: of the text encoder.
    """

    prompts: Sequence[str]
    columns: Sequence[Column]
    seconds: float = 5.0
    seed: int | None = None
    start: Path | None = None
    clip: int = 0
    options: ModelOptions = field(default_factory=ModelOptions)

    def command(self, style: Style, out: str) -> str:
        """Return the command, quoted for a shell, that writes the same file.

        Args:
            style: of pictures.
            out: name of the output.
        """
        labelled = len(self.columns) > 1
        words = []
        for column in self.columns:
            words += ["--model", f"{column.label}={column.model}" if labelled else column.model]
        words += ["--seconds", f"{self.seconds:g}"]
        if self.seed is not None:
            words += ["--seed", str(self.seed)]
        if self.start is not None:
            words += ["--seed-frames", as_typed(self.start), "--seed-clip", str(self.clip)]
        default = Style()
        for name in ("theme", "camera", "trail"):
            value = getattr(style, name)
            if value != getattr(default, name):
                words += [f"--{name}", f"{value:g}" if name == "trail" else value]
        for name, given in (("--encoder", self.options.encoder), ("--encoder-id", self.options.encoder_id)):
            if given is not None:
                words += [name, given]
        # Behind --, a prompt that begins with - is no option.
        return shlex.join(["stickgen", "generate", *words, "--out", out, "--", *self.prompts])


def as_typed(path: Path) -> str:
    """Return a path as a command in the working directory names it."""
    absolute, here = Path(os.path.abspath(path)), Path.cwd()
    return os.path.relpath(absolute, here) if absolute.is_relative_to(here) else str(absolute)


def labels_of(names: Sequence[str]) -> list[str]:
    """Return a label for each path: its last part, of equal ones with the parts before."""
    labels = []
    for name in names:
        own = name.split("/")
        for count in range(1, len(own) + 1):
            label = " ".join(own[-count:])
            if sum(" ".join(other.split("/")[-count:]) == label for other in names) == 1:
                break
        labels.append(label.replace("=", " "))
    return labels


def has_weight(run: Path) -> bool:
    """Return whether a run trained an adapter, which can be applied in part."""
    try:
        return RunFolder(run).read_config().lora.enabled
    except CheckpointError:
        return False


class LoadedModels:
    """Models that were used last; one that was trained further since is read again. Text encoders stay too.

    Args:
        options: how they are loaded.
    """

    def __init__(self, options: ModelOptions) -> None:
        self.options = replace(options, kept={})
        self._loaded: OrderedDict[str, tuple[float, tuple[LoadedModel, ...]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, column: Column) -> tuple[LoadedModel, ...]:
        """Return a model, or one for each part of a prompt where its weights change.

        Raises:
            StickgenError: it cannot be read.
        """
        changed = max(_last_change(one.path) for one in column.adapters)
        with self._lock:
            known = self._loaded.pop(column.model, None)
            if known is None or known[0] != changed:
                # Room first: the old and the new one together are not needed.
                while len(self._loaded) >= _MOST_LOADED:
                    self._loaded.popitem(last=False)
                known = (changed, self.options.load_by_part(column.model))
            self._loaded[column.model] = known
            return known[1]


def _last_change(path: Path) -> float:
    files = [file for part in parts(path) for file in (part.rglob("*") if part.is_dir() else [part])]
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)


def make(asked: Asked, models: LoadedModels, tell: Callable[[list[Panel]], None] | None = None) -> list[Panel]:
    """Generate motion, prompt by prompt and model by model.

    Args:
        asked: what.
        models: those that are loaded.
        tell: is called with the first second of each motion before the rest is made, unless the first part of a prompt
            is shorter; None: nobody waits for it.

    Raises:
        StickgenError: see :func:`stickgen.generation.generate`.
    """
    if not asked.columns:
        raise ConfigError("model: none chosen; choose a run or the base")
    check_labels([column.label for column in asked.columns])
    request = GenerationRequest(
        asked.prompts,
        round(asked.seconds * FPS),
        seed_frames=None if asked.start is None else read_seed_frames(asked.start, GIVEN, asked.clip),
        seed=asked.seed,
    )
    loaded = [(column.label, models.get(column)) for column in asked.columns]
    firsts = [script[0] for script in request.scripts]
    if tell is not None and request.frames > 2 * _FIRST and all(part.frames >= _FIRST for part in firsts):
        begun = replace(request, prompts=[part.text for part in firsts], frames=_FIRST)
        of_first_parts = [(label, by_part[:1]) for label, by_part in loaded]
        tell(_panels(asked, generate_with(of_first_parts, begun, asked.options)))
    return _panels(asked, generate_with(loaded, request, asked.options))


def _panels(asked: Asked, made: Sequence[Generated]) -> list[Panel]:
    labelled = len(asked.columns) > 1
    return [Panel(m.motion, m.model if labelled else "", m.prompt, m.given, m.actions) for m in made]


def scenes_of(asked: Asked, panels: Sequence[Panel]) -> list[Scene]:
    """Return the motions as the player shows them, a scene a prompt."""
    labels = [column.label for column in asked.columns]
    columns = len(labels)
    rows = [panels[first : first + columns] for first in range(0, len(panels), columns)]
    return [
        Scene(
            row[0].caption, [replace(panel, label=label) for panel, label in zip(row, labels, strict=True)],
            has_reference=False,
        )
        for row in rows
    ]  # fmt: skip


def as_file(panels: Sequence[Panel], style: Style, name: str) -> bytes:
    """Return motions as the file that ``stickgen generate --out name`` writes.

    Raises:
        StickgenError: see :func:`stickgen.render.save`.
    """
    with temporary_folder() as folder:
        try:
            save(folder / name, panels, style)
        except ConfigError as error:
            raise ConfigError(str(error).replace(f"{folder}{os.sep}", "")) from None
        return (folder / name).read_bytes()
