"""Putting adapters into a model, and taking them out again."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

from stickgen.adapter_settings import LoRASettings
from stickgen.errors import AdapterError
from stickgen.lora.adapted import AdaptedLinear
from stickgen.lora.kinds import KINDS
from stickgen.lora.targets import match_targets

Model = TypeVar("Model", bound=nn.Module)

DEFAULT_TARGETS = ("transformer_encoder", "pose_decoder")


def inject_lora_adapters(
    model: Model,
    target_modules: Iterable[str] = DEFAULT_TARGETS,
    rank: int = LoRASettings.rank,
    alpha: float = LoRASettings.alpha,
    dropout: float = LoRASettings.dropout,
    *,
    use_rslora: bool = LoRASettings.use_rslora,
    kind: str = LoRASettings.kind,
    rank_pattern: Mapping[str, int] | None = None,
    alpha_pattern: Mapping[str, float] | None = None,
    layers: Iterable[int] | None = None,
) -> Model:
    """Freeze a model and replace the targeted Linear layers by adapted ones, in place.

    Args:
        model: any module; afterwards only its adapters require gradients.
        target_modules: see :func:`~stickgen.lora.match_targets`.
        rank: rank of every update that no pattern names.
        alpha: numerator of the scaling alpha / rank, likewise.
        dropout: dropout probability of the adapter path.
        use_rslora: scale by alpha / √rank.
        kind: which of :data:`~stickgen.lora.KINDS`; "lora" is :class:`~stickgen.lora.LoRALinear`.
        rank_pattern: ranks of single layers, see :class:`~stickgen.lora.LoRASettings`.
        alpha_pattern: alphas of single layers, likewise.
        layers: numbers of the blocks to adapt; see :func:`~stickgen.lora.match_targets`.

    Returns:
        the model itself.

    Raises:
        ValueError: a value is out of its range, there is no such kind, or a pattern is not a regular expression.
        AdapterError: a target, a pattern or a number of a block matches nothing, or the model has adapters already, or
            it uses a targeted layer in a way that an adapter would not change. The model is then unchanged.
    """
    settings = LoRASettings(rank, alpha, dropout, use_rslora, kind, dict(rank_pattern or {}), dict(alpha_pattern or {}))
    settings.check()
    if adapted_layers(model):
        raise AdapterError("the model has LoRA adapters already; detach or merge them before injecting others")
    paths = match_targets(model, target_modules, layers)
    settings.refuse_unmatched(paths)
    refuse_bypassed(model, paths)
    model.requires_grad_(False)
    for path in paths:
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        replace_module(model, path, adapted(linear, path, settings))
    return model


def adapted(linear: nn.Linear, path: str, settings: LoRASettings) -> AdaptedLinear:
    """Return a layer with an adapter, as the settings have it for a layer of that path."""
    rank, alpha = settings.rank_of(path), settings.alpha_of(path)
    return KINDS[settings.kind](linear, rank, alpha, settings.dropout, use_rslora=settings.use_rslora)


def adapted_layers(model: nn.Module) -> dict[str, AdaptedLinear]:
    """Return the adapted layers of a model by their path; {} for a plain model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AdaptedLinear)}


def lora_settings(model: nn.Module) -> LoRASettings:
    """Return the settings the adapters of a model were injected with; their patterns name single layers by their path.

    Raises:
        AdapterError: the model has no adapters.
    """
    layers = require_adapters(model)
    first = next(iter(layers.values()))
    return LoRASettings.of_layers(
        {path: layer.rank for path, layer in layers.items()},
        {path: layer.alpha for path, layer in layers.items()},
        LoRASettings(dropout=first.dropout, use_rslora=first.use_rslora, kind=first.KIND),
    )


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


def require_adapters(model: nn.Module) -> dict[str, AdaptedLinear]:
    """Return the adapted layers of a model by their path, at least one.

    Raises:
        AdapterError: the model has no adapters.
    """
    layers = adapted_layers(model)
    if not layers:
        raise AdapterError("the model has no LoRA adapters; they were never injected, or are merged or detached")
    return layers


def refuse_bypassed(model: nn.Module, paths: Iterable[str]) -> None:
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
