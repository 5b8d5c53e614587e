"""Blocks of the transformer; all take and return ``[B, L, d]``, batch first, which the attention kernel wants.

Attention and layers also take packed clips, ``[N, d]`` (:mod:`stickgen.model.packing`).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stickgen.dropout import Dropout
from stickgen.model.attention import attention
from stickgen.model.cache import KeyValueCache, LayerCache, new_visible
from stickgen.model.functional import RotaryTable, rms_norm, rotate
from stickgen.model.packing import packed, unpacked

RMS_EPS = 1e-6
ROPE_BASE = 10000.0


def read_together(x: Tensor, layers: Sequence[nn.Module]) -> Sequence[Tensor]:
    """Apply layers that all read ``x [..., in]``.

    A kind of layer that has a cheaper way of doing so jointly, as adapted ones do, offers it as ``forward_together``.
    """
    joint = getattr(layers[0], "forward_together", None)
    return [layer(x) for layer in layers] if joint is None else joint(x, layers)


class RotaryEmbedding(nn.Module):
    """Rotary position embedding (Su et al. 2021, arXiv:2104.09864), rotate-half convention.

    ``inv_freq`` is a buffer of every attention layer because checkpoints hold it there; the table it gives is the
    same in all layers and is computed once a forward pass.
    """

    inv_freq: Tensor

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        exponent = torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim
        self.register_buffer("inv_freq", ROPE_BASE**-exponent)

    def table(self, length: int, dtype: torch.dtype, start: int = 0) -> RotaryTable:
        """Return the table of ``length`` positions from ``start``, computed in float32 and returned as ``dtype``."""
        positions = torch.arange(start, start + length, device=self.inv_freq.device, dtype=torch.float32)
        angles = torch.outer(positions, self.inv_freq.float())
        cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


class RMSNorm(nn.RMSNorm):
    """``x / √(mean(x²) + eps) · weight``."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, eps=RMS_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed ``[..., d]``."""
        return rms_norm(x, self.weight, RMS_EPS)


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions, through a fused kernel."""

    def __init__(self, d_model: int, nhead: int, dropout: float) -> None:
        super().__init__()
        self.nhead = nhead
        self.dropout = dropout
        self.q_proj = nn.Linear(d_model, d_model)
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.rope = RotaryEmbedding(d_model // nhead)

    def forward(
        self,
        x: Tensor,
        table: RotaryTable,
        mask: Tensor | None,
        causal: bool,
        cache: LayerCache | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: ``[B, L, d]``, or with ``lengths`` packed, ``[N, d]``.
            table: rotary table of the L positions.
            mask: bool, broadcast to ``[B, H, L, keys]``, True where a key may be seen; None where all may. Not with
                ``causal``.
            causal: position i sees positions 0 to i only.
            cache: keys and values of the positions before these, which it then holds too.
            lengths: positions of each clip, where x is packed; L is then the largest. Only with ``causal``.
        """
        projected = read_together(x, (self.q_proj, self.k_proj, self.v_proj))
        if lengths is not None:
            longest = max(lengths)
            projected = [unpacked(part, lengths, longest) for part in projected]
        query, key, value = map(self._heads, projected)
        query, key = rotate(query, table), rotate(key, table)
        if cache is not None:
            key, value = cache.extend(key, value)
        attended = attention(query, key, value, mask, causal, self.dropout if self.training else 0.0)
        attended = attended.transpose(1, 2).flatten(2)
        return self.out_proj(attended if lengths is None else packed(attended, lengths))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.nhead, -1)).transpose(1, 2)


class SwiGLU(nn.Module):
    """Gated feed-forward block without biases (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(d_model, 4 * d_model, bias=False)
        self.value_proj = nn.Linear(d_model, 4 * d_model, bias=False)
        self.output_proj = nn.Linear(4 * d_model, d_model, bias=False)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``output(dropout(silu(gate(x)) · value(x)))``, in the shape of x."""
        gate, value = read_together(x, (self.gate_proj, self.value_proj))
        return self.output_proj(self.dropout(F.silu(gate) * value))


class EncoderLayer(nn.Module):
    """Pre-norm layer: ``x += dropout(attention(norm1(x)))``, then ``x += ffn(norm2(x))``.

    The sum x keeps its own precision; what is added to it is computed in that of the weights or of an active autocast.
    """

    def __init__(self, d_model: int, nhead: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = SelfAttention(d_model, nhead, dropout)
        self.ffn = SwiGLU(d_model, dropout)
        self.norm1 = RMSNorm(d_model)
        self.norm2 = RMSNorm(d_model)
        self.dropout1 = Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        table: RotaryTable,
        mask: Tensor | None,
        causal: bool,
        cache: LayerCache | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the layer's output in the shape of x; arguments as of :meth:`SelfAttention.forward`."""
        dtype = self._dtype(x.device.type)
        x = x + self.dropout1(self.self_attn(self.norm1(x).to(dtype), table, mask, causal, cache, lengths))
        return x + self.ffn(self.norm2(x).to(dtype))

    def _dtype(self, device: str) -> torch.dtype:
        """What the products are computed in."""
        if torch.is_autocast_enabled(device):
            return torch.get_autocast_dtype(device)
        return self.self_attn.q_proj.weight.dtype


class Encoder(nn.Module):
    """The stack of layers; there is no norm after the last one."""

    def __init__(self, d_model: int, nhead: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(d_model, nhead, dropout) for _ in range(num_layers))

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None,
        causal: bool,
        cache: KeyValueCache | None = None,
        *,
        first: int = 0,
        end: int | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the hidden states, ``[B, L, d]``.

        Args:
            x: ``[B, L, d]``.
            mask: as of :meth:`SelfAttention.forward`.
            causal: likewise.
            cache: of the positions before these; only with ``causal`` and without a mask.
            first: number of the first layer that computes; ``x`` is then the output of the one below it.
            end: number of the layer before which to stop; None: after the last.
            lengths: positions of each clip before its padding, which is then left out of all that a layer does to each
                position alone, and is zero in what is returned. Only with ``causal``.
        """
        past = 0 if cache is None else cache.length
        if past:
            # The kernel's own causal mask supposes that queries and keys begin at the same position.
            mask, causal = new_visible(past, x.shape[1], x.device), False
        rope = self.layers[0].self_attn.rope  # type: ignore[union-attr]
        positions = longest = x.shape[1]
        if lengths is not None:
            positions, x = max(lengths), packed(x, lengths)
        table = rope.table(positions, x.dtype, past)  # type: ignore[union-attr,operator]
        for index, layer in list(enumerate(self.layers))[first:end]:
            x = layer(x, table, mask, causal, None if cache is None else cache.layer(index), lengths)
        return x if lengths is None else unpacked(x, lengths, longest)
