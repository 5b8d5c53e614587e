"""Adapters on disk: a folder in PEFT's format, which other tools read too."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from stickgen.artifacts.base import Base
from stickgen.artifacts.record import RECORD_KEY, BaseRecord
from stickgen.artifacts.tensors import read_safetensors
from stickgen.config import LoRAConfig
from stickgen.errors import CheckpointError
from stickgen.files import atomic_write
from stickgen.lora import DoRALinear, LoRALinear, LoRASettings, inject_lora_adapters, load_lora_state_dict

log = logging.getLogger(__name__)

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "README.md"

_PREFIX = "base_model.model."
_PEFT_VERSION = "0.21.2"
"""The release whose format is written."""

_UNSUPPORTED = ("modules_to_save", "layer_replication", "lora_bias", "target_parameters")
_HARMLESS_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the base's weights as they are; PiSSA, OLoRA and others change them."""


@dataclass(frozen=True)
class Adapter:
    """An adapter apart from any model.

    Attributes:
        state: ``<module path>.lora_A [rank, in]``, ``.lora_B [out, rank]`` and, with DoRA,
            ``.lora_magnitude_vector [out]``.
        settings: rank, alpha, dropout, the rule of scaling and the kind of layer.
        base_fingerprint: digest of the base it was trained on; None where the file does not tell.
        base_path: where that base lay.
        base_record: that base's settings, encoder, conditions and vocabulary; None where the file does not tell.
        origin: how it came about.
    """

    state: dict[str, Tensor]
    settings: LoRASettings
    base_fingerprint: str | None = None
    base_path: str | None = None
    base_record: BaseRecord | None = None
    origin: dict[str, Any] = field(default_factory=dict)

    @property
    def modules(self) -> list[str]:
        """Paths of the adapted layers."""
        return list(dict.fromkeys(key.rpartition(".")[0] for key in self.state))


def save_adapter(adapter: Adapter, folder: Path, *, overwrite: bool = False) -> None:
    """Write an adapter as a PEFT folder: adapter_config.json, adapter_model.safetensors, README.md.

    Raises:
        OutputExistsError: the folder exists and ``overwrite`` is false.
    """
    own = {
        "base_fingerprint": adapter.base_fingerprint,
        "base_path": adapter.base_path,
        "base_record": None if adapter.base_record is None else adapter.base_record.to_json(),
        "origin": adapter.origin,
    }
    tensors = {_peft_key(key): value.contiguous() for key, value in adapter.state.items()}
    with atomic_write(folder, overwrite=overwrite) as scratch:
        scratch.mkdir()
        config = json.dumps(_peft_config(adapter), indent=2, sort_keys=True)
        (scratch / CONFIG_FILE).write_text(config + "\n", encoding="utf-8")
        metadata = {"format": "pt", RECORD_KEY: json.dumps(own, sort_keys=True)}
        save_file(tensors, scratch / WEIGHTS_FILE, metadata=metadata)
        (scratch / CARD_FILE).write_text(short_card(adapter), encoding="utf-8")


def load_adapter(folder: Path) -> Adapter:
    """Read an adapter folder, ours or PEFT's.

    Raises:
        CheckpointError: a file is missing or damaged; rank or alpha is not given or impossible; the adapter uses what
            stickgen does not know; a key is not an adapter's; a factor is missing; a shape is not the rank's.
    """
    config_path = folder / CONFIG_FILE
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
    except OSError:
        raise CheckpointError(f"{folder}: no readable {CONFIG_FILE}; a PEFT adapter folder expected") from None
    except ValueError as error:
        raise CheckpointError(f"{config_path}: not JSON: {error}") from None
    settings = _settings(config, config_path)
    tensors, metadata = read_safetensors(folder / WEIGHTS_FILE)
    try:
        own = json.loads(metadata.get(RECORD_KEY, "{}"))
        if not isinstance(own, dict):
            raise ValueError("not an object")
    except ValueError:
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: the record in its metadata is damaged") from None
    state = _state(tensors, settings, folder / WEIGHTS_FILE)
    _compare_targets(config.get("target_modules"), state, folder)
    return Adapter(
        state=state,
        settings=_of_layers(settings, state),
        base_fingerprint=own.get("base_fingerprint"),
        base_path=own.get("base_path") or config.get("base_model_name_or_path"),
        base_record=BaseRecord.from_json(record, str(folder / WEIGHTS_FILE))
        if (record := own.get("base_record"))
        else None,
        origin=own.get("origin") or {},
    )


def attach_adapter(base: Base, adapter: Adapter, where: str, *, allow_other_base: bool = False) -> None:
    """Put an adapter on the base it was trained on, in place.

    Args:
        base: the base.
        adapter: the adapter.
        where: it was read, for messages.
        allow_other_base: only warn where it was trained on another base.

    Raises:
        CheckpointError: it was trained on another base.
        AdapterError: it does not fit the model.
    """
    check_base(base, adapter, where, allow_other_base=allow_other_base)
    inject_lora_adapters(base.model, adapter.modules, **vars(adapter.settings))
    load_lora_state_dict(base.model, adapter.state, settings=adapter.settings)


def check_base(base: Base, adapter: Adapter, where: str, *, allow_other_base: bool = False) -> None:
    """Refuse a base that an adapter was not trained on; see :func:`attach_adapter`.

    Raises:
        CheckpointError: it was trained on another base.
    """
    if adapter.base_fingerprint in (None, base.fingerprint):
        return
    message = (
        f"{where}: trained on another base (fingerprint {adapter.base_fingerprint}, of {adapter.base_path}); "
        f"{base.path} has {base.fingerprint}"
    )
    if not allow_other_base:
        raise CheckpointError(f"{message}; allow_other_base puts it there nevertheless")
    log.warning("%s; put there nevertheless, as allow_other_base says", message)


def settings_of(config: LoRAConfig) -> LoRASettings:
    """Return the settings of the adapters that a run is configured to train."""
    names = [item.name for item in fields(LoRASettings)]
    return LoRASettings(**{name: getattr(config, name) for name in names})


def short_card(adapter: Adapter) -> str:
    """Return the card that every adapter is saved with; ``stickgen card`` writes the whole one in its place."""
    settings = adapter.settings
    count = sum(value.numel() for value in adapter.state.values())
    return (
        "---\nlibrary_name: stickgen\ntags:\n- lora\n- motion-generation\n- stick-figure\n---\n\n"
        "# LoRA adapter for a stick-gen base\n\n"
        f"Adapters of {settings}; {count:,} numbers in {len(adapter.modules)} layers.\n"
        f"Base fingerprint: `{adapter.base_fingerprint}`.\n\n"
        "```bash\npython merge.py checkpoint=<this folder> base_checkpoint=<the base> output=merged_model.pth\n```\n"
    )


def _peft_config(adapter: Adapter) -> dict[str, Any]:
    settings = adapter.settings
    return {
        "auto_mapping": None,
        "alpha_pattern": {key: _number(value) for key, value in settings.alpha_pattern.items()},
        "base_model_name_or_path": adapter.base_path,
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
        "target_modules": adapter.modules,
        "task_type": None,
        "use_dora": settings.use_dora,
        "use_rslora": settings.use_rslora,
    }


def _settings(config: Any, path: Path) -> LoRASettings:
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise CheckpointError(f"{path}: not a LoRA adapter (peft_type)")
    for key in ("r", "lora_alpha"):
        if not isinstance(config.get(key), int | float):
            raise CheckpointError(f"{path}: {key} is not given; without it the update's size is unknown")
    unknown = {
        "bias": config.get("bias", "none") != "none",
        "init_lora_weights": config.get("init_lora_weights") not in _HARMLESS_STARTS,
        **{key: bool(config.get(key)) for key in _UNSUPPORTED},
    }
    for key, used in unknown.items():
        if used:
            raise CheckpointError(f"{path}: {key}={config[key]}: not supported")
    dropout = config.get("lora_dropout") or 0.0
    if not isinstance(dropout, int | float):
        raise CheckpointError(f"{path}: lora_dropout={dropout!r}: a number expected")
    patterns = [config.get(key) or {} for key in ("rank_pattern", "alpha_pattern")]
    for pattern in patterns:
        if not isinstance(pattern, dict) or not all(isinstance(value, int | float) for value in pattern.values()):
            raise CheckpointError(f"{path}: rank_pattern and alpha_pattern: numbers by regular expression expected")
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


def _number(value: float) -> float:
    """Return a whole number as one: so PEFT writes alphas."""
    return int(value) if float(value).is_integer() else value


def _peft_key(key: str) -> str:
    # The lengths of DoRA are no layer's weight to PEFT.
    return f"{_PREFIX}{key}" if key.endswith("magnitude_vector") else f"{_PREFIX}{key}.weight"


def _state(tensors: Mapping[str, Tensor], settings: LoRASettings, path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for key, value in tensors.items():
        name = key.removeprefix(_PREFIX).removesuffix(".weight")
        if key != _peft_key(name):
            raise CheckpointError(f"{path}: {key}: not an adapter's tensor")
        state[name] = value
    check_state(state, settings, str(path), _peft_key)
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
            number is NaN or infinite.
    """
    factors = DoRALinear.FACTORS if settings.use_dora else LoRALinear.FACTORS
    for key, value in state.items():
        module, _, factor = str(key).rpartition(".")
        if factor not in factors or not module or not isinstance(value, Tensor):
            raise CheckpointError(f"{where}: {named(key)}: not an adapter's tensor")
        if factor in LoRALinear.FACTORS:
            rank = settings.rank_of(module)
            if value.ndim != 2 or value.shape[0 if factor == "lora_A" else 1] != rank:
                raise CheckpointError(
                    f"{where}: {named(key)} has shape {list(value.shape)}; rank {rank} expected, as its settings say"
                )
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{where}: {named(key)} holds NaN or infinity")
    modules = {key.rpartition(".")[0] for key in state}
    lone = [f"{m}.{f}" for m in sorted(modules) for f in factors if f"{m}.{f}" not in state]
    if lone or not state:
        raise CheckpointError(f"{where}: {lone[0] + ' is missing' if lone else 'holds no adapter'}")


def _compare_targets(targets: Any, state: Mapping[str, Tensor], folder: Path) -> None:
    """Refuse a folder whose files do not speak of the same layers: PEFT runs with fewer adapters, and only warns."""
    if not isinstance(targets, list):  # a regular expression, or left out
        return
    modules = dict.fromkeys(key.rpartition(".")[0] for key in state)
    named = {target: {m for m in modules if m == target or m.endswith(f".{target}")} for target in map(str, targets)}
    missing = [target for target, hits in named.items() if not hits]
    if missing:
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: holds no {missing[0]}, a target module in {CONFIG_FILE}")
    extra = [module for module in modules if not any(module in hits for hits in named.values())]
    if extra:
        raise CheckpointError(f"{folder / WEIGHTS_FILE}: holds {extra[0]}, no target module in {CONFIG_FILE}")


def _of_layers(settings: LoRASettings, state: Mapping[str, Tensor]) -> LoRASettings:
    """Return the settings with patterns for single layers alone, where they have any; PEFT's may match none."""
    if not settings.rank_pattern and not settings.alpha_pattern:
        return settings
    modules = dict.fromkeys(key.rpartition(".")[0] for key in state)
    return LoRASettings.of_layers(
        {module: settings.rank_of(module) for module in modules},
        {module: settings.alpha_of(module) for module in modules},
        settings,
    )
