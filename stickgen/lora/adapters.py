"""Several adapters of one base, by name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stickgen.adapter_settings import LoRASettings
from stickgen.errors import AdapterError
from stickgen.lora.adapted import AdaptedLinear
from stickgen.lora.combine import Combination, check_weights, combine_adapters
from stickgen.lora.inject import adapted_layers, refuse_bypassed, replace_module
from stickgen.lora.per_clip import PerClipLinear
from stickgen.lora.state import loaded
from stickgen.lora.targets import module_paths, no_match


class NamedAdapters:
    """Adapters of a model's base, of which one, a weighted sum, or one for every clip is used at a time.

    What is exchanged are the model's layers: nothing is computed or copied when one adapter takes another's place, and
    without any the base's own layers stand where they always did. Attaching exchanges none and draws no random number.
    One adapter in use can be trained further; a sum, and what :meth:`per_clip` makes, cannot. ::

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
        self._base = {path: module for path, module in model.named_modules() if isinstance(module, nn.Linear)}
        self._adapters: dict[str, dict[str, AdaptedLinear]] = {}
        self._settings: dict[str, LoRASettings] = {}
        self._placed: Mapping[str, nn.Module] = {}
        self._used: dict[str, float] = {}
        self._by_clip = False

    @property
    def names(self) -> list[str]:
        """The attached adapters."""
        return list(self._adapters)

    @property
    def used(self) -> dict[str, float]:
        """The adapters in use and their weights; {} for the base alone. In :meth:`per_clip`: those after it."""
        return dict(self._used)

    def attach(self, name: str, state: Mapping[str, Tensor], settings: LoRASettings) -> None:
        """Take an adapter in, without using it yet.

        Args:
            name: to use it by.
            state: its tensors, as of :func:`~stickgen.lora.get_lora_state_dict`; they are copied.
            settings: those it was trained with.

        Raises:
            ValueError: the settings are out of their range.
            AdapterError: the name is taken, or the adapter does not fit the model. Nothing then changes.
        """
        if name in self._adapters:
            raise AdapterError(f"adapter {name!r}: the name is taken; detach that one first, or take another")
        paths = module_paths(state)
        for path in paths:
            if path not in self._base:
                raise AdapterError(no_match(path, list(self._base)))
        settings.check()
        settings.refuse_unmatched(paths)
        refuse_bypassed(self.model, paths)
        self._adapters[name] = loaded({path: self._base[path] for path in paths}, settings, state)
        self._settings[name] = settings

    def detach(self, name: str) -> None:
        """Let an adapter go; where it is in use, the base alone is used from then on.

        Raises:
            AdapterError: there is none of that name, or :meth:`per_clip` lasts.
        """
        self._known(name)
        self._refuse_by_clip()
        if name in self._used:
            self.use(None)
        del self._adapters[name], self._settings[name]

    def use(self, adapters: str | Mapping[str, float] | None) -> None:
        """Use an adapter, a weighted sum of adapters, or with None the base alone, bit for bit.

        One of weight 1 is a matter of exchanging layers. A sum is exact, as :func:`~stickgen.lora.combine_adapters`
        says, and a frozen copy without dropout, for generation.

        Raises:
            AdapterError: an adapter is not attached, weights cannot be, as those of DoRA, or :meth:`per_clip` lasts.
                Nothing then changes.
        """
        self._refuse_by_clip()
        wanted = {} if adapters is None else {adapters: 1.0} if isinstance(adapters, str) else dict(adapters)
        self._place(self._layers(wanted))
        self._used = wanted

    @contextmanager
    def per_clip(self, names: Sequence[str | None]) -> Iterator[None]:
        """Give every clip of a batch its own adapter while the context lasts; a pass is then one for all.

        Adapters can be attached meanwhile, but neither used, detached nor given to other clips. It is for generation:
        a pass in training mode is an error.

        Args:
            names: an adapter for each clip, or None for the base; the batches must have so many clips.

        Raises:
            AdapterError: there are no names, an adapter is not attached, or the context lasts already.
        """
        self._refuse_by_clip()
        if not names:
            raise AdapterError("adapters of single clips: no name given; one for each clip, or None, expected")
        kinds = list(dict.fromkeys(names))
        for name in kinds:
            if name is not None:
                self._known(name)
        index = torch.tensor([kinds.index(name) for name in names])
        by_kind = [{} if name is None else self._adapters[name] for name in kinds]
        # Every layer that any adapter has, also where all clips have the base: each counts the batch's clips.
        paths = dict.fromkeys(path for layers in self._adapters.values() for path in layers)
        before = self._placed
        self._place(
            {path: PerClipLinear(self._base[path], [kind.get(path) for kind in by_kind], index) for path in paths}
        )
        self._by_clip = True
        try:
            yield
        finally:
            self._by_clip = False
            self._place(before)

    def _layers(self, wanted: Mapping[str, float]) -> Mapping[str, AdaptedLinear]:
        """Return the layers of a sum of adapters by path."""
        for name in wanted:
            self._known(name)
        if not wanted:
            return {}
        check_weights(list(wanted.values()), len(wanted))
        parts = {name: weight for name, weight in wanted.items() if weight}
        if list(parts.values()) == [1.0]:
            return self._adapters[next(iter(parts))]
        combined = combine_adapters([self._source(name) for name in parts], list(parts.values()))
        linears = {path: self._base[path] for path in module_paths(combined.state)}
        layers = loaded(linears, combined.settings, combined.state)
        for layer in layers.values():
            layer.requires_grad_(False)
        return layers

    def _source(self, name: str) -> Combination:
        """Return an attached adapter apart from the model."""
        layers = self._adapters[name].items()
        state = {f"{path}.{f}": value.detach() for path, layer in layers for f, value in layer.factors().items()}
        return Combination(state, self._settings[name])

    def _place(self, layers: Mapping[str, nn.Module]) -> None:
        """Put layers where they belong, and the base's own where others were."""
        for path in dict.fromkeys((*self._placed, *layers)):
            linear = self._base[path]
            # The base may have been moved, or put into another mode, since they were made.
            layer = layers.get(path, linear).to(linear.weight.device).train(self.model.training)
            replace_module(self.model, path, layer)
        self._placed = layers

    def _known(self, name: str) -> None:
        if name not in self._adapters:
            there = ", ".join(self._adapters) or "none"
            raise AdapterError(f"adapter {name!r}: not attached; there are {there}")

    def _refuse_by_clip(self) -> None:
        if self._by_clip:
            raise AdapterError("single clips have their own adapters until per_clip ends; use or detach others then")
