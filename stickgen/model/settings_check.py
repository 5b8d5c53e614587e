"""State dicts carry the settings of their model, and a model of other settings refuses them.

Shapes do not show whether a model is causal, or what its head's numbers mean. So the settings travel in the
``_metadata`` that ``state_dict()`` keeps beside its keys, and ``torch.save`` with it. The keys stay the reference
system's. Its own files carry no settings and load into any model of their shapes.
"""

import inspect
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from stickgen.untrusted import parse_json

RECORD_KEY = "stickgen"
"""Key of a record, in a module's metadata and in that of a .safetensors.

A record is JSON; its ``settings`` are the constructor's arguments.
"""

CHECKED = (
    "nhead",
    "causal",
    "pose_output",
    "pose_scale",
    "pose_frame",
    "velocity_kept",
    "pose_pull",
    "motion_code",
)
"""Settings with which weights of equal shapes compute something else, or expect other inputs."""


def carry_settings(model: nn.Module) -> None:
    """Make a model's state dicts carry its ``settings``, and ``load_state_dict`` compare them.

    ``load_state_dict`` then raises RuntimeError for weights of a model with other settings. Weights that carry none
    load as before.
    """
    model.register_state_dict_post_hook(_write)
    model.register_load_state_dict_pre_hook(_compare)


def with_record(state: Mapping[str, Tensor], model: nn.Module, record: str) -> OrderedDict[str, Tensor]:
    """Return a state dict of a model that carries a whole record, where ``model.state_dict()`` has its settings alone.

    Args:
        state: the tensors, in any precision.
        model: the model that they are of.
        record: the record, as JSON.
    """
    metadata: dict[str, Any] = model.state_dict()._metadata  # type: ignore[attr-defined]  # PyTorch's own
    metadata[""][RECORD_KEY] = record
    carrying = OrderedDict(state)
    carrying._metadata = metadata  # type: ignore[attr-defined]
    return carrying


def record_in(state: Any) -> str | None:
    """Return the record that a state dict carries; None where it carries none."""
    metadata = getattr(state, "_metadata", None)
    own = metadata.get("") if isinstance(metadata, dict) else None
    record = own.get(RECORD_KEY) if isinstance(own, dict) else None
    return record if isinstance(record, str) else None


def _write(module: Any, state: Any, prefix: str, local_metadata: dict[str, Any]) -> None:
    local_metadata[RECORD_KEY] = json.dumps({"settings": module.settings}, sort_keys=True)


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
    record = local_metadata.get(RECORD_KEY)
    if not isinstance(record, str):
        return
    try:
        settings = dict(parse_json(record)["settings"])
    except (ValueError, TypeError, KeyError) as error:
        error_msgs.append(f"the record that the weights carry is damaged ({error}); read them from their file again")
        return
    # A version that did not have a setting yet wrote weights of its default.
    defaults = {name: argument.default for name, argument in inspect.signature(type(module)).parameters.items()}
    theirs = {**defaults, **settings}
    others = {name: theirs[name] for name in CHECKED if theirs[name] != module.settings[name]}
    if others:
        wanted = ", ".join(f"{name}={value!r}" for name, value in others.items())
        error_msgs.append(
            f"the weights were trained with {wanted}; build {type(module).__name__}({wanted}), or read the file with "
            "stickgen.artifacts.base.load_base"
        )
