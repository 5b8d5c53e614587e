"""``stickgen train``, which is also ``python train.py``: fine-tune a base with LoRA adapters."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from stickgen.config import PROJECT, TrainConfig, register
from stickgen.console import job_errors, run_hydra
from stickgen.signals import pass_signals_on

register()


@hydra.main(version_base="1.3", config_path=str(PROJECT / "conf"), config_name="train")
def main(composed: DictConfig) -> float:
    """Run one training job; return the monitored metric, for a sweeper to compare."""
    register()  # again, since a launcher may run this in a process of its own
    with job_errors(TrainConfig):
        # Here, and not above: --help and a mistyped key need no torch.
        from rich.console import Console

        from stickgen.sweeps.job import fit_job
        from stickgen.sweeps.settings import write_overrides
        from stickgen.training import fit, job_settings

        hydra_settings = HydraConfig.get()
        folder, overrides = hydra_settings.runtime.output_dir, hydra_settings.overrides.task
        if hydra_settings.mode == RunMode.MULTIRUN:  # before they are found impossible
            write_overrides(Path(folder), overrides)
        config = job_settings(composed, folder, overrides)
        if hydra_settings.mode == RunMode.MULTIRUN:
            return fit_job(config, Console())
        return fit(config, Console()).monitored


def run() -> None:
    """Run the command line; mistakes in it are one line and exit status 1."""
    pass_signals_on(interrupts=True)
    run_hydra(main, TrainConfig)
