"""Putting adapters into a model, and taking them out again."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from stickgen.errors import AdapterError
from stickgen.lora.layer import LoRALinear, check_settings
from stickgen.lora.targets import match_targets

Model = TypeVar("Model", bound=nn.Module)

DEFAULT_TARGETS = ("transformer_encoder", "pose_decoder")


@dataclass(frozen=True)
class LoRASettings:
    """What the adapters of a model have in common; see :class:`~stickgen.lora.LoRALinear`."""

    rank: int
    alpha: float
    dropout: float = 0.0
    use_rslora: bool = False


def inject_lora_adapters(
    model: Model,
    target_modules: Iterable[str] = DEFAULT_TARGETS,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.05,
    *,
    use_rslora: bool = False,
) -> Model:
    """Freeze a model and replace the targeted Linear layers by :class:`~stickgen.lora.LoRALinear`, in place.

    Args:
        model: any module; afterwards only its adapters require gradients.
        target_modules: see :func:`~stickgen.lora.match_targets`.
        rank: rank of every update.
        alpha: numerator of the scaling alpha / rank.
        dropout: dropout probability of the adapter path.
        use_rslora: scale by alpha / √rank.

    Returns:
        the model itself.

    Raises:
        ValueError: rank, alpha or dropout is out of its range.
        AdapterError: a target matches nothing, or the model has adapters already, or it uses a targeted layer in a
            way that an adapter would not change. The model is then unchanged.
    """
    check_settings(rank, alpha, dropout)
    if adapted_layers(model):
        raise AdapterError("the model has LoRA adapters already; detach or merge them before injecting others")
    paths = match_targets(model, target_modules)
    _refuse_bypassed(model, paths)
    model.requires_grad_(False)
    for path in paths:
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        replace_module(model, path, LoRALinear(linear, rank, alpha, dropout, use_rslora=use_rslora))
    return model


def adapted_layers(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the adapted layers of a model by their path; {} for a plain model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LoRALinear)}


def lora_settings(model: nn.Module) -> LoRASettings:
    """Return the settings the adapters of a model were injected with.

    Raises:
        AdapterError: the model has no adapters.
    """
    layer = next(iter(require_adapters(model).values()))
    return LoRASettings(layer.rank, layer.alpha, layer.dropout, layer.use_rslora)


def detach_lora_adapters(model: Model) -> Model:
    """Take the adapters out, in place: the model is the base again, bit for bit, and stays frozen.

    Raises:
        AdapterError: the model has no adapters.
    """
    for path, layer in require_adapters(model).items():
        replace_module(model, path, layer.to_linear())
    return model


@contextmanager
def adapters_disabled(model: nn.Module) -> Iterator[None]:
    """Compute with the base alone while the context lasts; outputs are then the base's, bit for bit."""
    layers = adapted_layers(model).values()
    before = [layer.enabled for layer in layers]
    for layer in layers:
        layer.enabled = False
    try:
        yield
    finally:
        for layer, enabled in zip(layers, before, strict=True):
            layer.enabled = enabled


def require_adapters(model: nn.Module) -> dict[str, LoRALinear]:
    """Return the adapted layers of a model by their path, at least one.

    Raises:
        AdapterError: the model has no adapters.
    """
    layers = adapted_layers(model)
    if not layers:
        raise AdapterError("the model has no LoRA adapters; they were never injected, or are merged or detached")
    return layers


def _refuse_bypassed(model: nn.Module, paths: Iterable[str]) -> None:
    """Refuse layers that the model computes with otherwise than by calling them where they are found."""
    uses = Counter(child for module in model.modules() for child in module.children())
    for path in paths:
        parents = [model.get_submodule(".".join(path.split(".")[:depth])) for depth in range(path.count(".") + 1)]
        for parent in parents:
            # PyTorch's own attention and encoder layer hand their layers' weights to a fused kernel.
            if isinstance(parent, nn.MultiheadAttention | nn.TransformerEncoderLayer):
                raise AdapterError(
                    f"{path}: {type(parent).__name__} reads its weights without calling it; an adapter would do nothing"
                )
        if uses[model.get_submodule(path)] > 1:
            raise AdapterError(f"{path}: is used in several places of the model; only one of them would be adapted")


def replace_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module in the place of another."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
