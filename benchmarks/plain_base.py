"""The base as one writes it with PyTorch's own operations: what an adapter library meets when it is given such a model.

stickgen's base has operations of its own for norm, dropout and, in bfloat16, attention, and every contender that runs
on it gains by them. This is the same function, of the same weights, without them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.dropout import Dropout
from stickgen.model import StickFigureTransformer
from stickgen.model.layers import RMS_EPS, EncoderLayer


class PlainLayer(nn.Module):
    """An encoder layer in plain operations; it holds the layer's own projections under their own names."""

    def __init__(self, layer: EncoderLayer) -> None:
        super().__init__()
        self.self_attn, self.ffn = layer.self_attn, layer.ffn
        self.norm1, self.norm2, self.dropout1 = layer.norm1, layer.norm2, layer.dropout1

    def forward(
        self,
        x: Tensor,
        table: tuple[Tensor, Tensor],
        mask: Tensor | None,
        causal: bool,
        cache: None = None,
        lengths: None = None,
    ) -> Tensor:
        """Return the layer's output, as :class:`EncoderLayer` does."""
        attention, ffn = self.self_attn, self.ffn
        cos, sin = (part[:, part.shape[1] // 2 :].repeat(1, 2) for part in table)

        def heads(projected: Tensor) -> Tensor:
            return projected.unflatten(-1, (attention.nhead, -1)).transpose(1, 2)

        def turned(part: Tensor) -> Tensor:
            first, second = part.chunk(2, dim=-1)
            return part * cos + torch.cat((-second, first), dim=-1) * sin

        normed = self._normed(x, self.norm1.weight)
        query, key, value = (heads(layer(normed)) for layer in (attention.q_proj, attention.k_proj, attention.v_proj))
        attended = F.scaled_dot_product_attention(
            turned(query).to(value.dtype),
            turned(key).to(value.dtype),
            value,
            attn_mask=mask,
            dropout_p=attention.dropout if self.training else 0.0,
            is_causal=causal,
        )
        x = x + self.dropout1(attention.out_proj(attended.transpose(1, 2).flatten(2)))
        normed = self._normed(x, self.norm2.weight)
        return x + ffn.output_proj(ffn.dropout(F.silu(ffn.gate_proj(normed)) * ffn.value_proj(normed)))

    @staticmethod
    def _normed(x: Tensor, weight: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_EPS) * weight


def plainly_written(model: StickFigureTransformer) -> StickFigureTransformer:
    """Replace a base's layers by plain ones, which read padding too, in place; call it before adapters are injected."""
    model._lengths = lambda padding_mask, causal: None  # type: ignore[method-assign]
    layers = model.transformer_encoder.layers
    for index, layer in enumerate(layers):
        layers[index] = PlainLayer(layer)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.p))
    return model.train(model.training)
