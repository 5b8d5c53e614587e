"""PEFT's words for adapters: what its configuration and the names of its tensors say."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stickgen.artifacts.tensors import is_dense
from stickgen.errors import CheckpointError
from stickgen.lora import DoRALinear, LoRALinear, LoRASettings, module_paths

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"

_PREFIX = "base_model.model."
_PEFT_VERSION = "0.21.2"
"""The release whose format is written."""

_UNSUPPORTED = (
    "modules_to_save", "layer_replication", "lora_bias", "target_parameters", "trainable_token_indices",
    "alora_invocation_tokens", "use_qalora", "use_bdlora", "arrow_config", "kasa_config", "monteclora_config",
    "velora_config",
)  # fmt: skip
_HARMLESS_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the base's weights as they are; PiSSA, OLoRA and others change them."""


def peft_config(settings: LoRASettings, modules: Iterable[str], base_path: str | None) -> dict[str, Any]:
    """Return the content of adapter_config.json for adapters of the layers with these paths."""
    return {
        "auto_mapping": None,
        "alpha_pattern": {key: _number(value) for key, value in settings.alpha_pattern.items()},
        "base_model_name_or_path": base_path,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": _number(settings.alpha),
        "lora_dropout": settings.dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "peft_version": _PEFT_VERSION,
        "r": settings.rank,
        "rank_pattern": dict(settings.rank_pattern),
        # The exact leaf paths: PEFT does not look below a container's name.
        "target_modules": list(modules),
        "task_type": None,
        "use_dora": settings.use_dora,
        "use_rslora": settings.use_rslora,
    }


def peft_settings(config: Any, path: Path) -> LoRASettings:
    """Return what an adapter_config.json says.

    Raises:
        CheckpointError: it is no LoRA adapter's, says something impossible, or uses what stickgen does not know.
    """
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise CheckpointError(f"{path}: not a LoRA adapter (peft_type)")
    for key in ("r", "lora_alpha"):
        if not is_number(config.get(key)):
            raise CheckpointError(f"{path}: {key}, a number, expected; without it the update's size is unknown")
    unknown = {
        "bias": config.get("bias", "none") != "none",
        "init_lora_weights": config.get("init_lora_weights") not in _HARMLESS_STARTS,
        **{key: bool(config.get(key)) for key in _UNSUPPORTED},
    }
    for key, used in unknown.items():
        if used:
            raise CheckpointError(f"{path}: {key}={config[key]}: not supported")
    dropout = config.get("lora_dropout") or 0.0
    if not is_number(dropout):
        raise CheckpointError(f"{path}: lora_dropout={dropout!r}: a number expected")
    patterns = [config.get(key) or {} for key in ("rank_pattern", "alpha_pattern")]
    for pattern in patterns:
        if not isinstance(pattern, dict) or not all(map(is_number, pattern.values())):
            raise CheckpointError(f"{path}: rank_pattern and alpha_pattern: numbers by regular expression expected")
    for key in ("use_rslora", "use_dora"):
        if not isinstance(config.get(key), bool | None):
            raise CheckpointError(f"{path}: {key}={config[key]!r}: true or false expected")
    settings = LoRASettings(
        rank=config["r"],
        alpha=float(config["lora_alpha"]),
        dropout=float(dropout),
        use_rslora=bool(config.get("use_rslora")),
        use_dora=bool(config.get("use_dora")),
        rank_pattern=patterns[0],
        alpha_pattern={key: float(value) for key, value in patterns[1].items()},
    )
    try:
        settings.check()
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return settings


def is_number(value: Any) -> bool:
    """Return whether a value from a file is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float) -> float:
    """Return a whole number as one: so PEFT writes alphas."""
    return int(value) if float(value).is_integer() else value


def peft_key(key: str) -> str:
    """Return PEFT's name of one of our tensors."""
    # The lengths of DoRA are no layer's weight to PEFT.
    return f"{_PREFIX}{key}" if key.endswith("magnitude_vector") else f"{_PREFIX}{key}.weight"


def peft_modules(tensors: Iterable[str]) -> list[str]:
    """Return the paths of the layers that the names of an adapter_model.safetensors speak of."""
    return module_paths(key.removeprefix(_PREFIX).removesuffix(".weight") for key in tensors)


def peft_state(tensors: Mapping[str, Tensor], settings: LoRASettings, path: Path) -> dict[str, Tensor]:
    """Return the tensors of an adapter_model.safetensors under our names, in float32.

    Raises:
        CheckpointError: as :func:`check_state` does.
    """
    state: dict[str, Tensor] = {}
    for key, value in tensors.items():
        name = key.removeprefix(_PREFIX).removesuffix(".weight")
        if key != peft_key(name):
            raise CheckpointError(f"{path}: {key}: not an adapter's tensor")
        state[name] = value
    check_state(state, settings, str(path), peft_key)
    return {name: value.to(torch.float32) for name, value in state.items()}


def check_state(
    state: Mapping[str, Any], settings: LoRASettings, where: str, named: Callable[[str], str] = str
) -> None:
    """Refuse what is not an adapter's state, whatever model it may be for.

    Args:
        state: the tensors, under our names.
        settings: of the adapter.
        where: the file they are from, for messages.
        named: returns what a tensor is called there.

    Raises:
        CheckpointError: there is nothing; a key is not an adapter's; a factor is missing; a shape is not the rank's; a
            tensor is not floating-point, or a number NaN or infinite.
    """
    factors = DoRALinear.FACTORS if settings.use_dora else LoRALinear.FACTORS
    for key, value in state.items():
        module, _, factor = str(key).rpartition(".")
        if factor not in factors or not module or not isinstance(value, Tensor):
            raise CheckpointError(f"{where}: {named(key)}: not an adapter's tensor")
        if value.layout != torch.strided or value.is_quantized or not is_dense(value):
            raise CheckpointError(f"{where}: {named(key)}: a plain tensor expected")
        if not value.is_floating_point():
            raise CheckpointError(f"{where}: {named(key)} is of {value.dtype}; floating-point numbers expected")
        if factor in LoRALinear.FACTORS:
            rank = settings.rank_of(module)
            if value.ndim != 2 or value.shape[0 if factor == "lora_A" else 1] != rank:
                raise CheckpointError(
                    f"{where}: {named(key)} has shape {list(value.shape)}; rank {rank} expected, as its settings say"
                )
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{where}: {named(key)} holds NaN or infinity")
    modules = module_paths(state)
    lone = [f"{m}.{f}" for m in modules for f in factors if f"{m}.{f}" not in state]
    if lone or not state:
        raise CheckpointError(f"{where}: {lone[0] + ' is missing' if lone else 'holds no adapter'}")


def for_layers(settings: LoRASettings, state: Mapping[str, Tensor]) -> LoRASettings:
    """Return the settings with patterns for single layers alone, where they have any; PEFT's may match none."""
    if not settings.rank_pattern and not settings.alpha_pattern:
        return settings
    modules = module_paths(state)
    return LoRASettings.of_layers(
        {module: settings.rank_of(module) for module in modules},
        {module: settings.alpha_of(module) for module in modules},
        settings,
    )
