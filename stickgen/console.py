"""What the command-line entries share."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


def _exit(message: str) -> None:
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    raise SystemExit(1)
