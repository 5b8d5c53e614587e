"""Animations of the model in training, in TensorBoard: what its losses do not show.

The writer's own ``add_video`` logs nothing where moviepy is missing; an animated GIF in an image summary is all that it
would have written.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary

from stickgen.config import TrainConfig
from stickgen.data.clips import Clip
from stickgen.data.datamodule import ClipDataModule
from stickgen.generation.clips import choose_clips, go_on_with
from stickgen.model import StickFigureTransformer
from stickgen.render import Panel, Style
from stickgen.render.gif import delays, write_gif
from stickgen.render.layout import Picture
from stickgen.skeleton import FPS
from stickgen.training.module import MotionModule

_STYLE = Style(size=200, sheet=8)
_EVERY = 2
"""Every second frame is drawn: half the time and half the file, and steps are seen all the same."""
_SHORTEST = FPS
"""Frames after the given ones; in less than a second nothing is to be seen."""

log = logging.getLogger(__name__)


class ShowMotion(Callback):
    """Shows what models make of some validation clips: animations ``motion/1``, … and sheets ``motion_sheet/1``, ….

    Real clip, frozen base and model stand side by side. The base is the model before its training, so there is none
    where that began with random weights. Nothing is drawn at random, and the model is left as it is: a run with
    pictures and one without have the same weights.

    Args:
        config: the run's settings.
    """

    def __init__(self, config: TrainConfig) -> None:
        self._settings = config.callbacks.show_motion
        self._with_base = not config.base.from_scratch
        self._trained = "adapter" if config.lora.enabled else "model in training"
        self._clips: list[Clip] = []
        self._conditions: Sequence[str] = ()
        self._base: list[Panel] = []
        self._started = self._seconds = self._longest = 0.0
        self._pictures = 0
        self._shown_at = -1

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose the clips, and let the base move: a checkpoint to resume from is not loaded yet."""
        assert isinstance(pl_module, MotionModule)
        if not trainer.is_global_zero:
            return
        self._started = time.monotonic()
        with self._timed():
            data: ClipDataModule = trainer.datamodule  # type: ignore[attr-defined]
            given, most = self._settings.given, self._settings.given + self._settings.frames
            chosen = choose_clips(data.split.val.infos, self._settings.clips, given + _SHORTEST)
            if not chosen:
                log.info("no pictures of motion: no validation clip has %d frames", given + _SHORTEST)
                return
            self._clips = [data.split.val[index].first(most) for index in chosen]
            self._conditions = data.config.conditions
            if self._with_base:
                pl_module.to(trainer.strategy.root_device)  # where it goes next in any case
                self._base = self._panels(pl_module.model, "frozen base")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the clips where they are due, and their time allows it."""
        every = self._settings.every_n_epochs
        if every is None or (trainer.current_epoch + 1) % every:
            return
        # Of what is allowed, the last one's time is set aside.
        after = self._seconds + 2 * self._longest
        if after <= self._settings.max_share * (time.monotonic() - self._started):
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the clips for the last time, and say what the pictures have cost."""
        if self._shown_at != trainer.global_step:
            self._show(trainer, pl_module)
        if self._pictures:
            total = time.monotonic() - self._started
            log.info(
                "pictures of motion: %d in %.1f s, %.1f%% of the training's time",
                self._pictures, self._seconds, 100 * self._seconds / total,
            )  # fmt: skip

    def _show(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, MotionModule)
        if not self._clips:
            return
        with self._timed():
            made = self._panels(pl_module.model, self._trained)
            pictures: list[Summary.Value] = []
            for number, (clip, panel) in enumerate(zip(self._clips, made, strict=True), 1):
                real = Panel(clip.motion, "real clip", clip.description, self._settings.given)
                shown = Picture([real, *self._base[number - 1 : number], panel], _STYLE)
                pictures += (_animation(f"motion/{number}", shown), _sheet(f"motion_sheet/{number}", shown))
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    writer = logger.experiment.file_writer
                    # Lightning counts an epoch's metrics to its last step, and so does a resumed run's purge.
                    writer.add_summary(Summary(value=pictures), trainer.global_step - 1)
        self._pictures += 1
        self._shown_at = trainer.global_step

    def _panels(self, model: StickFigureTransformer, whose: str) -> list[Panel]:
        """Return what a model makes of each clip."""
        how = "rollout" if model.causal else "in one pass"
        panels = []
        made = go_on_with(model, self._clips, self._settings.given, self._conditions)
        for clip, (motion, exploded) in zip(self._clips, made, strict=True):
            label = f"{whose} · {how}" + (" · exploded" if exploded else "")
            panels.append(Panel(motion, label, clip.description, self._settings.given))
        return panels

    @contextmanager
    def _timed(self) -> Iterator[None]:
        before = time.monotonic()
        yield
        taken = time.monotonic() - before
        self._seconds += taken
        self._longest = max(self._longest, taken)


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
