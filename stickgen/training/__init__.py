"""Training: the LightningModule, its losses and callbacks, and ``fit``."""

from stickgen.training.fit import FitResult, fit, resume_config

__all__ = ["FitResult", "fit", "resume_config"]
