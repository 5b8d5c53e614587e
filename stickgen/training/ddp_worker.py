"""One of a run's further processes, as :class:`stickgen.training.processes.Processes` starts it."""

import os
import sys

from omegaconf import OmegaConf

from stickgen.config import TrainConfig, typed
from stickgen.errors import StickgenError


def main() -> int:
    """Train beside the process that writes, on the settings on standard input; return the exit status."""
    from stickgen.training.fit import fit_beside

    config = typed(OmegaConf.create(sys.stdin.read()), TrainConfig)  # type: ignore[arg-type]
    try:
        fit_beside(config, int(os.environ["LOCAL_RANK"]))
    except StickgenError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
