"""Frozen layers below the first adapter, computed once: whether that pays, and the store that jobs share.

Backward passes end at the first adapter anyway. With the store, forward passes begin there too.
"""

import functools
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from stickgen import __version__
from stickgen.config import TrainConfig
from stickgen.data.batch import Batch
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.hidden import FILES, Computed, HiddenStates, free_bytes, open_hidden, write_hidden
from stickgen.errors import ConfigError, FolderInUseError, OutputError
from stickgen.locks import folder_lock
from stickgen.model import StickFigureTransformer
from stickgen.training.precision import device_type
from stickgen.training.setup import BuiltModel
from stickgen.training.trainer import bare_trainer

log = logging.getLogger(__name__)

FOLDER = "frozen"
"""Beside the run's folder: so the jobs of a sweep, and the runs of a name, share what is in it."""

SHARE = 0.25
"""Of the free disk, what "auto" may take."""

UNUSED_DAYS = 7
"""After so long without a run that opens it, a store is deleted when a run looks for its own."""

FORMAT = 2
"""Goes up whenever stored numbers would differ from those that training computes now."""

_EMBEDDINGS = (
    "text_projection", "motion_embedding", "action_embedding", "action_projection", "camera_projection",
    "partner_projection",
)  # fmt: skip

_POLL_SECONDS = 1.0
_PROGRESS_SECONDS = 60.0


def frozen_layers(model: StickFigureTransformer) -> int:
    """Return how many of the encoder's first layers, with all that they read, are not trained."""
    if any(p.requires_grad for name in _EMBEDDINGS for p in model.get_submodule(name).parameters()):
        return 0
    layers = list(model.transformer_encoder.layers)
    trained = (number for number, layer in enumerate(layers) if any(p.requires_grad for p in layer.parameters()))
    return next(trained, len(layers))


def with_frozen_stored(config: TrainConfig, data: ClipDataModule, built: BuiltModel) -> TrainConfig:
    """Let training batches bring the output of frozen layers, where the settings ask for it or "auto" finds it pays.

    Args:
        config: the run's settings.
        data: its clips; gets the stored output as ``hidden``.
        built: its model.

    Returns:
        the settings; where layers are frozen, with the width that is stored, or None, in the place of "auto".

    Raises:
        ConfigError: the settings ask for what cannot be stored.
        OutputError: the store cannot be written.
    """
    asked = config.trainer.cache_frozen
    if asked is None:
        return config
    store = _Store(config, data, built, "float32" if asked == "auto" else asked)
    objection = store.objection()
    if not objection:
        _delete_unused(store.folder)
    if asked != "auto":
        if objection:
            raise ConfigError(f"trainer.cache_frozen={asked}: {objection}; or set trainer.cache_frozen=null")
        try:
            data.hidden = store.opened()
        except OutputError as error:
            raise OutputError(f"{error}; trainer.cache_frozen=null trains without") from None
        return config
    if not store.layers or not config.lora.enabled:
        return config
    stored = None
    objection = objection or store.not_worthwhile()
    if objection:
        log.info("trainer.cache_frozen=auto: frozen layers are computed in every step: %s", objection)
    else:
        try:
            data.hidden = store.opened()
            stored = store.dtype
        except OutputError as error:
            log.warning("trainer.cache_frozen=auto: frozen layers are computed in every step: %s", error)
    return replace(config, trainer=replace(config.trainer, cache_frozen=stored))


@dataclass(frozen=True)
class _Store:
    """The stored output of a run's frozen layers."""

    config: TrainConfig
    data: ClipDataModule
    built: BuiltModel
    dtype: str

    @property
    def layers(self) -> int:
        return frozen_layers(self.built.model)

    def objection(self) -> str | None:
        """Return why the layers' output is not always the same, and what to do; None where it is."""
        base, objective = self.config.base, self.config.objective
        if not self.layers or not self.config.lora.enabled:
            return "no layer below the first adapter; adapt only the last ones, as in 'lora.layers=[-2,-1]'"
        if base.dropout:
            return f"base.dropout={base.dropout:g} changes the frozen layers' output in every step; set it to 0"
        if objective.feed_actions:
            return (
                f"objective.feed_actions={objective.feed_actions:g} changes what is read from step to step; set it to 0"
            )
        if self.data.varying.variants is None:
            return "every epoch varies the clips otherwise; set data.augment.variants to a number such as 4"
        return None

    def not_worthwhile(self) -> str | None:
        """Return why "auto" goes without."""
        trainer, steps = self.config.trainer, self.data.train_plan().steps
        epochs = trainer.max_epochs if trainer.max_steps < 0 else min(trainer.max_epochs, trainer.max_steps / steps)
        variants = self.data.varying.variants or 0
        if epochs <= variants:
            return f"{epochs:.3g} epochs show no variant of data.augment.variants={variants} twice"
        size, free = self.size, free_bytes(self.folder)
        if size > SHARE * free:
            return f"{_mib(size)} are more than {SHARE:.0%} of the {_mib(free)} that are free at {self.folder.parent}"
        return None

    @property
    def folder(self) -> Path:
        return Path(self.config.run_dir).parent / FOLDER

    @property
    def width(self) -> int:
        return int(self.built.model.settings["d_model"])

    @functools.cached_property
    def rows(self) -> int:
        """Positions of all variants of all clips: a clip of T frames has T, with the text's and without the last."""
        counted: dict[int, int] = {}
        for batch in self.data.every_variant():
            counted[batch.variant] = batch.step_counts.frames + len(self.data.split.train)
        return sum(counted.values())

    @property
    def size(self) -> int:
        return self.rows * self.width * getattr(torch, self.dtype).itemsize

    def opened(self) -> HiddenStates:
        """Return the store, made if it is missing, damaged or of another run; wait for a job that makes it."""
        key = self.key()
        folder = self.folder / key[:16]
        states = folder / "states"  # the lock lies beside it
        waits = False
        while (found := open_hidden(states, key, self.layers)) is None:
            try:
                with folder_lock(folder):
                    found = open_hidden(states, key, self.layers) or self._made(states, key)
            except OSError as error:
                raise OutputError(f"{folder}: {error.strerror}") from None
            except FolderInUseError as error:
                if not waits:
                    log.info("%s; waiting for the frozen layers' output", str(error).partition(";")[0])
                waits = True
                time.sleep(_POLL_SECONDS)
            else:
                break
        return found

    def key(self) -> str:
        """Return a digest of all that the output depends on."""
        config, built = self.config, self.built
        settings = {
            "format": FORMAT,
            "stickgen": __version__,
            "torch": torch.__version__,
            "base": built.fingerprint,
            "base dtype": config.base.dtype,
            "precision": config.trainer.precision,
            "device": device_type(config.trainer.accelerator),
            "causal": config.objective.causal,
            "conditions": sorted(config.data.conditions),
            "layers": self.layers,
            "stored": self.dtype,
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for batch in self.data.every_variant():
            digest.update(repr((batch.variant, batch.clips, batch.variations)).encode())
        for clip in self.data.split.train:
            for track in (clip.motion, clip.embedding, clip.camera, clip.partner):
                digest.update(repr(None if track is None else (track.dtype, track.shape)).encode())
                if track is not None:
                    digest.update(track.contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _made(self, folder: Path, key: str) -> HiddenStates:
        clips, variants = len(self.data.split.train), self.data.varying.variants or 1
        if folder.exists():
            log.info("%s: damaged, or not what its name says; it is made anew", folder)
        log.info(
            "%s: storing the output of %d frozen layers for %d clips × %d variants, %s of %s free",
            folder, self.layers, clips, variants, _mib(self.size), _mib(free_bytes(folder)),
        )  # fmt: skip
        started = time.monotonic()
        shape, rows = (variants, clips), (self.rows, self.width)
        made = write_hidden(folder, key, self.layers, shape, rows, getattr(torch, self.dtype), self._computed())
        log.info("%s: stored after %.0f s; kept for a week after its last use", folder, time.monotonic() - started)
        return made

    def _computed(self) -> Computed:
        """Yield what the layers give, under the conditions of training: its device, its precision, its mode."""
        model, trainer = self.built.model, bare_trainer(self.config)
        home, device = next(model.parameters()).device, trainer.strategy.root_device
        model.to(device)
        try:
            for variant, clips, batch in self._batches():
                with torch.no_grad(), trainer.precision_plugin.forward_context():
                    hidden = _hidden(model, batch.to(device), self.layers, self.config.objective.causal)
                lengths = (~batch.padding_mask).sum(1).tolist()
                yield variant, clips, [states[:length] for states, length in zip(hidden, lengths, strict=True)]
        finally:
            model.to(home)

    def _batches(self) -> Iterator[tuple[int, tuple[int, ...], Batch]]:
        data = self.data
        shown, done, total = time.monotonic(), 0, len(data.split.train) * (data.varying.variants or 1)
        collated = data.train_batches()
        for chosen in data.every_variant():
            yield chosen.variant, chosen.clips, collated[chosen]
            done += len(chosen.clips)
            if time.monotonic() - shown > _PROGRESS_SECONDS:
                shown = time.monotonic()
                log.info("frozen layers: %d of %d passes over a clip", done, total)


def _delete_unused(folder: Path) -> None:
    for states in folder.glob("*/states"):
        with suppress(OSError, FolderInUseError, OutputError):
            if _unused(states):
                with folder_lock(states.parent):
                    if _unused(states):  # no job has opened it meanwhile
                        shutil.rmtree(states)


def _unused(states: Path) -> bool:
    """Return whether it is a store, and old; nothing else that lies there is deleted."""
    is_store = {path.name for path in states.iterdir()} == set(FILES)
    return is_store and time.time() - states.stat().st_mtime > UNUSED_DAYS * 24 * 3600


def _hidden(model: StickFigureTransformer, batch: Batch, layers: int, causal: bool) -> torch.Tensor:
    """Return what the layers give for a batch's inputs, as :func:`~stickgen.evaluation.next_frame.predict_next`."""
    motion = batch.motion if batch.input_offset is None else batch.motion + batch.input_offset
    return model.hidden_below(
        layers,
        motion[:-1],
        batch.embedding,
        camera_data=None if batch.camera is None else batch.camera[:-1],
        partner_motion=None if batch.partner is None else batch.partner[:-1],
        padding_mask=batch.padding_mask[:, 1:],
        causal=causal,
    )


def _mib(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"
