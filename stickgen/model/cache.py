"""What a causal model keeps of the positions it has read, so that one more frame costs one position's work."""

import torch
from torch import Tensor


class LayerCache:
    """Keys and values of one attention layer, in buffers that are filled in place and doubled when full."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add the keys, rotated to their positions, and values of new positions; return those of all so far.

        Args:
            key: ``[B, H, L, head_dim]``.
            value: likewise.

        Returns:
            views ``[B, H, length, head_dim]`` of the buffers, in the first key's dtype and on its device.
        """
        end = self.length + key.shape[2]
        if self._keys is None or self._values is None or end > self.capacity:
            if self.length:
                self.capacity = max(2 * self.capacity, end)
            self.capacity = max(self.capacity, end)
            self._keys = self._grown(self._keys, key)
            self._values = self._grown(self._values, value)
        self._keys[:, :, self.length : end] = key
        self._values[:, :, self.length : end] = value
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def _grown(self, old: Tensor | None, like: Tensor) -> Tensor:
        batch, heads, _, head_dim = like.shape
        buffer = like.new_empty(batch, heads, self.capacity, head_dim)
        if old is not None:
            buffer[:, :, : self.length] = old[:, :, : self.length]
        return buffer


class KeyValueCache:
    """All that a causal :class:`~stickgen.model.StickFigureTransformer` keeps between calls of its ``forward``.

    The first call with a cache reads the text and the frames given so far, every further one the frames that are new;
    together they return what one call with all the frames would. A step then costs a constant for the position's own
    products and attention that is linear in what was read, instead of the whole sequence again.

    A cache belongs to one model and one batch of clips, whose frames so far are equal in number. It is written in
    place, so it has no gradient: a call needs ``torch.no_grad()`` or ``torch.inference_mode()``, the same for all.

    Args:
        capacity: positions to make room for at first: the text token and the frames. More are made where needed.
    """

    def __init__(self, capacity: int = 256) -> None:
        self.capacity = capacity
        self._layers: list[LayerCache] = []
        self._last_frame: Tensor | None = None
        self._hidden_sum: Tensor | None = None

    @property
    def length(self) -> int:
        """Positions read so far: the text token and the frames."""
        return self._layers[0].length if self._layers else 0

    @property
    def last_frame(self) -> Tensor | None:
        """The last frame read, ``[B, 1, D]``; None before the first call."""
        return self._last_frame

    def layer(self, index: int) -> LayerCache:
        """Return the part of one encoder layer, made at the first call."""
        while index >= len(self._layers):
            self._layers.append(LayerCache(self.capacity))
        return self._layers[index]

    def remember(self, frames: Tensor, hidden: Tensor) -> None:
        """Keep what later frames need of these beside keys and values.

        Args:
            frames: ``[B, T, D]``, as read.
            hidden: their hidden states ``[B, T, d]``, after the last layer.
        """
        self._last_frame = frames[:, -1:]
        total = hidden.sum(dim=1)
        self._hidden_sum = total if self._hidden_sum is None else self._hidden_sum + total

    def mean_hidden(self) -> Tensor:
        """Return the mean hidden state over all frames read, ``[B, d]``."""
        assert self._hidden_sum is not None
        return self._hidden_sum / (self.length - 1)


def new_visible(past: int, new: int, device: torch.device) -> Tensor | None:
    """Return which keys each of ``new`` positions after ``past`` others sees; None where it is all of them.

    Returns:
        bool ``[new, past + new]``, or None.
    """
    if new == 1:
        return None
    return torch.ones(new, past + new, dtype=torch.bool, device=device).tril(past)
