"""Animations of the model in training, in TensorBoard: what its losses do not show.

The writer's own ``add_video`` logs nothing where moviepy is missing; an animated GIF in an image summary is all that it
would have written.
"""

import copy
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch import Tensor

from stickgen.config import TrainConfig
from stickgen.lora import adapted_layers, detach_lora_adapters
from stickgen.metrics import FROZEN_BASE
from stickgen.model import StickFigureTransformer
from stickgen.motion.skeleton import FPS
from stickgen.render import Panel, Style
from stickgen.render.gif import delays, write_gif
from stickgen.render.layout import Picture
from stickgen.training.module import MotionModule
from stickgen.training.preview import Preview

_STYLE = Style(size=200, sheet=8)
_EVERY = 2
"""Every second frame is drawn: half the time and half the file, and steps are seen all the same."""
_TRIAL = 5
"""Frames that are made to learn what a showing will take."""

log = logging.getLogger(__name__)


class ShowMotion(Callback):
    """Shows what models make of clips and prompts: ``motion/clip_1``, ``motion/prompt_1``, … and ``motion_sheet/…``.

    Beside a validation clip's rollouts stands the clip, beside those of a training caption a clip of it. The frozen
    base is the model before its training, so there is none where that began with random weights. Nothing is drawn at
    random, and the model is left as it is: a run with pictures and one without have the same weights.

    Args:
        config: the run's settings.
        embedded: the prompts that they name ``[P, E]``; None where they name none.
    """

    def __init__(self, config: TrainConfig, embedded: Tensor | None = None) -> None:
        self._settings = config.callbacks.show_motion
        self._embedded = embedded
        self._with_base = not config.base.from_scratch
        self._trained = "adapter" if config.lora.enabled else "model in training"
        self._preview: Preview | None = None
        self._frozen: StickFigureTransformer | None = None
        self._base: list[Panel] = []
        self._started = self._seconds = self._expected = 0.0
        self._pictures = 0
        self._shown_at = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose what is preview, keep the base, and measure on a few frames what a showing will take."""
        assert isinstance(pl_module, MotionModule)
        if not trainer.is_global_zero:
            return
        self._started = time.monotonic()
        with self._timed():
            preview = Preview.of(trainer.datamodule, self._settings, self._embedded)  # type: ignore[attr-defined]
            if not preview.names:
                return
            self._preview = preview
            pl_module.to(trainer.strategy.root_device)  # where it goes next in any case
            if self._with_base:  # a checkpoint to resume from is not loaded yet
                self._frozen = _frozen_copy(pl_module.model)
            self._expected = self._estimated(preview, pl_module.model)

    def _estimated(self, preview: Preview, model: StickFigureTransformer) -> float:
        """Return the seconds that the first showing is going to take, by those of a few frames."""
        start = time.monotonic()
        panels = preview.shorter(_TRIAL).made(model, self._trained)
        rolled = time.monotonic()
        Picture(panels[:1], _STYLE).frame(0)
        drawn = time.monotonic() - rolled
        models = 1 + self._with_base
        pictures = len(preview.names) * (1 + models) * (preview.frames / _EVERY + _STYLE.sheet)
        return models * (rolled - start) * preview.frames / _TRIAL + pictures * drawn

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the motions where they are due, and their time allows it beside the end's."""
        every = self._settings.every_n_epochs
        if every is not None and (trainer.current_epoch + 1) % every == 0 and self._affordable(showings=2):
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the motions for the last time, and say what the pictures have cost."""
        if self._preview is None:
            return
        share = f"{100 * self._settings.max_share:g}% of the training's time (callbacks.show_motion.max_share)"
        if self._shown_at != trainer.global_step:
            if self._affordable(showings=1):
                self._show(trainer, pl_module)
            else:
                log.info("no pictures of motion at the end: about %.1f s, more than %s", self._expected, share)
        if self._pictures:
            total = time.monotonic() - self._started
            log.info(
                "pictures of motion: %d in %.1f s, %.1f%% of the training's time",
                self._pictures, self._seconds, 100 * self._seconds / total,
            )  # fmt: skip

    def _affordable(self, showings: int) -> bool:
        """Whether so many further showings keep within their share of the training's time."""
        more = showings * self._expected
        total = time.monotonic() - self._started + more
        return self._seconds + more <= self._settings.max_share * total

    def _show(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MotionModule)
        if self._preview is None:
            return
        before = self._seconds
        with self._timed():
            if self._frozen is not None:
                self._base = self._preview.made(self._frozen, FROZEN_BASE)
                self._frozen = None
            made = self._preview.made(pl_module.model, self._trained)
            pictures: list[Summary.Value] = []
            for index, (name, real) in enumerate(zip(self._preview.names, self._preview.real(), strict=True)):
                beside = [*filter(None, [real]), *self._base[index : index + 1]]
                shown = Picture([*beside, made[index]], _STYLE)
                pictures += (_animation(f"motion/{name}", shown), _sheet(f"motion_sheet/{name}", shown))
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    writer = logger.experiment.file_writer
                    # Lightning counts an epoch's metrics to its last step, and so does a resumed run's purge.
                    writer.add_summary(Summary(value=pictures), trainer.global_step - 1)
        self._expected = self._seconds - before
        self._pictures += 1
        self._shown_at = trainer.global_step

    @contextmanager
    def _timed(self) -> Iterator[None]:
        before = time.monotonic()
        yield
        self._seconds += time.monotonic() - before


def _frozen_copy(model: StickFigureTransformer) -> StickFigureTransformer:
    """Return the model without adapters, as it is now: it shares what is not trained, and keeps what is."""
    shared = {id(tensor): tensor for tensor in model.buffers()}
    shared |= {id(tensor): tensor for tensor in model.parameters() if not tensor.requires_grad}
    made = copy.deepcopy(model, shared)
    if made.code_bank is not None:
        made.code_bank = made.code_bank.below_adapter()
    return detach_lora_adapters(made) if adapted_layers(made) else made


def _animation(tag: str, picture: Picture) -> Summary.Value:
    frames = [picture.frame(index) for index in range(0, picture.frames, _EVERY)]
    file = BytesIO()
    write_gif(file, frames, _STYLE.colours.palette(), delays(len(frames), FPS / _EVERY))
    return _value(tag, picture.size, file.getvalue())


def _sheet(tag: str, picture: Picture) -> Summary.Value:
    sheet: Image.Image = picture.contact_sheet()
    file = BytesIO()
    sheet.save(file, format="PNG")
    return _value(tag, sheet.size, file.getvalue())


def _value(tag: str, size: tuple[int, int], encoded: bytes) -> Summary.Value:
    width, height = size
    image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=encoded)
    return Summary.Value(tag=tag, image=image)
