"""The adapters' own state dict: ``<module path>.lora_A`` and so on, the base's tensors not."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stickgen.adapter_settings import LoRASettings
from stickgen.errors import AdapterError
from stickgen.lora.adapted import AdaptedLinear
from stickgen.lora.inject import adapted, require_adapters

WRAPPERS = ("lora_state_dict", "lora_state")
"""Under these keys the reference system's files hold an adapter's tensors; the second in its environment adapters."""


def get_lora_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return copies, on the CPU, of every adapter tensor.

    Plain LoRA has ``lora_A [rank, in]`` and ``lora_B [out, rank]``; ``FACTORS`` of each kind of layer lists its own.

    Raises:
        AdapterError: the model has no adapters.
    """
    return {
        f"{path}.{factor}": value.detach().cpu().clone()
        for path, layer in require_adapters(model).items()
        for factor, value in layer.factors().items()
    }


def load_lora_state_dict(model: nn.Module, state: Mapping[str, Any], *, settings: LoRASettings | None = None) -> None:
    """Load adapter tensors into a model that has adapters of exactly that shape.

    Args:
        model: a model after :func:`~stickgen.lora.inject_lora_adapters`.
        state: what :func:`get_lora_state_dict` returned, or what a file of the reference system holds: that, or a dict
            with it as ``lora_state_dict`` (``lora_state``), whose ``lora_config`` then stands for the settings.
        settings: the settings the tensors were trained with, where they are known; rank, alpha and scaling rule
            must then equal the model's, since equal shapes do not show another alpha. Dropout may differ.

    Raises:
        AdapterError: the model has no adapters; a key is missing or unknown; a tensor has another shape or holds
            NaN or infinity; the settings differ. The model is then unchanged.
    """
    layers = require_adapters(model)
    state, told = _unwrapped(state)
    settings = settings or told
    if settings is not None:
        for path, layer in layers.items():
            theirs = {
                "rank": settings.rank_of(path),
                "alpha": settings.alpha_of(path),
                "use_rslora": settings.use_rslora,
                "kind": settings.kind,
            }
            for name, value in theirs.items():
                ours = layer.KIND if name == "kind" else getattr(layer, name)
                if value != ours:
                    raise AdapterError(
                        f"the adapter was trained with {name}={value}, the model has {name}={ours}, in {path}"
                    )
    check_fits(layers, state)
    with torch.no_grad():
        for key, slot in _slots(layers).items():
            slot.copy_(state[key])


def loaded(
    linears: Mapping[str, nn.Linear], settings: LoRASettings, state: Mapping[str, Tensor]
) -> dict[str, AdaptedLinear]:
    """Return layers with the adapters that a state holds, which is copied; no random number is drawn for them.

    Args:
        linears: the layers to adapt, by path.
        settings: of the adapters.
        state: their tensors, as of :func:`get_lora_state_dict`.

    Raises:
        AdapterError: see :func:`load_lora_state_dict`.
    """
    layers = {}
    for path, linear in linears.items():
        sizes = linear.in_features, linear.out_features, linear.bias is not None
        layers[path] = adapted(nn.Linear(*sizes, device="meta", dtype=linear.weight.dtype), path, settings)
    check_fits(layers, state)
    for path, layer in layers.items():
        linear, dtype = linears[path], layer.factor_dtype
        own = {f: state[f"{path}.{f}"].detach().to(linear.weight.device, dtype, copy=True) for f in layer.FACTORS}
        layer.load_state_dict({**dict(linear.named_parameters()), **own}, assign=True)
        layer.train(linear.training)
    return layers


def check_fits(layers: Mapping[str, AdaptedLinear], state: Mapping[str, Tensor]) -> None:
    """Refuse a state that does not belong to adapted layers of these shapes.

    Raises:
        AdapterError: a key is missing or unknown; a tensor has another shape or holds NaN or infinity.
    """
    slots = _slots(layers)
    missing, unknown = slots.keys() - state.keys(), state.keys() - slots.keys()
    for what, keys in (("lacks", missing), ("has unknown", unknown)):
        if keys:
            raise AdapterError(f"the adapter {what} {len(keys)} of the model's {len(slots)} keys: {_some(keys)}")
    for key, slot in slots.items():
        if state[key].shape != slot.shape:
            raise AdapterError(
                f"the adapter's {key} has shape {list(state[key].shape)}, the model's has {list(slot.shape)}"
            )
        if not bool(torch.isfinite(state[key]).all()):
            raise AdapterError(f"the adapter's {key} holds NaN or infinity")


def _unwrapped(state: Mapping[str, Any]) -> tuple[Mapping[str, Tensor], LoRASettings | None]:
    """Return an adapter's tensors, and the rank and alpha that a file names beside them."""
    inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), Mapping)), None)
    if inner is None:
        return state, None
    config = state.get("lora_config")
    rank, alpha = (config.get(key) for key in ("rank", "alpha")) if isinstance(config, Mapping) else (None, None)
    if isinstance(rank, int) and isinstance(alpha, int | float):
        return inner, LoRASettings(rank, float(alpha))
    return inner, None


def _slots(layers: Mapping[str, AdaptedLinear]) -> dict[str, Tensor]:
    return {f"{path}.{name}": value for path, layer in layers.items() for name, value in layer.factors().items()}


def _some(keys: set[str]) -> str:
    shown = sorted(keys)[:3]
    return ", ".join(shown) + (", …" if len(keys) > len(shown) else "")
