"""The two scripts, each in a process of its own that has imported PyTorch already, which takes longer than a run."""

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# A server that has only imported, and started no threads, forks them: as a fresh interpreter would be, seconds later.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["stickgen.training", "stickgen.export.merge"])


@dataclass(frozen=True)
class Stop:
    """A signal that a run sends to itself when an optimizer step is done: at the same moment on every machine.

    Attributes:
        number: the signal.
        step: the step, counted from 1.
        run: name of the run's folder, where a process has several.
    """

    number: signal.Signals
    step: int
    run: str | None = None


class Script:
    """A started script, with what :class:`subprocess.Popen` offers of one.

    Args:
        name: train.py or merge.py.
        overrides: its arguments.
        cwd: its working directory.
        env: its environment.
        stop: where it is to send itself a signal; None: nowhere.
    """

    def __init__(
        self, name: str, overrides: tuple[str, ...], cwd: Path, env: Mapping[str, str], stop: Stop | None = None
    ) -> None:
        self.args = [str(ROOT / name), *overrides]
        self._folder = tempfile.TemporaryDirectory()
        outputs = [str(Path(self._folder.name, name)) for name in ("out", "err")]
        self._outputs = [Path(output) for output in outputs]
        for output in self._outputs:
            output.touch()
        self._process = _context.Process(target=_run, args=(self.args, str(cwd), dict(env), outputs, stop))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status, negative of a signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return its exit status, None while it runs."""
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; return what it wrote to standard output and error."""
        assert wait([self._process.sentinel], timeout), f"it did not end within {timeout} s"
        self._process.join()
        out, err = (output.read_text() for output in self._outputs)
        return out, err

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, if it still runs."""
        if self.poll() is None:
            self._process.kill()


def _run(arguments: list[str], cwd: str, env: dict[str, str], outputs: list[str], stop: Stop | None) -> None:
    """Be a script: what a shell and the interpreter's start would set, then its code."""
    os.setsid()
    for number, output in enumerate(outputs, 1):
        os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = arguments
    sys.path.insert(0, str(ROOT))
    if stop is not None:
        _send_to_itself(stop)
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which a forked process leaves out


def _send_to_itself(stop: Stop) -> None:
    from lightning import Trainer

    from stickgen.training.module import MotionModule

    def on_train_batch_end(module: MotionModule, *arguments: object) -> None:
        trainer = module.trainer
        assert isinstance(trainer, Trainer)
        here = stop.run in (None, Path(module.config.run_dir).name)
        if here and trainer.global_step == stop.step and not trainer.fit_loop._should_accumulate():
            os.kill(os.getpid(), stop.number)

    MotionModule.on_train_batch_end = on_train_batch_end  # type: ignore[method-assign]
