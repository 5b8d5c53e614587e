"""Training: the LightningModule, its losses and callbacks, and ``fit``."""

from stickgen.training.fit import FitResult, fit
from stickgen.training.settings import job_settings, resume_config, with_absolute_paths

__all__ = ["FitResult", "fit", "job_settings", "resume_config", "with_absolute_paths"]
