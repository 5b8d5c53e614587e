"""Several adapters of one base, by name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stickgen.errors import AdapterError
from stickgen.lora.combine import Combination, combine_adapters
from stickgen.lora.inject import adapted, adapted_layers, inject_lora_adapters, replace_module
from stickgen.lora.layer import LoRALinear
from stickgen.lora.mixed import MixedLinear
from stickgen.lora.settings import LoRASettings
from stickgen.lora.state import load_lora_state_dict


class NamedAdapters:
    """Adapters of a model's base, of which one, a weighted sum, or one for every clip is used at a time.

    What is exchanged are the model's layers: nothing is computed or copied when one adapter takes another's place, and
    without any the base's own layers stand where they always did.

        adapters = NamedAdapters(model)
        adapters.attach("tired", tired.state, tired.settings)
        adapters.attach("sneaky", sneaky.state, sneaky.settings)
        adapters.use("tired")                            # or {"tired": 0.7, "sneaky": 0.3}, or None
        with adapters.per_clip(["tired", None, "sneaky"]):
            model(motion, text_embedding)                # three clips

    Args:
        model: any module; frozen. It must be batch first inside for :meth:`per_clip`, as the base is.

    Raises:
        AdapterError: the model has adapters already.
    """

    def __init__(self, model: nn.Module) -> None:
        if adapted_layers(model):
            raise AdapterError("the model has LoRA adapters already; detach or merge them before naming others")
        self.model = model.requires_grad_(False)
        self._base: dict[str, nn.Linear] = {}
        self._adapters: dict[str, dict[str, LoRALinear]] = {}
        self._sources: dict[str, Combination] = {}
        self._used: dict[str, float] = {}

    @property
    def names(self) -> list[str]:
        """The attached adapters."""
        return list(self._adapters)

    @property
    def used(self) -> dict[str, float]:
        """The adapters in use and their weights; {} for the base alone."""
        return dict(self._used)

    def attach(self, name: str, state: Mapping[str, Tensor], settings: LoRASettings) -> None:
        """Take an adapter in, without using it yet.

        Args:
            name: to use it by.
            state: its tensors, as of :func:`~stickgen.lora.get_lora_state_dict`; they are copied.
            settings: those it was trained with.

        Raises:
            AdapterError: the name is taken, or the adapter does not fit the model. Nothing then changes.
        """
        if name in self._adapters:
            raise AdapterError(f"adapter {name!r}: the name is taken; detach that one first, or take another")
        paths = dict.fromkeys(key.rpartition(".")[0] for key in state)
        used = self._used
        self.use(None)
        plain = {path: module for path, module in self.model.named_modules() if isinstance(module, nn.Linear)}
        try:
            inject_lora_adapters(self.model, paths, **vars(settings))
            load_lora_state_dict(self.model, state, settings=settings)
            layers = adapted_layers(self.model)
        finally:
            for path in adapted_layers(self.model):
                replace_module(self.model, path, plain[path])
            self.use(used)
        self._base.update({path: plain[path] for path in layers})
        self._adapters[name] = layers
        own = {f"{path}.{f}": getattr(layer, f).detach() for path, layer in layers.items() for f in layer.FACTORS}
        self._sources[name] = Combination(own, settings)

    def detach(self, name: str) -> None:
        """Let an adapter go; where it is in use, the base alone is used from then on.

        Raises:
            AdapterError: there is none of that name.
        """
        self._known(name)
        if name in self._used:
            self.use(None)
        del self._adapters[name], self._sources[name]

    def use(self, adapters: str | Mapping[str, float] | None) -> None:
        """Use an adapter, a weighted sum of adapters, or with None the base alone, bit for bit.

        One of weight 1 is a matter of exchanging layers. A sum is exact: see :func:`~stickgen.lora.combine_adapters`.

        Raises:
            AdapterError: an adapter is not attached, or weights cannot be, as those of DoRA. Nothing then changes.
        """
        wanted = {} if adapters is None else {adapters: 1.0} if isinstance(adapters, str) else dict(adapters)
        self._place(self._layers(wanted))
        self._used = wanted

    @contextmanager
    def per_clip(self, names: Sequence[str | None]) -> Iterator[None]:
        """Give every clip of a batch its own adapter while the context lasts; a pass is then one for all.

        Args:
            names: an adapter for each clip, or None for the base; the batches must have so many clips.

        Raises:
            AdapterError: an adapter is not attached.
        """
        kinds = list(dict.fromkeys(names))
        for name in kinds:
            if name is not None:
                self._known(name)
        index = torch.tensor([kinds.index(name) for name in names])
        by_kind = [{} if name is None else self._adapters[name] for name in kinds]
        layers: dict[str, nn.Module] = {}
        for path in dict.fromkeys(path for kind in by_kind for path in kind):
            linear = self._base[path]
            own = [kind[path].to(linear.weight.device) if path in kind else None for kind in by_kind]
            layers[path] = MixedLinear(linear, own, index)
        self._place(layers)
        try:
            yield
        finally:
            self.use(self._used)

    def _layers(self, wanted: Mapping[str, float]) -> dict[str, LoRALinear]:
        """Return the layers of a sum of adapters by path."""
        for name in wanted:
            self._known(name)
        if not wanted:
            return {}
        if list(wanted.values()) == [1.0]:
            return self._adapters[next(iter(wanted))]
        combined = combine_adapters([self._sources[name] for name in wanted], list(wanted.values()))
        layers = {}
        for path in dict.fromkeys(key.rpartition(".")[0] for key in combined.state):
            layer = adapted(self._base[path], path, combined.settings)
            layer.load_state_dict({f: combined.state[f"{path}.{f}"] for f in layer.FACTORS}, strict=False)
            layers[path] = layer
        return layers

    def _place(self, layers: Mapping[str, nn.Module]) -> None:
        """Put layers where they belong, and the base's own everywhere else."""
        for path, linear in self._base.items():
            layer = layers.get(path, linear)
            # The base may have been moved, or put into another mode, since they were made.
            replace_module(self.model, path, layer.to(linear.weight.device).train(self.model.training))

    def _known(self, name: str) -> None:
        if name not in self._adapters:
            there = ", ".join(self._adapters) or "none"
            raise AdapterError(f"adapter {name!r}: not attached; there are {there}")
