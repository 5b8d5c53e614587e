"""Models on disk, in whichever form: a base, a run of either kind, an adapter with the base it names."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from stickgen.artifacts.adapter import (
    Adapter,
    as_saved,
    attach_adapter,
    base_for,
    blended,
    check_base,
    check_complete,
    load_adapter,
)
from stickgen.artifacts.base import MODEL_FILE, Base, base_files, load_base
from stickgen.artifacts.model_name import by_part, weighted_paths
from stickgen.artifacts.peft_format import CONFIG_FILE, WEIGHTS_FILE
from stickgen.artifacts.record import BaseRecord, fingerprint
from stickgen.artifacts.reference import SUFFIXES, read_reference_adapter
from stickgen.artifacts.run import RunFolder, read_checkpoint
from stickgen.config import TrainConfig
from stickgen.errors import CheckpointError, ConfigError
from stickgen.files import check_exists
from stickgen.model import StickFigureTransformer
from stickgen.text.encoder import Encoders


@dataclass(frozen=True)
class LoadedModel:
    """A model as it is to be used.

    Attributes:
        model: float32, on the CPU, in eval mode; with adapters attached where it is an adapter.
        record: of its base, completed by the adapter's where it has one.
        adapted: whether it has adapters.
        run: the settings of the run it comes from; None where it lies alone.
        fingerprint: of what its path brings by itself, see :func:`trained_fingerprint`.
        base_path: of the base below its adapters, or of the one that its weights began as; None where there is none.
    """

    model: StickFigureTransformer
    record: BaseRecord
    adapted: bool
    run: TrainConfig | None
    fingerprint: str
    base_path: Path | None


@dataclass(frozen=True)
class ModelOptions:
    """How models are loaded and how they read prompts; one choice for all models of a command.

    Attributes:
        base: the base of the adapters; None: the one that each names.
        allow_other_base: put adapters on ``base`` even where they were trained on another, with a warning.
        encoder: hub id or folder of the text encoder; None: the hub id that a base's record names.
        encoder_id: the id of an encoder that is given as a folder, see :class:`~stickgen.text.encoder.TextEncoder`.
        kept: text encoders that stay loaded from one generation to the next; None: none does.
    """

    base: Path | None = None
    allow_other_base: bool = False
    encoder: str | None = None
    encoder_id: str | None = None
    kept: Encoders | None = field(default=None, compare=False)

    def load(self, path: str) -> "LoadedModel":
        """Return :func:`load_model` of a path.

        Raises:
            StickgenError: see there.
        """
        return load_model(Path(path), self.base, allow_other_base=self.allow_other_base)

    def load_by_part(self, path: str) -> "tuple[LoadedModel, ...]":
        """Return the models for the parts of a prompt, where weights of adapters change; one for all where none does.

        Raises:
            StickgenError: see :func:`load_model`.
        """
        return tuple(self.load(part) for part in by_part(path))


AS_RECORDED = ModelOptions()
"""Every model with the base and the text encoder that its files name."""


def load_model(path: Path, base: Path | None = None, *, allow_other_base: bool = False) -> LoadedModel:
    """Read a model: a base's file, a run folder, a .ckpt of a LoRA run, an adapter folder, or a sum of adapters.

    Args:
        path: the file or folder; of an adapter also ``path=0.6``, which applies so much of its update, and of several
            adapters of one base ``a=0.6+b=0.4``, the weighted sum of their updates. Weights of 0 leave the base alone.
        base: the base of an adapter; None: the one that it names.
        allow_other_base: take a base that the adapter was not trained on, with a warning.

    Raises:
        CheckpointError: there is none, it is damaged, or the base is not the adapter's.
        ConfigError: a weight is given for a model that has none, or weights for parts of a prompt.
        AdapterError: adapters cannot be summed.
    """
    name, named = str(path), weighted_paths(str(path))
    if any(len(one.weights) > 1 for one in named):
        raise ConfigError(f"{name}: weights for the parts of a prompt; give one weight here")
    weights = [one.weights[0] for one in named]
    for one in named:
        check_exists(one.path)
        if (len(named) > 1 or weights != [1]) and is_whole(one.path):
            raise ConfigError(f"{one}: a whole model has no weight and no sum; give it alone")
    if is_whole(named[0].path):
        path = named[0].path
        whole, run = load_base(path), RunFolder(path)
        config = run.read_config() if run.exists() else None
        return LoadedModel(whole.model, whole.record, False, config, whole.fingerprint, _began_as(whole.record))
    read = [read_adapter(one.path) for one in named]
    adapters = [adapter for adapter, _ in read]
    below = base_for(adapters[0], base, str(named[0].path))
    digest = "+".join(
        fingerprint(one.state) + f"={weight:g}" * (weight != 1) for one, weight in zip(adapters, weights, strict=True)
    )
    record = record_on(below, adapters[0])
    for one, adapter in zip(named, adapters, strict=True):
        check_base(below, adapter, str(one.path), allow_other_base=allow_other_base)
        check_complete(below, adapter, str(one.path))
    if any(weights):
        # Of this base, as far as was just asked.
        together = replace(blended(adapters, weights, name), base_fingerprint=below.fingerprint)
        attach_adapter(below, together, name)
    return LoadedModel(below.model.eval(), record, True, read[0][1], digest, below.path)


def record_on(base: Base, adapter: Adapter) -> BaseRecord:
    """Return the record of a base with an adapter on it: the adapter's knows what the base's own may leave open."""
    known = adapter.base_record if adapter.base_fingerprint == base.fingerprint else None
    return known or base.record


def trained_fingerprint(path: Path) -> str:
    """Return a digest of what a path brings by itself: an adapter's factors, or the weights of a whole model.

    It tells whether two paths hold the same model, wherever they lie and whatever they are called.

    Args:
        path: as of :func:`load_model`.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    return load_base(path).fingerprint if is_whole(path) else fingerprint(read_adapter(path)[0].state)


def read_adapter(path: Path, alpha: float | None = None) -> tuple[Adapter, TrainConfig | None]:
    """Read an adapter from a run folder, a .ckpt of a run, an adapter folder, or a file of the reference system.

    Args:
        path: the file or folder.
        alpha: of a file of the reference system that does not tell it; None otherwise.

    Returns:
        the adapter, and the settings of the run it comes from, None for an adapter folder that lies alone.

    Raises:
        CheckpointError: there is none, or ``alpha`` is given of one that tells its own.
    """
    check_exists(path)
    if path.is_file() and path.name == WEIGHTS_FILE and (path.parent / CONFIG_FILE).is_file():
        raise CheckpointError(f"{path}: tells neither rank nor alpha; name its folder, {path.parent}")
    if path.is_file() and path.suffix in SUFFIXES:
        return read_reference_adapter(path, alpha), None
    if alpha is not None:
        raise CheckpointError(f"alpha={alpha}: is for files that do not tell it; {path} does")
    if path.is_dir():
        run = RunFolder(path)
        if run.exists():
            config = run.read_config()
            if run.adapter.is_dir():
                return load_adapter(run.adapter), config
            if not config.lora.enabled:
                raise CheckpointError(f"{path}: trained whole weights, no adapter; its {MODEL_FILE} is the whole model")
            # A run that was stopped before its end has checkpoints only.
            return _adapter_of_checkpoint(run.kept())
        parent = RunFolder(path.parent)
        return load_adapter(path), parent.read_config() if parent.exists() else None
    if path.suffix == ".ckpt":
        return _adapter_of_checkpoint(path)
    raise CheckpointError(f"{path}: a run folder, a .ckpt of one or an adapter expected")


def parts(path: Path) -> list[Path]:
    """Return what a model on disk consists of: the path itself, or of a run folder what of it is read again.

    A run's folder is also where people put what they make of it, so not everything in it is the run.
    """
    run = RunFolder(path)
    return [run.settings, run.adapter, run.checkpoints, path / MODEL_FILE] if run.exists() else base_files(path)


def is_whole(path: Path) -> bool:
    """Return whether a path is taken for a whole model: neither a run of adapters, nor a .ckpt or folder of one."""
    run = RunFolder(path)
    if run.exists():
        return not run.read_config().lora.enabled
    return path.suffix != ".ckpt" and not (path / CONFIG_FILE).is_file()


def _began_as(record: BaseRecord) -> Path | None:
    """Return where the base lay that whole weights were trained from, as their record has it; None from scratch."""
    source = record.origin.get("from")
    return Path(source) if isinstance(source, str) and source != "scratch" else None


def _adapter_of_checkpoint(path: Path) -> tuple[Adapter, TrainConfig]:
    checkpoint = read_checkpoint(path)
    config = checkpoint.config
    if checkpoint.base_fingerprint is None or not config.lora.enabled:
        raise CheckpointError(
            f"{path}: holds whole weights, no adapter; the {MODEL_FILE} of its run is the whole model"
        )
    adapter = Adapter(checkpoint.state, config.lora.settings, checkpoint.base_fingerprint, config.base.checkpoint)
    return as_saved(adapter), config
