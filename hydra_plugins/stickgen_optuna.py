"""Makes stickgen's search by Optuna known to Hydra, which looks for plugins in packages of this name only."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Stands for :class:`stickgen.sweeps.search.Search`, which is imported where it is used.

    Hydra imports its plugins at every start, and Optuna takes its time.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.search: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Build the launcher of the jobs."""
        from hydra.core.plugins import Plugins

        from stickgen.sweeps.search import Search

        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.search = Search(config, launcher, hydra_context.config_loader, **self.settings)

    def sweep(self, arguments: list[str]) -> Any:
        """Search, and return what was found."""
        return self.search.run(arguments)


@dataclass
class OptunaSweeperConf:
    """Settings of the search, as ``hydra.sweeper.…``."""

    _target_: str = "hydra_plugins.stickgen_optuna.OptunaSweeper"
    trials: int = 24
    """Jobs in all, those of an interrupted search included."""
    at_once: int = 1
    """Jobs that are handed to the launcher together; the next ones are drawn when all of them have ended."""
    seed: int = 0
    """Of the draws."""
    params: dict[str, str] = field(default_factory=dict)
    """What is searched, in Hydra's words: choice(4,8), range(1,9), interval(0.1,1), tag(log, interval(1e-4,1e-2))."""


ConfigStore.instance().store(group="hydra/sweeper", name="stickgen_optuna", node=OptunaSweeperConf, provider="stickgen")
