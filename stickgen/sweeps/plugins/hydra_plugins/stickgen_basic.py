"""Hydra's own sweeper, in a folder that is locked, and with a record that is written in one step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser


class LockingBasicSweeper(BasicSweeper):
    """Runs what Hydra's sweeper runs; two of them in one folder would overwrite each other's jobs."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs, batch by batch; the first one that failed ends the sweep with its error."""
        from stickgen.locks import folder_lock
        from stickgen.sweeps.report import log_end
        from stickgen.sweeps.settings import write_record

        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        batches = self.split_arguments(overrides, self.max_batch_size)
        folder = Path(self.config.hydra.sweep.dir)
        returned = []
        with folder_lock(folder):
            write_record(folder, self.config)
            first = 0
            try:
                for batch in batches:
                    self.validate_batch_is_legal(batch)
                    jobs = self.launcher.launch(batch, initial_job_idx=first)
                    for job in jobs:
                        _ = job.return_value  # raises what the job has raised
                    first += len(batch)
                    returned.append(jobs)
            finally:
                log_end(folder)
        return returned


@dataclass
class LockingBasicSweeperConf(BasicSweeperConf):
    """Settings of Hydra's own sweeper."""

    _target_: str = "hydra_plugins.stickgen_basic.LockingBasicSweeper"


# In the place of Hydra's, which a plain -m chooses.
ConfigStore.instance().store(group="hydra/sweeper", name="basic", node=LockingBasicSweeperConf, provider="stickgen")
