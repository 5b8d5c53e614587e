"""One job of a sweep."""

import logging
from pathlib import Path

from rich.console import Console

from stickgen.artifacts.run import RunFolder, read_json
from stickgen.config import TrainConfig, as_plain
from stickgen.errors import CheckpointError, ConfigError
from stickgen.files import remove_leftovers
from stickgen.sweeps.logs import link_logs
from stickgen.sweeps.settings import difference, flat
from stickgen.sweeps.table import read_varied
from stickgen.training import fit, resume_config, with_absolute_paths

log = logging.getLogger(__name__)


def fit_job(config: TrainConfig, console: Console | None = None) -> float:
    """Run a job, or what is left of it, and return the monitored metric, NaN where there was nothing to measure.

    A sweep that is started again in its folder meets the folders of its jobs: a finished one is left as it is, one
    that has saved goes on, any other starts anew. So does a job that a scheduler puts back into its queue.

    Raises:
        ConfigError: the folder holds a job of other settings.
    """
    run = RunFolder(Path(config.run_dir).resolve())
    if run.exists():
        _check_same(run, config)
        if run.metrics.is_file():
            remove_leftovers(run.checkpoints)
            log.info("%s: finished already, skipped", run.path)
            monitored = read_json(run.metrics).get("monitored")
            return float("nan") if monitored is None else float(monitored)
        if run.holds_results():
            config = resume_config(str(run.path))
    try:
        varied = read_varied(run.path)
    except CheckpointError:  # a job whose folder was named by the user
        varied = {}
    if varied and "tensorboard" in config.logger.kinds:
        link_logs(run, varied)
    return fit(config, console, varied=list(varied)).monitored


def _check_same(run: RunFolder, config: TrainConfig) -> None:
    """Refuse to take another job's results for this one's."""
    asked = as_plain(with_absolute_paths(config))
    # The run's own settings hold what "auto" has decided.
    decided = [key for key, value in flat(asked).items() if value == "auto"]
    key = difference(as_plain(run.read_config()), asked, besides=decided)
    if key is not None:
        raise ConfigError(
            f"{key}: {run.path} holds a job with another value, which was kept; give the sweep a folder of its own "
            "with hydra.sweep.dir=…"
        )
