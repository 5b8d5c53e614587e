"""Giving a machine up when it is asked for: a run saves, says how to go on, and ends."""

import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from stickgen.artifacts.run import RunFolder
from stickgen.errors import PreemptedRunError
from stickgen.signals import pass_on


class _Stopped(BaseException):
    """Takes an error to where a run was begun from wherever a signal met it.

    Like KeyboardInterrupt no ``Exception``, which a library that happens to be at work could catch and tell as its own.
    """

    def __init__(self, error: PreemptedRunError) -> None:
        super().__init__(error)
        self.error = error


class Preemption(Checkpoint):
    """Ends a run on a signal, with ``last.ckpt`` at the end of the optimizer step that was under way.

    SIGINT is what Ctrl-C sends; a second one ends the run at once. SIGTERM is what schedulers, containers and ``kill``
    send; SIGUSR1 what SLURM can be told to send some time before its limit (``--signal=USR1@120``). Where something in
    the process has handled a signal before, it is called once all is saved: submitit's handler of SIGUSR2 puts the job
    back into the queue and ends the process, and its handler of SIGTERM, which then only announces SIGUSR2, lets the
    run go on. Where submitit runs its jobs on this machine, nothing is announced, and SIGTERM ends the run.

    A ``Checkpoint``, so that Lightning calls it after those that save at the end of an epoch.

    Args:
        run: the run's folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.received: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}
        self._training = self._stopping = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals while the context lasts; outside the main thread, which alone gets them, do nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2")
        found = {
            getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names if name in dir(signal)
        }
        # SIGUSR2 is nobody's unless someone waits for it, and shells let jobs in the background ignore Ctrl-C.
        only_where_awaited = ("SIGUSR2", "SIGINT")
        self._former = {
            number: was for number, was in found.items() if number.name not in only_where_awaited or callable(was)
        }
        self._handle()
        try:
            yield
        except _Stopped as stopped:
            raise stopped.error from None
        finally:
            for number, was in self._former.items():
                signal.signal(number, was)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals back from Lightning, which would end the run in the middle of a step."""
        self._handle()
        self._training = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End at once from here on: everything is saved."""
        self._training = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and end where a step ends; an epoch's last one ends with its validation."""
        if batch.ends_step and not trainer.is_last_batch and self._asked(trainer):
            trainer.save_checkpoint(self.run.checkpoints / "last.ckpt")
            self._end(f"stopped and saved at step {trainer.global_step}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End where an epoch ends; it has been saved."""
        if self._asked(trainer):
            self._end(f"stopped and saved at step {trainer.global_step}")

    def _asked(self, trainer: Trainer) -> bool:
        """Return whether any of the run's processes was asked to stop."""
        return trainer.strategy.reduce_boolean_decision(self.received is not None, all=False)

    def _handle(self) -> None:
        for number in self._former:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: Any) -> None:
        again = number == signal.SIGINT == self.received
        self.received = signal.Signals(number)
        if again and self._training:
            raise KeyboardInterrupt
        if self._training or self._stopping:
            return
        try:
            self._end("stopped")
        except PreemptedRunError as error:
            self._stopping = True  # whoever sends a signal once more asks for the same
            raise _Stopped(error) from None

    def _end(self, reached: str) -> None:
        asked = self.received or signal.SIGTERM  # which another of the run's processes may have received
        former: Callable[[int, Any], Any] | Any = self._former.get(asked)
        final = asked == signal.SIGTERM and os.environ.get("SUBMITIT_EXECUTOR") == "local"
        if callable(former) and former not in (pass_on, signal.default_int_handler) and not final:
            former(asked, None)
            self.received = None
            return
        if reached != "stopped":
            way_out = f"stickgen train resume={shlex.quote(os.path.relpath(self.run.path))} continues"
        else:
            way_out = self.run.saved()
        raise PreemptedRunError(f"{asked.name}: {reached}; {way_out}", asked)
