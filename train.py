"""Fine-tune a base with LoRA adapters: ``python train.py lora.rank=8``; settings: ``python train.py --help``."""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from stickgen.config import TrainConfig, register, typed
from stickgen.console import job_errors, run_hydra
from stickgen.signals import pass_signals_on

register()


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(composed: DictConfig) -> float:
    """Run one training job; return the monitored metric, for a sweeper to compare."""
    register()  # again, since a launcher may run this in a process of its own
    with job_errors(TrainConfig):
        # Here, and not above: --help and a mistyped key need no torch.
        from rich.console import Console

        from stickgen.sweeps.job import fit_job
        from stickgen.sweeps.settings import write_overrides
        from stickgen.training import fit, resume_config

        hydra_settings = HydraConfig.get()
        if hydra_settings.mode == RunMode.MULTIRUN:  # before they are found impossible
            write_overrides(Path(hydra_settings.runtime.output_dir), hydra_settings.overrides.task)
        if composed.resume is None:
            if OmegaConf.is_missing(composed, "run_dir"):
                composed.run_dir = hydra_settings.runtime.output_dir
            config = typed(composed, TrainConfig)
        else:
            config = resume_config(composed.resume, hydra_settings.overrides.task)
        if hydra_settings.mode == RunMode.MULTIRUN:
            return fit_job(config, Console())
        return fit(config, Console()).monitored


if __name__ == "__main__":
    pass_signals_on(interrupts=True)
    run_hydra(main, TrainConfig)
