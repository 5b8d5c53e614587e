"""A layer in which every clip of a batch has an adapter of its own."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.errors import AdapterError
from stickgen.lora.adapted import AdaptedLinear


class PerClipLinear(nn.Module):
    """A Linear layer with one of several adapters, or none, for each clip of a batch; not for training.

    The base's product is taken once for all clips, and every clip's thin products beside it, in two batched ones: as
    Punica (Chen et al. 2023, arXiv:2310.18547) serves many adapters from one base.

    Args:
        linear: the base's layer, whose tensors are shared.
        adapters: layers that adapt it; None for clips without one.
        index: int64 ``[B]``: which of the adapters each clip has.
    """

    def __init__(self, linear: nn.Linear, adapters: Sequence[AdaptedLinear | None], index: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        like = torch.empty(0, device=self.weight.device, dtype=torch.promote_types(self.weight.dtype, torch.float32))
        # The base may have been moved since the adapters were made.
        layers = {at: layer.to(like.device) for at, layer in enumerate(adapters) if layer is not None}
        with torch.no_grad():
            thin = {at: layer.thin(layer.factors()) for at, layer in layers.items()}
            gains = {at: gain for at, layer in layers.items() if (gain := layer.row_gain()) is not None}
        rank = max((len(factor) for factor, _ in thin.values()), default=0)
        down = like.new_zeros(len(adapters), rank, linear.in_features)
        up = like.new_zeros(len(adapters), linear.out_features, rank)
        gain = like.new_ones(len(adapters), linear.out_features)
        for at, own in gains.items():
            gain[at] = own
        for at, (A, B) in thin.items():
            down[at, : len(A)] = A
            up[at, :, : len(A)] = B * layers[at].scaling * gain[at][:, None]
        for name, tensor in (("down", down), ("up", up), ("index", index.to(like.device))):
            self.register_buffer(name, tensor, persistent=False)
        self.register_buffer("gain", gain if gains else None, persistent=False)

    down: Tensor
    up: Tensor
    index: Tensor
    gain: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``[B, ..., out]`` for ``x [B, ..., in]``, clip by clip as its adapter has it.

        Raises:
            AdapterError: the batch has another number of clips than adapters were named, or the layer is in training
                mode: its factors are copies, and without dropout.
        """
        if self.training:
            raise AdapterError("adapters of single clips are for generation, not for training: model.eval() first")
        if len(x) != len(self.index):
            raise AdapterError(f"a batch of {len(x)} clips, adapters were named for {len(self.index)}")
        flat = x.reshape(len(x), -1, x.shape[-1])
        inner = torch.bmm(flat, self.down[self.index].to(x.dtype).mT)
        update = torch.bmm(inner, self.up[self.index].to(x.dtype).mT).view(*x.shape[:-1], -1)
        weight = self.weight.to(x.dtype)
        if self.gain is None:
            return F.linear(x, weight, self.bias) + update
        gain = self.gain[self.index].to(x.dtype).view(len(x), *[1] * (x.ndim - 2), -1)
        y = F.linear(x, weight) * gain + update
        return y if self.bias is None else y + self.bias
