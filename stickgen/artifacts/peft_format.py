"""PEFT's words for adapters: what its configuration and the names of its tensors say."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stickgen.artifacts.tensors import is_dense
from stickgen.errors import CheckpointError
from stickgen.lora import KINDS, LoRASettings, PeftWords, module_paths

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
    words = _words(settings)
    values = {
        "rank": settings.rank,
        "alpha": _number(settings.alpha),
        "dropout": settings.dropout,
        "use_rslora": settings.use_rslora,
    }
    return {
        "auto_mapping": None,
        "alpha_pattern": {key: _number(value) for key, value in settings.alpha_pattern.items()},
        "base_model_name_or_path": base_path,
        "inference_mode": True,
        "modules_to_save": None,
        "peft_type": words.peft_type,
        "peft_version": _PEFT_VERSION,
        "rank_pattern": dict(settings.rank_pattern),
        # The exact leaf paths: PEFT does not look below a container's name.
        "target_modules": list(modules),
        "task_type": None,
        **words.marks,
        **words.others,
        **{key: values[name] for name, key in words.settings.items()},
    }


def peft_settings(config: Any, path: Path) -> LoRASettings:
    """Return what an adapter_config.json says.

    Raises:
        CheckpointError: its adapter is of no kind that stickgen has, or a value is impossible or not supported.
    """
    kind, words = _kind(config, path)
    read = {name: config.get(key) for name, key in words.settings.items()}
    for name in ("rank", "alpha"):
        if not is_number(read[name]):
            key = words.settings[name]
            raise CheckpointError(f"{path}: {key}, a number, expected; without it the update's size is unknown")
    unknown = {
        "bias": config.get("bias", "none") != "none",
        "init_lora_weights": config.get("init_lora_weights") not in _HARMLESS_STARTS,
        **{key: bool(config.get(key)) for key in _UNSUPPORTED},
    }
    for key, used in unknown.items():
        if used:
            raise CheckpointError(f"{path}: {key}={config[key]}: not supported")
    dropout = read.get("dropout") or 0.0
    if not is_number(dropout):
        raise CheckpointError(f"{path}: {words.settings['dropout']}={dropout!r}: a number expected")
    patterns = [config.get(key) or {} for key in ("rank_pattern", "alpha_pattern")]
    for pattern in patterns:
        if not isinstance(pattern, dict) or not all(map(is_number, pattern.values())):
            raise CheckpointError(f"{path}: rank_pattern and alpha_pattern: numbers by regular expression expected")
    use_rslora = read.get("use_rslora")
    if not isinstance(use_rslora, bool | None):
        raise CheckpointError(f"{path}: {words.settings['use_rslora']}={use_rslora!r}: true or false expected")
    settings = LoRASettings(
        rank=read["rank"],
        alpha=float(read["alpha"]),
        dropout=float(dropout),
        use_rslora=bool(use_rslora),
        kind=kind,
        rank_pattern=patterns[0],
        alpha_pattern={key: float(value) for key, value in patterns[1].items()},
    )
    try:
        settings.check()
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return settings


def peft_marks(settings: LoRASettings) -> Mapping[str, bool]:
    """Return the entries of adapter_config.json that distinguish the kind from others of the same peft_type."""
    return _words(settings).marks


def _kind(config: Any, path: Path) -> tuple[str, PeftWords]:
    """Return the kind of adapter that an adapter_config.json describes, and PEFT's words for it."""
    named = config.get("peft_type") if isinstance(config, dict) else None
    ours = {name: kind.PEFT for name, kind in KINDS.items() if kind.PEFT is not None}
    found = {name: words for name, words in ours.items() if words.peft_type == named}
    for key in {key for words in found.values() for key in words.marks}:
        if not isinstance(config.get(key), bool | None):
            raise CheckpointError(f"{path}: {key}={config[key]!r}: true or false expected")
    for name, words in found.items():
        if all(bool(config.get(key)) == value for key, value in words.marks.items()):
            return name, words
    types = " or ".join(dict.fromkeys(words.peft_type for words in ours.values()))
    raise CheckpointError(f"{path}: not a LoRA adapter: peft_type={named!r}; {types} expected")


def _words(settings: LoRASettings) -> PeftWords:
    words = KINDS[settings.kind].PEFT
    assert words is not None  # as_saved has turned kinds without into others
    return words


def is_number(value: Any) -> bool:
    """Return whether a value from a file is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float) -> float:
    """Return a whole number as one: so PEFT writes alphas."""
    return int(value) if float(value).is_integer() else value


def peft_key(key: str, settings: LoRASettings) -> str:
    """Return PEFT's name of one of our tensors, of an adapter of these settings."""
    module, _, factor = key.rpartition(".")
    return f"{_PREFIX}{module}.{_words(settings).tensors[factor]}"


def peft_modules(tensors: Iterable[str]) -> list[str]:
    """Return the paths of the layers that the names of an adapter_model.safetensors speak of."""
    return module_paths(key.removeprefix(_PREFIX).removesuffix(".weight") for key in tensors)


def peft_state(tensors: Mapping[str, Tensor], settings: LoRASettings, path: Path) -> dict[str, Tensor]:
    """Return the tensors of an adapter_model.safetensors under our names, in float32.

    Raises:
        CheckpointError: a key is not an adapter's, or as :func:`check_state` does.
    """
    factors = {f".{word}": factor for factor, word in _words(settings).tensors.items()}
    state: dict[str, Tensor] = {}
    for key, value in tensors.items():
        ending = next((ending for ending in factors if key.endswith(ending)), None)
        module = key.removeprefix(_PREFIX).removesuffix(ending or "")
        if ending is None or key != f"{_PREFIX}{module}{ending}":
            raise CheckpointError(f"{path}: {key}: not an adapter's tensor")
        state[f"{module}.{factors[ending]}"] = value
    check_state(state, settings, str(path), lambda key: peft_key(key, settings))
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
    factors = KINDS[settings.kind].FACTORS
    for key, value in state.items():
        module, _, factor = str(key).rpartition(".")
        if factor not in factors or not module or not isinstance(value, Tensor):
            raise CheckpointError(f"{where}: {named(key)}: not an adapter's tensor")
        if value.layout != torch.strided or value.is_quantized or not is_dense(value):
            raise CheckpointError(f"{where}: {named(key)}: a plain tensor expected")
        if not value.is_floating_point():
            raise CheckpointError(f"{where}: {named(key)} is of {value.dtype}; floating-point numbers expected")
        dimensions, rank = factors[factor], settings.rank_of(module)
        if "rank" in dimensions and (value.ndim != len(dimensions) or value.shape[dimensions.index("rank")] != rank):
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
