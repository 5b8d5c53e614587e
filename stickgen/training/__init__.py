"""Training: the LightningModule, its losses and callbacks, and ``fit``."""

from stickgen.training.fit import FitResult, fit, resume_config, with_absolute_paths

__all__ = ["FitResult", "fit", "resume_config", "with_absolute_paths"]
