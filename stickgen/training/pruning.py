"""A run as a trial of an Optuna study: it reports each validation, and stops where others were better by then.

The study is a journal file in the sweep's folder, which processes of several machines may share (Optuna's
``JournalFileBackend``); the setting ``callbacks.trial`` names it and the trial.
"""

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

from lightning import Callback, LightningModule, Trainer

from stickgen.artifacts.run import PRUNED_AFTER
from stickgen.errors import ConfigError
from stickgen.metrics import higher_is_better

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

STUDY = "stickgen"


def open_study(journal: Path, *, maximize: bool) -> "optuna.Study":
    """Open the study of a journal, or begin one, with the median rule for pruning.

    Raises:
        ConfigError: Optuna is not installed, or the journal is damaged.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise ConfigError("sweep=optuna: needs Optuna; pip install 'stickgen[sweep]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(
            study_name=STUDY,
            storage=JournalStorage(JournalFileBackend(str(journal))),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
            direction="maximize" if maximize else "minimize",
            load_if_exists=True,
        )
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{journal}: not the journal of a search: {error}") from None


class Pruning(Callback):
    """Reports the monitored metric to a trial, and ends the training where the study's pruner says so.

    Args:
        trial: as ``callbacks.trial``: the journal's path, a colon and the trial's number.
        monitor: the metric's name.
    """

    def __init__(self, trial: str, monitor: str) -> None:
        import optuna

        journal, _, number = trial.rpartition(":")
        self.monitor = monitor
        self.after: int | None = None
        """The epoch after which the run was stopped."""
        study = open_study(Path(journal), maximize=higher_is_better(monitor))
        found = [frozen for frozen in study.get_trials(deepcopy=False) if frozen.number == int(number)]
        if not found:
            raise ConfigError(f"callbacks.trial={trial}: the study has no such trial")
        # A trial that has ended, whose job is repeated, takes no reports.
        self.trial = None if found[0].state.is_finished() else optuna.Trial(study, found[0]._trial_id)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report, and stop the training if the trial is to be pruned."""
        if self.trial is None or trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[self.monitor])
        prune = False
        if trainer.is_global_zero and not math.isnan(value):
            self.trial.report(value, trainer.current_epoch)
            prune = not _is_at_its_end(trainer) and self.trial.should_prune()
            if prune:
                self.after = trainer.current_epoch + 1
                self.trial.set_user_attr(PRUNED_AFTER, self.after)
                log.info("pruned after epoch %d: others were better by then", self.after)
        trainer.should_stop = trainer.strategy.reduce_boolean_decision(prune, all=False) or trainer.should_stop


def _is_at_its_end(trainer: Trainer) -> bool:
    """Return whether a run would end now anyway, so that there is nothing to spare it."""
    steps, epochs = trainer.max_steps, trainer.max_epochs
    return 0 <= steps <= trainer.global_step or (epochs is not None and 0 <= epochs <= trainer.current_epoch + 1)
