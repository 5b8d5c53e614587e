"""Settings that a run wrote, also with the keys of former versions."""

import copy
from typing import Any

from omegaconf import OmegaConf

from stickgen.config.compose import typed
from stickgen.config.train import TrainConfig
from stickgen.errors import ConfigError

REPLACED = {
    "lora.use_dora": "lora.kind=dora",
    "logger.tensorboard": "logger=tensorboard",
    "logger.csv": "logger=csv",
    "objective.physics_weights.gravity": "objective.gravity",
}
"""Keys of former versions, and what is written instead."""

_FIXED: dict[str, object] = {
    "optimizer.beta1": 0.9,
    "optimizer.beta2": 0.999,
    "optimizer.eps": 1e-8,
    "objective.physics_weights.mse": 1.0,
    "objective.physics_weights.momentum": 0.1,
    "objective.physics_weights.consistency": 0.2,
}
"""Keys of former versions whose only value is this one now."""

_DROPPED = ("objective.name", "trainer.strategy", "trainer.log_every_n_steps", "callbacks.show_motion.given")
"""Keys of former versions that changed no result, or repeated another."""


def read_saved(plain: Any) -> TrainConfig:
    """Return the settings of a run from plain values, as its config.yaml and its checkpoints hold them.

    Raises:
        ConfigError: they are not a run's settings, or a value is impossible.
        OmegaConfBaseException: a key is unknown, or a value has the wrong type.
    """
    if not isinstance(plain, dict):
        raise ConfigError("the settings of a run expected")
    plain = copy.deepcopy(plain)
    for key, expected in _FIXED.items():
        value = _taken(plain, key)
        if value not in (None, expected):
            raise ConfigError(f"{key}={value}: this version knows {expected} only; use the version that made the run")
    for key in _DROPPED:
        _taken(plain, key)
    _rename(plain)
    return typed(OmegaConf.create(plain), TrainConfig)


def _rename(plain: dict[str, Any]) -> None:
    """Write former keys as those of today."""
    lora = plain.get("lora")
    if isinstance(lora, dict) and isinstance(lora.get("use_dora"), bool) and "kind" not in lora:
        lora["kind"] = "dora" if lora.pop("use_dora") else "lora"
    gravity = _taken(plain, "objective.physics_weights.gravity")
    if gravity is not None:
        plain["objective"]["gravity"] = gravity
    if isinstance(plain.get("objective"), dict) and plain["objective"].get("physics_weights") == {}:
        del plain["objective"]["physics_weights"]
    former = {kind: _taken(plain, f"logger.{kind}") for kind in ("tensorboard", "csv")}
    if any(used is not None for used in former.values()):
        plain["logger"].setdefault("kinds", [kind for kind, used in former.items() if used])


def _taken(plain: dict[str, Any], key: str) -> Any:
    """Take a key out and return its value; None where there is none."""
    *groups, last = key.split(".")
    for group in groups:
        inner = plain.get(group)
        if not isinstance(inner, dict):
            return None
        plain = inner
    return plain.pop(last, None)
