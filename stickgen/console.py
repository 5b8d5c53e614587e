"""What the command-line entries share."""

import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from stickgen.errors import ERROR_FILE, ConfigError, InterruptedRunError, OutputError, StickgenError
from stickgen.files import atomic_write
from stickgen.override_errors import override_mistake
from stickgen.signals import received

# A path that does not exist, may not be written or is full is the user's to mend, and so is a disk that fails; other
# system errors are not.
_USERS_OWN = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EROFS,
    errno.ENAMETOOLONG, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.ESTALE,
}  # fmt: skip

# What launchers say, in exceptions of no class of their own, to settings that cannot work.
_LAUNCHERS_OWN = {
    "srun": "launcher=slurm: there is no srun here; launcher=submitit_local runs the jobs on this machine",
    "n_jobs == 0": "hydra.launcher.n_jobs=0: at least 1 expected, or -1 for as many as there are cores",
}


class RunLog(logging.FileHandler):
    """The log of a run; where it cannot be written, a line on standard error says so once, and the run continues."""

    def __init__(self, filename: str) -> None:
        super().__init__(filename, encoding="utf-8", delay=True)
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            super().emit(record)
        except OSError:  # of opening the file; those of writing come to handleError by themselves
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Say what is wrong with the file, instead of a traceback for every line."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failed:
            self._failed = True
            sys.stderr.write(f"warning: {self.baseFilename}: {error.strerror}; the log is incomplete\n")


@contextmanager
def report_errors() -> Iterator[None]:
    """Print a user's mistake as one line, ``error: …``, on standard error and exit with status 1.

    Those are :class:`~stickgen.errors.StickgenError` and the system's answers to paths; an interrupt is told in one
    line too. Whatever else is raised is a bug and keeps its traceback.
    """
    try:
        yield
        _flush_output()
    except StickgenError as error:
        _exit(str(error), error.exit_status)
    except KeyboardInterrupt:
        _exit("interrupted", InterruptedRunError.exit_status)
    except BrokenPipeError:
        # Whoever read the output, such as head, has seen enough; what is still buffered must not be tried at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:
        if error.errno not in _USERS_OWN:
            raise
        _exit(": ".join(str(part) for part in (error.filename, error.strerror) if part))


def _flush_output() -> None:
    """Write what standard output still holds; an error there names it, since the system's does not."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        # What is still held must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputError(f"standard output: {error.strerror}; send it elsewhere") from None


def run_hydra(main: Callable[[], Any], schema: type) -> None:
    """Run a Hydra entry; mistakes in its overrides end in one line too.

    With HYDRA_FULL_ERROR=1 in the environment every error keeps its traceback.

    Args:
        main: the decorated function.
        schema: the dataclass of its settings, to look for the key that a mistyped one was meant to be.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands errors on, instead of printing them in its own form
    with report_errors():
        try:
            main()
        except (HydraException, OmegaConfBaseException) as error:
            _exit(override_mistake(error, schema))
        except Exception as error:
            if (signal := received()) is not None:  # workers that had yet to begin a job end without a word
                _exit(f"{signal.name}: stopped", 128 + signal)
            if composing(error, main):
                _exit(override_mistake(error, schema))
            said = next((line for word, line in _LAUNCHERS_OWN.items() if word in str(error)), None)
            if said is None or not isinstance(error, RuntimeError | ValueError):
                raise
            _exit(said)


def composing(error: Exception, main: Callable[[], Any]) -> bool:
    """Return whether an exception is Hydra's own stumbling over the command line, before the decorated function began.

    It checks little of what groups are given, and raises ValueError, TypeError or AssertionError of its own insides.
    """
    if isinstance(error, OSError):  # such as a reader of --help that has gone
        return False
    function = getattr(main, "__wrapped__", None)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if function is None or not frames or any(frame.f_code is function.__code__ for frame in frames):
        return False
    return frames[-1].f_globals.get("__name__", "").partition(".")[0] in ("hydra", "omegaconf", "antlr4")


@contextmanager
def job_errors(schema: type) -> Iterator[None]:
    """Report a job's mistake at once, or in a sweep leave it to Hydra, which runs the other jobs first.

    The folder that Hydra made for a job that never began is removed again; that of a job of a sweep keeps the line in
    :data:`ERROR_FILE`. An interrupt ends a sweep as well.
    """
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        kept = Path(hydra.runtime.output_dir) / ERROR_FILE
        kept.unlink(missing_ok=True)
        try:
            yield
        except InterruptedRunError as error:
            _exit(str(error), error.exit_status)
        except Exception as error:
            said = str(error) if isinstance(error, StickgenError) else f"{type(error).__name__}: {error}"
            with suppress(OutputError), atomic_write(kept, overwrite=True) as scratch:
                scratch.write_text(" ".join(said.split()) + "\n", encoding="utf-8")
            raise
        return
    with report_errors():
        try:
            if (launcher := hydra.runtime.choices["hydra/launcher"]) != "basic":
                raise ConfigError(f"launcher={launcher}: launches the jobs of a sweep, and this is one run; add -m")
            yield
        except StickgenError:
            _remove_unused(Path(hydra.runtime.output_dir))
            raise
        except OmegaConfBaseException as error:
            _remove_unused(Path(hydra.runtime.output_dir))
            raise ConfigError(override_mistake(error, schema)) from None


def _remove_unused(folder: Path) -> None:
    """Remove a folder that holds nothing, but not the one that the command was called in."""
    with suppress(OSError):
        if not folder.samefile(Path.cwd()):
            folder.rmdir()


def _exit(message: str, status: int = 1) -> None:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    raise SystemExit(status)
