"""A search by Optuna over Hydra's jobs, whichever launcher runs them.

Hydra's own Optuna plugin wants an Optuna of before 3.0, hence this one. Trials are numbered as their jobs, so a
search that is started again in its folder takes up the trials that had not ended.
"""

import logging
import math
import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from stickgen.artifacts.run import PRUNED_AFTER
from stickgen.errors import ConfigError, StickgenError
from stickgen.locks import folder_lock
from stickgen.metrics import higher_is_better
from stickgen.sweeps.report import log_end
from stickgen.sweeps.settings import RECORD_FILE, SEARCHED_BY, difference, flat, write_record
from stickgen.training.pruning import open_study

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

log = logging.getLogger(__name__)

JOURNAL = "optuna.journal"
MONITOR = "callbacks.monitor"


class Search:
    """Draws jobs from a study and hands them to a launcher, round by round.

    Args:
        config: the composed settings, Hydra's included.
        launcher: what runs the jobs.
        loader: Hydra's, to parse the command line.
        trials: jobs in all.
        at_once: jobs of a round.
        seed: of the draws.
        params: what is searched, in Hydra's sweep syntax; the command line wins.
    """

    def __init__(
        self,
        config: DictConfig,
        launcher: Launcher,
        loader: Any,
        *,
        trials: int,
        at_once: int,
        seed: int,
        params: dict[str, str],
    ) -> None:
        for name, value, least in (("trials", trials, 1), ("at_once", at_once, 1), ("seed", seed, 0)):
            if value < least:
                raise ConfigError(f"hydra.sweeper.{name}={value}: at least {least} expected")
        self.config, self.launcher, self.loader = config, launcher, loader
        self.trials, self.at_once, self.seed, self.params = trials, at_once, seed, params

    def run(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Search, and return the best job's number, value and overrides.

        Raises:
            StickgenError: nothing is searched, the folder is in use, its earlier trials were drawn from something else,
                or every job failed.
        """
        parser = OverridesParser.create(config_loader=self.loader)
        # Later ones win, as everywhere in Hydra.
        overrides = {
            override.get_key_element(): override
            for override in parser.parse_overrides([*(f"{k}={v}" for k, v in self.params.items()), *arguments])
        }
        space = {key: distribution(override) for key, override in overrides.items() if override.is_sweep_override()}
        fixed = [
            f"{key}={override.get_value_element_as_str()}"
            for key, override in overrides.items()
            if not override.is_sweep_override()
        ]
        if not space:
            raise ConfigError("sweep=optuna: nothing to search; as in 'lora.rank=choice(4,8)'")
        if MONITOR in space:
            raise ConfigError(f"{MONITOR}: what jobs are compared by cannot be searched")
        folder = Path(str(self.config.hydra.sweep.dir))
        with folder_lock(folder):
            return self._run(folder, space, fixed)

    def _run(self, folder: Path, space: "dict[str, BaseDistribution]", fixed: list[str]) -> dict[str, Any]:
        """Draw and run the jobs that are left."""
        journal = (folder / JOURNAL).resolve()
        study = open_study(journal, maximize=higher_is_better(self.config.callbacks.monitor))
        _check_space(study, space, folder)
        _check_same(study, self.config, folder, space)
        write_record(folder, self.config)
        while waiting := self._next(study, space):
            for first, drawn in waiting:
                jobs = [
                    [*_as_overrides(trial.params), f"{SEARCHED_BY}={_quoted(f'{journal}:{trial.number}')}", *fixed]
                    for trial in drawn
                ]
                returns = self.launcher.launch(jobs, initial_job_idx=first)
                for trial, job in zip(drawn, returns, strict=True):
                    _tell(study, trial, job)
        found = _best(study)
        log_end(folder)
        return found

    def _next(
        self, study: "optuna.Study", space: "dict[str, BaseDistribution]"
    ) -> list[tuple[int, list["optuna.trial.FrozenTrial"]]]:
        """Return trials to run, in groups of consecutive numbers: those left behind, else newly drawn ones."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        waiting = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not waiting:
            drawn = len(study.get_trials(deepcopy=False))
            left = self.trials - drawn
            # Anew for every round: a search that is started again draws what it would have drawn in one go. Draws of
            # the same round know nothing of each other's results; the constant liar keeps them apart.
            study.sampler = TPESampler(seed=self.seed + drawn, constant_liar=True)
            for _ in range(min(left, self.at_once)):
                study.ask(space)
            waiting = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        runs = groupby(enumerate(waiting), key=lambda pair: pair[1].number - pair[0])
        groups = [[trial for _, trial in group] for _, group in runs]
        return [(group[0].number, group) for group in groups]


def _check_space(study: "optuna.Study", space: "dict[str, BaseDistribution]", folder: Path) -> None:
    """Refuse to go on with a search in another space, before a trial is drawn that could not be stored."""
    from optuna.distributions import check_distribution_compatibility

    for trial in study.get_trials(deepcopy=False):
        for key, earlier in trial.distributions.items():
            if key not in space:
                continue
            try:
                check_distribution_compatibility(earlier, space[key])
            except ValueError:
                raise ConfigError(
                    f"{key}: the search in {folder} draws it from {earlier}, not {space[key]}; "
                    "go on with that, or choose another hydra.sweep.dir"
                ) from None


def _check_same(study: "optuna.Study", config: DictConfig, folder: Path, space: "dict[str, BaseDistribution]") -> None:
    """Refuse to go on with a search under other settings, since its trials would not compare."""
    if not study.get_trials(deepcopy=False) or not (folder / RECORD_FILE).is_file():
        return
    earlier, now = (_plain(one) for one in (OmegaConf.load(folder / RECORD_FILE), config))
    key = difference(earlier, now, besides=(*space, "hydra"))
    if key is not None:
        raise ConfigError(
            f"{key}: {flat(now).get(key)}, and the search in {folder} has {flat(earlier).get(key)}; go on with that, "
            "or choose another hydra.sweep.dir"
        )


def distribution(override: Override) -> "BaseDistribution":
    """Return what a value is drawn from, for an override of Hydra's sweep syntax.

    Raises:
        ConfigError: the syntax has no such meaning here.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    key, value = override.get_key_element(), override.value()
    try:
        if isinstance(value, ChoiceSweep):
            return CategoricalDistribution(_values(override))
        if isinstance(value, RangeSweep):
            start, stop, step = value.start, value.stop, value.step
            if isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
                return IntDistribution(start, stop - 1, step=step)  # as Python's: without its end
            return CategoricalDistribution(_values(override))
        if isinstance(value, IntervalSweep):
            low, high, in_log = value.start, value.end, "log" in value.tags
            if isinstance(low, int) and isinstance(high, int):
                return IntDistribution(low, high, log=in_log)
            return FloatDistribution(float(low), float(high), log=in_log)  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from None
    raise ConfigError(f"{key}: choice(…), range(…) or interval(…) expected")


def _values(override: Override) -> list[Any]:
    return list(override.sweep_iterator(transformer=Transformer.encode))


def _plain(config: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(config))


def _quoted(text: str) -> str:
    """Return a text as Hydra's grammar takes it, whatever is in it."""
    escaped = re.sub(r"(\\*)'", lambda found: 2 * found[1] + r"\'", text)
    return f"'{escaped}'"


def _as_overrides(params: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in params.items()]


def _tell(study: "optuna.Study", trial: "optuna.trial.FrozenTrial", job: Any) -> None:
    """Tell the study what a job came to."""
    from optuna.trial import TrialState

    try:
        value = float(job.return_value)
    except StickgenError as error:
        log.error("job %d failed: %s", trial.number, error)
        study.tell(trial.number, state=TrialState.FAIL)
        return
    now = next(one for one in study.get_trials(deepcopy=False) if one.number == trial.number)
    if math.isnan(value):
        study.tell(trial.number, state=TrialState.FAIL)
    elif PRUNED_AFTER in now.user_attrs:
        study.tell(trial.number, state=TrialState.PRUNED)  # its value is the last one reported
    else:
        study.tell(trial.number, value)


def _best(study: "optuna.Study") -> dict[str, Any]:
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    if not any(trial.state == TrialState.COMPLETE for trial in trials):
        raise StickgenError(f"sweep=optuna: none of {len(trials)} jobs came to a result; their error.txt tell why")
    best = study.best_trial
    overrides = _as_overrides(best.params)
    return {"job": best.number, "value": best.value, "overrides": overrides}
