"""What the command-line entries share."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from stickgen.errors import StickgenError

# A path that does not exist, may not be written or is full is the user's to mend; other system errors are not.
_USERS_OWN = {
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOSPC, errno.EROFS,
    errno.ENAMETOOLONG, errno.EDQUOT,
}  # fmt: skip


@contextmanager
def report_errors() -> Iterator[None]:
    """Print a user's mistake as one line, ``error: …``, on standard error and exit with status 1.

    Those are :class:`~stickgen.errors.StickgenError` and the system's answers to paths. Whatever else is raised is a
    bug and keeps its traceback.
    """
    try:
        yield
    except StickgenError as error:
        _exit(str(error))
    except OSError as error:
        if error.errno not in _USERS_OWN:
            raise
        _exit(": ".join(str(part) for part in (error.filename, error.strerror) if part))


def run_hydra(main: Callable[[], Any]) -> None:
    """Run a Hydra entry; mistakes in its overrides end in one line too.

    With HYDRA_FULL_ERROR=1 in the environment every error keeps its traceback.
    """
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        main()
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands errors on, instead of printing them in its own form
    with report_errors():
        try:
            main()
        except (HydraException, OmegaConfBaseException) as error:
            _exit(f"{error} (--help shows the settings)")


@contextmanager
def job_errors() -> Iterator[None]:
    """Report a job's mistake at once, or in a sweep leave it to Hydra, which runs the other jobs first."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        yield
    else:
        with report_errors():
            yield


def _exit(message: str) -> None:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    raise SystemExit(1)
