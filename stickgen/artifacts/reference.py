"""Adapters in the reference system's files; of the base they belong to, only those that we wrote tell."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from stickgen.artifacts.adapter import Adapter, as_saved
from stickgen.artifacts.base import Base
from stickgen.artifacts.peft_format import check_state, is_number
from stickgen.artifacts.provenance import provenance_json, read_provenance
from stickgen.artifacts.record import RECORD_KEY, fingerprint
from stickgen.artifacts.tensors import read_content
from stickgen.artifacts.wrapped import MARKS, unwrapped, wrap, wrapped_state
from stickgen.digests import write_safetensors, write_torch
from stickgen.errors import CheckpointError
from stickgen.files import atomic_write
from stickgen.lora import WRAPPERS, LoRALinear, LoRASettings

SUFFIXES = (".pth", ".pt", ".safetensors")


def read_reference_adapter(path: Path, alpha: float | None = None) -> Adapter:
    """Read an adapter of the reference system.

    That is a bare state dict of ``<module path>.lora_A`` and ``.lora_B``; a checkpoint that holds one as
    ``lora_state_dict``; an environment's adapter, which holds one as ``lora_state`` beside ``environment_type``; or a
    checkpoint of a LoRA run, whose ``model_state_dict`` has them among the wrapped base's weights
    (``<module path>.base_layer.weight``). The last is then known to belong to that base.

    Args:
        path: ending in .pth, .pt or .safetensors.
        alpha: the numerator of the scaling alpha / rank; None: as ``lora_config`` tells. A bare state dict does not.

    Raises:
        CheckpointError: the file is missing or damaged, holds objects or no adapter, or a tensor is not one's; its rank
            or alpha contradicts what it says or what is given, or alpha is not to be found.
    """
    content, own = _read(path)
    wrapped = wrapped_state(content)
    inside = next((content[key] for key in WRAPPERS if content.get(key)), None)
    holder = inside if isinstance(inside, dict) and inside else wrapped or content
    state = {key: value for key, value in holder.items() if str(key).endswith(MARKS)}
    if not state:
        raise CheckpointError(
            f"{path}: a run folder, a .ckpt of one or an adapter expected; a model file is merged already"
        )
    unknown = holder.keys() - state.keys()
    if unknown and holder is not wrapped:
        raise CheckpointError(f"{path}: {min(map(str, unknown))}: not an adapter's tensor")
    config = content.get("lora_config")
    config = {} if config is None else config
    if not isinstance(config, Mapping):
        raise CheckpointError(f"{path}: lora_config: a dict expected")
    settings = _settings(state, config, alpha, path)
    check_state(state, settings, str(path))
    told = read_provenance(own, path)
    if isinstance(environment := content.get("environment_type"), str):
        told["origin"] = {**told["origin"], "environment_type": environment}
    if wrapped is not None:
        told |= {"base_fingerprint": fingerprint(unwrapped(wrapped, path)), "wrapped_in": path}
    return Adapter({key: value.float() for key, value in state.items()}, settings, **told)


def write_reference_adapter(
    adapter: Adapter, path: Path, *, bare: bool = False, base: Base | None = None, overwrite: bool = False
) -> None:
    """Write an adapter for the reference system.

    Args:
        adapter: plain LoRA of one rank and alpha; the system knows nothing else.
        path: the file; only a bare state dict can be a .safetensors.
        bare: write the adapter's tensors alone, without alpha, instead of a checkpoint with ``lora_state_dict``.
        base: its base; the checkpoint then holds that too, wrapped, as one of a LoRA run does.
        overwrite: replace an existing file.

    Raises:
        CheckpointError: the adapter cannot be said in such a file.
        OutputExistsError: the file exists and ``overwrite`` is false.
    """
    adapter = as_saved(adapter)
    settings = adapter.settings
    if settings.kind != LoRALinear.KIND or settings.rank_pattern or settings.alpha_pattern:
        raise CheckpointError(
            f"{path}: the reference system has plain LoRA of one rank and alpha only, not {settings}; write an adapter "
            "folder instead"
        )
    if path.suffix == ".safetensors" and not bare:
        raise CheckpointError(f"{path}: a checkpoint is a .pth; only a bare state dict can be a .safetensors")
    state = {key: value.contiguous() for key, value in adapter.state.items()}
    content: dict[str, Any] = dict(state)
    if not bare:
        # It scales by alpha / rank alone.
        alpha = settings.alpha * settings.rank**0.5 if settings.use_rslora else settings.alpha
        config = {
            "rank": settings.rank,
            "alpha": alpha,
            "dropout": settings.dropout,
            "target_modules": adapter.modules,
        }
        own = {RECORD_KEY: provenance_json(adapter)}
        content = {"lora_enabled": True, "lora_state_dict": state, "lora_config": config, **own}
    if base is not None:
        content |= wrap(base, state, path)
    with atomic_write(path, overwrite=overwrite) as scratch:
        if path.suffix == ".safetensors":
            write_safetensors(content, scratch, {"format": "pt", RECORD_KEY: provenance_json(adapter)})
        else:
            write_torch(content, scratch)


def _read(path: Path) -> tuple[dict[str, Any], Any]:
    """Return what a file holds, and what it tells of itself where it is ours."""
    content, metadata = read_content(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: neither a state dict nor a checkpoint")
    return content, metadata.get(RECORD_KEY, content.get(RECORD_KEY))


def _settings(state: Mapping[str, Any], config: Mapping[str, Any], alpha: float | None, path: Path) -> LoRASettings:
    told = {name: config.get(name) for name in ("rank", "alpha", "dropout")}
    for name, value in told.items():
        if value is not None and not is_number(value):
            raise CheckpointError(f"{path}: lora_config: {name}={value!r}: a number expected")
    if alpha is not None and told["alpha"] not in (None, alpha):
        raise CheckpointError(f"{path}: its lora_config says alpha={told['alpha']:g}, alpha={alpha:g} is given")
    alpha = told["alpha"] if alpha is None else alpha
    if alpha is None:
        raise CheckpointError(f"{path}: does not tell its alpha; give it: stickgen convert {path} <folder> --alpha 16")
    ranks = Counter(len(v) for k, v in state.items() if k.endswith(".lora_A") and isinstance(v, Tensor) and v.ndim == 2)
    rank = max(ranks, key=ranks.__getitem__, default=0) if told["rank"] is None else told["rank"]
    try:
        settings = LoRASettings(rank, float(alpha), float(told["dropout"] or 0.0))
        settings.check()
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return settings
