"""The typed settings behind ``conf/``.

Hydra composes ``conf/train.yaml`` and ``conf/merge.yaml`` against these dataclasses, so an unknown key or a wrong
type stops at composition; :func:`typed` then builds the objects, whose ``__post_init__`` refuses impossible values
and names the key. Nothing here imports torch: ``--help`` stays instant.
"""

from stickgen.config.compose import PROJECT, as_plain, register, run_to_resume, setting_keys, typed
from stickgen.config.data import AugmentConfig, DataConfig, SampleConfig
from stickgen.config.merge import MergeConfig
from stickgen.config.model import BaseConfig, LoRAConfig
from stickgen.config.objective import LossWeights, ObjectiveConfig, OptimizerConfig
from stickgen.config.running import (
    PRECISIONS,
    CallbacksConfig,
    LoggerConfig,
    ShowMotionConfig,
    TrainerConfig,
)
from stickgen.config.saved import REPLACED, read_saved
from stickgen.config.train import TrainConfig

__all__ = [
    "PRECISIONS",
    "PROJECT",
    "REPLACED",
    "AugmentConfig",
    "BaseConfig",
    "CallbacksConfig",
    "DataConfig",
    "LoRAConfig",
    "LoggerConfig",
    "LossWeights",
    "MergeConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "SampleConfig",
    "ShowMotionConfig",
    "TrainConfig",
    "TrainerConfig",
    "as_plain",
    "read_saved",
    "register",
    "run_to_resume",
    "setting_keys",
    "typed",
]
