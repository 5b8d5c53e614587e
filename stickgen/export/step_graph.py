"""One step of a rollout as a graph: the loop around it is all that another runtime, as a browser's, has to write."""

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.generation.steering import Measured, Steering
from stickgen.lora import adapted_layers
from stickgen.lora.adapted import AdaptedLinear
from stickgen.lora.inject import replace_module
from stickgen.model import StickFigureTransformer
from stickgen.model.cache import KeyValueCache, LayerCache
from stickgen.model.functional import RotaryTable
from stickgen.model.layers import Encoder
from stickgen.model.motion_code import POSTURE, WIDTH
from stickgen.motion.bones import bone_count, within

MEASURED = 2 + 3 * len(POSTURE)
"""Numbers of what steering has measured: speed, place; posture, its variance and the latest difference from it."""


class Cached(NamedTuple):
    """Sizes of the cache ``[2, layers, heads, capacity, size]``: keys, then values."""

    layers: int
    heads: int
    capacity: int
    size: int


class StepGraph(nn.Module):
    """One step: reads the text, or a frame, and returns the next frame.

    A rollout calls it with ``position`` 0, which reads the text alone, and then once for each frame. The caller writes
    the returned ``entry`` into ``cache`` at the call's position, and passes ``measured`` and the last two frames to the
    next call. The frames equal those of :func:`~stickgen.generation.rollout` with the same noise and the weighted sum
    of the adapters.

    Args:
        models: of one base, each with the adapter that one of the ``weights`` is of; or a base alone.
        frames: how many can be generated.
        conditions: what the models read beside every frame, ``[1, 1, …]``, as arguments of their forward.
        steered: whether the models have motion codes in their body's frame, to which a rollout is held.

    Inputs of :meth:`forward`, by :meth:`sample_inputs`:

    * ``text [1, E]``: with a motion code;
    * ``position [1]``, int64: 0 for the text, then 1, 2, … for the frames;
    * ``frame [1, 1, D]`` and ``before [1, 1, D]``: the frame to read and the one before it, the same at first;
    * ``cache [2, layers, heads, frames + 1, size]``: entries at and beyond ``position`` are not read;
    * ``weights [adapters]``, where there are adapters;
    * ``noise [1, 1, D]``, as ``noise_source`` draws it for a rollout, where the model is in the body's frame;
    * ``bones [1, N]`` and ``measured [1, MEASURED]``, where it is steered; ``measured`` is not read up to position 1.
    """

    def __init__(
        self,
        models: Sequence[StickFigureTransformer],
        frames: int,
        conditions: Mapping[str, Tensor],
        *,
        steered: bool,
    ) -> None:
        super().__init__()
        adapted = [adapted_layers(model) for model in models]
        self.adapters = sum(map(bool, adapted))
        self.steered = steered
        self.model = copy.deepcopy(models[0]).eval()
        self.shared: list[Tensor] = []
        for path in dict.fromkeys(path for layers in adapted for path in layers):
            parts = [(at, layers[path]) for at, layers in enumerate(adapted) if path in layers]
            replace_module(self.model, path, _MixedLinear(parts, self.shared))
        encoder = self.model.transformer_encoder
        assert isinstance(encoder, Encoder)
        settings = self.model.settings
        heads = settings["nhead"]
        self.cached = Cached(len(encoder.layers), heads, frames + 1, settings["d_model"] // heads)
        rope = encoder.layers[0].self_attn.rope  # type: ignore[union-attr]
        table = rope.table(frames + 1, torch.float32)  # type: ignore[union-attr,operator]
        self.model.transformer_encoder = _StepEncoder(encoder, table)  # type: ignore[assignment]
        self.conditions = tuple(conditions)
        for name, track in conditions.items():
            self.register_buffer(name, track)
        self.names = tuple(self.sample_inputs())
        self.requires_grad_(False)

    def sample_inputs(self) -> dict[str, Tensor]:
        """Return inputs by name, in the order of :meth:`forward`."""
        settings = self.model.settings
        shape = 1, 1, settings["input_dim"]
        # No tensor twice: the exporter would take both for one input.
        inputs = {
            "text": torch.zeros(1, settings["embedding_dim"]),
            "position": torch.tensor([3]),
            "frame": torch.zeros(shape),
            "before": torch.zeros(shape),
            "cache": torch.zeros(2, *self.cached),
        }
        if self.adapters:
            inputs["weights"] = torch.ones(self.adapters)
        if self.model.body_frame is not None:
            inputs["noise"] = torch.zeros(shape)
        if self.steered:
            inputs |= {"bones": torch.ones(1, bone_count(shape[-1])), "measured": torch.zeros(1, MEASURED)}
        return inputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return ``next [1, 1, D]``, ``entry [2, layers, heads, 1, size]`` and, where it is steered, ``measured``.

        Args:
            inputs: in the order of :meth:`sample_inputs`.
        """
        given = dict(zip(self.names, inputs, strict=True))
        text, frame, before, position = (given[name] for name in ("text", "frame", "before", "position"))
        self.shared[:] = [given["weights"]] if self.adapters else []
        cache = _StepCache(given["cache"], position, self.model.text_projection(text)[:, None], before)
        noise = given.get("noise")
        conditions = {name: getattr(self, name) for name in self.conditions}
        if not self.steered:
            made = self.model(frame, text, cache=cache, noise=noise, **conditions)
            return made, cache.entry()
        steering = Steering(text[:, -WIDTH:], frame.shape[-1])
        begins = position <= 1
        fresh = steering.measured
        kept = _unpacked(given["measured"])
        steering.measured = Measured(*(torch.where(begins, a, b) for a, b in zip(fresh, kept, strict=True)))
        made = self.model(frame, text, cache=cache, noise=noise, steer=steering.next(), **conditions)
        made = within(made, given["bones"])
        # The first step is the one from what was given.
        steering.see(frame[-1], made[0])
        seen = [torch.where(begins, a, b) for a, b in zip(fresh, steering.measured, strict=True)]
        return made, cache.entry(), _packed(Measured(*seen))


class _MixedLinear(nn.Module):
    """A Linear layer and a weighted sum of the updates of several adapters.

    Args:
        parts: the adapters' numbers and their layers.
        shared: holds the weights ``[adapters]``, of all layers, while a step is computed.
    """

    def __init__(self, parts: Sequence[tuple[int, AdaptedLinear]], shared: list[Tensor]) -> None:
        super().__init__()
        self.weight, self.bias = parts[0][1].weight, parts[0][1].bias
        self.shared = shared
        downs, ups, which = [], [], []
        for at, layer in parts:
            down, up = layer.thin({name: factor.detach() for name, factor in layer.factors().items()})
            downs.append(down)
            ups.append(layer.scaling * up)
            which += [at] * len(down)
        self.register_buffer("down", torch.cat(downs))
        self.register_buffer("up", torch.cat(ups, dim=1))
        self.register_buffer("which", torch.tensor(which))

    down: Tensor
    up: Tensor
    which: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[..., out]`` for ``[..., in]``."""
        return F.linear(x, self.weight, self.bias) + F.linear(
            F.linear(x, self.down) * self.shared[0][self.which], self.up
        )


class _StepLayer(LayerCache):
    """Keys and values ``[1, H, capacity, head_dim]`` of one layer, of which :meth:`_StepCache.visible` may be seen."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__(keys.shape[2])
        self.past = keys, values
        self.new: tuple[Tensor, Tensor] | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        self.new = key, value
        return torch.cat((self.past[0], key), dim=2), torch.cat((self.past[1], value), dim=2)


class _StepCache(KeyValueCache):
    """A cache whose position is a tensor."""

    def __init__(self, cache: Tensor, position: Tensor, text: Tensor, before: Tensor) -> None:
        super().__init__(cache.shape[3])
        self.position, self.text, self.before = position, text, before
        self.layers = [_StepLayer(cache[0, at][None], cache[1, at][None]) for at in range(cache.shape[1])]

    @property
    def last_frame(self) -> Tensor:
        return self.before.transpose(0, 1)

    def layer(self, index: int) -> LayerCache:
        return self.layers[index]

    def remember(self, frames: Tensor, hidden: Tensor) -> None:
        pass

    def visible(self) -> Tensor:
        """Return bool ``[1, 1, 1, capacity + 1]``: the positions before this one, and this one, which is last."""
        at = torch.arange(self.capacity + 1)
        return ((at < self.position) | (at == self.capacity))[None, None, None]

    def entry(self) -> Tensor:
        """Return the keys and values of this position, ``[2, layers, heads, 1, size]``."""
        parts = [torch.cat([layer.new[part] for layer in self.layers if layer.new is not None]) for part in (0, 1)]
        return torch.stack(parts)


class _StepEncoder(nn.Module):
    """The encoder's layers at one position, which is a tensor; at position 0 it reads the text."""

    def __init__(self, encoder: Encoder, table: RotaryTable) -> None:
        super().__init__()
        self.layers = encoder.layers
        self.register_buffer("cos", table[0])
        self.register_buffer("sin", table[1])

    cos: Tensor
    sin: Tensor

    def forward(
        self, x: Tensor, mask: None, causal: bool, cache: _StepCache, *, first: int = 0, lengths: None = None
    ) -> Tensor:
        x = torch.where(cache.position == 0, cache.text, x)
        table = self.cos[cache.position], self.sin[cache.position]
        visible = cache.visible()
        for at, layer in enumerate(self.layers):
            x = layer(x, table, visible, False, cache.layer(at))
        return x


def _packed(measured: Measured) -> Tensor:
    of_posture = measured.posture, measured.variance, measured.apart
    return torch.cat((measured.speed[:, None], measured.ahead[:, None], *of_posture), dim=-1)


def _unpacked(measured: Tensor) -> Measured:
    posture, variance, apart = measured[:, 2:].chunk(3, dim=-1)
    return Measured(measured[:, 0], posture, variance, apart, measured[:, 1])
