"""Weights remember the settings that their shapes do not show, so that no other model runs them in silence.

They travel in the ``_metadata`` that ``state_dict()`` carries beside its keys, as PyTorch's own versions of layers do,
and ``torch.save`` keeps. The keys stay the reference system's, whose files have none of it and load everywhere.
"""

from collections.abc import Mapping
from typing import Any

from torch import nn

CHECKED = ("nhead", "causal", "pose_output", "pose_scale")
"""Settings of which weights of equal shapes compute something else."""

_KEY = "stickgen_settings"


def remember_settings(model: nn.Module) -> None:
    """Make a model's state dicts carry its ``settings``, and loading compare them; weights without any load as before.

    ``load_state_dict`` then raises RuntimeError for weights of a model that has other settings.
    """
    model.register_state_dict_post_hook(_write)
    model.register_load_state_dict_pre_hook(_compare)


def with_settings(state: Any, settings: Mapping[str, Any]) -> Any:
    """Return a state dict that carries settings, for one that was put together by hand."""
    state._metadata = {"": {"version": 1, _KEY: {name: settings[name] for name in CHECKED}}}
    return state


def _write(module: Any, state: Any, prefix: str, local_metadata: dict[str, Any]) -> None:
    local_metadata[_KEY] = {name: module.settings[name] for name in CHECKED}


def _compare(
    module: Any,
    state: Any,
    prefix: str,
    local_metadata: Mapping[str, Any],
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    theirs = local_metadata.get(_KEY)
    if not isinstance(theirs, Mapping):
        return
    others = {name: theirs[name] for name in CHECKED if name in theirs and theirs[name] != module.settings[name]}
    if others:
        wanted = ", ".join(f"{name}={value!r}" for name, value in others.items())
        error_msgs.append(
            f"the weights were trained with {wanted}; build {type(module).__name__}({wanted}), or read the file with "
            "stickgen.artifacts.base.load_base"
        )
