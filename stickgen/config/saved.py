"""Settings that a run wrote, also with the keys of former versions."""

from typing import Any

from omegaconf import OmegaConf

from stickgen.config.compose import typed
from stickgen.config.train import TrainConfig
from stickgen.errors import ConfigError

REPLACED = {"lora.use_dora": "lora.kind=dora"}
"""Keys of former versions, and what is written instead."""


def read_saved(plain: Any) -> TrainConfig:
    """Return the settings of a run from plain values, as its config.yaml and its checkpoints hold them.

    Raises:
        ConfigError: they are not a run's settings, or a value is impossible.
        OmegaConfBaseException: a key is unknown, or a value has the wrong type.
    """
    if not isinstance(plain, dict):
        raise ConfigError("the settings of a run expected")
    lora = plain.get("lora")
    if isinstance(lora, dict) and isinstance(lora.get("use_dora"), bool) and "kind" not in lora:
        rest = {key: value for key, value in lora.items() if key != "use_dora"}
        plain = {**plain, "lora": {**rest, "kind": "dora" if lora["use_dora"] else "lora"}}
    return typed(OmegaConf.create(plain), TrainConfig)
