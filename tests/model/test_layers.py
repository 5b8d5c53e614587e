import math

import torch
import torch.nn.functional as F

from stickgen.model.layers import EncoderLayer, RotaryEmbedding, SelfAttention, SwiGLU, rotate


def test_rotary_angles_follow_the_formula() -> None:
    rope = RotaryEmbedding(12)
    expected = torch.tensor([10000 ** (-2 * i / 12) for i in range(6)])
    torch.testing.assert_close(rope.inv_freq, expected)
    cos, sin = rope.table(5, torch.float64)
    angles = torch.outer(torch.arange(5.0), expected)
    torch.testing.assert_close(cos, angles.cos().double().repeat(1, 2))
    torch.testing.assert_close(sin, torch.cat((-angles.sin(), angles.sin()), dim=-1).double())


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    torch.manual_seed(0)
    q, k = torch.randn(8), torch.randn(8)
    table = RotaryEmbedding(8).table(30, torch.float32)
    turned_q, turned_k = (rotate(v.expand(1, 1, 30, 8), table)[0, 0] for v in (q, k))
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm().expand(30))
    torch.testing.assert_close(turned_q[3] @ turned_k[1], turned_q[27] @ turned_k[25], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(turned_q[3] @ turned_k[1], turned_q[3] @ turned_k[2], atol=1e-3)


def test_rotation_turns_halves_against_each_other() -> None:
    table = RotaryEmbedding(2).table(2, torch.float64)
    turned = rotate(torch.tensor([1.0, 0.0], dtype=torch.float64).expand(1, 1, 2, 2), table)[0, 0, 1]
    torch.testing.assert_close(turned, torch.tensor([math.cos(1), math.sin(1)], dtype=torch.float64))


def test_long_sequences_keep_their_angles_in_a_half_precision_model() -> None:
    rope = RotaryEmbedding(8)
    exact, _ = rope.table(300, torch.float32)
    coarse, _ = rope.table(300, torch.bfloat16)
    torch.testing.assert_close(coarse.float(), exact, rtol=0, atol=2**-8)


def attention_by_hand(block: SelfAttention, x: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    B, L, d = x.shape
    size = d // block.nhead
    table = block.rope.table(L, x.dtype)
    q, k, v = (
        proj(x).view(B, L, block.nhead, size).transpose(1, 2) for proj in (block.q_proj, block.k_proj, block.v_proj)
    )
    scores = rotate(q, table) @ rotate(k, table).transpose(-1, -2) / math.sqrt(size)
    weights = scores.masked_fill(~visible, -math.inf).softmax(-1)
    return block.out_proj((weights @ v).transpose(1, 2).reshape(B, L, d))


def test_attention_equals_the_formula_plain_masked_and_causal() -> None:
    torch.manual_seed(0)
    block = SelfAttention(24, 3, dropout=0.5).eval()
    x = torch.randn(2, 6, 24)
    table = block.rope.table(6, x.dtype)
    everything = torch.ones(6, 6, dtype=torch.bool)
    keys = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 0]], dtype=torch.bool)[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(block(x, table, None, False), attention_by_hand(block, x, everything))
        torch.testing.assert_close(block(x, table, keys, False), attention_by_hand(block, x, keys))
        torch.testing.assert_close(block(x, table, None, True), attention_by_hand(block, x, everything.tril()))


def test_swiglu_and_the_pre_norm_layer_equal_their_formulas() -> None:
    torch.manual_seed(0)
    layer = EncoderLayer(16, 2, dropout=0.3).eval()
    torch.nn.init.uniform_(layer.norm1.weight, 0.5, 2)
    torch.nn.init.uniform_(layer.norm2.weight, 0.5, 2)
    x = torch.randn(2, 5, 16)

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight

    table = layer.self_attn.rope.table(5, x.dtype)
    with torch.no_grad():
        middle = x + layer.self_attn(norm(x, layer.norm1.weight), table, None, False)
        inner = norm(middle, layer.norm2.weight)
        ffn = layer.ffn
        gated = F.silu(inner @ ffn.gate_proj.weight.T) * (inner @ ffn.value_proj.weight.T)
        torch.testing.assert_close(layer(x, table, None, False), middle + gated @ ffn.output_proj.weight.T)


def test_a_silent_frame_is_no_division_by_zero() -> None:
    layer = EncoderLayer(16, 2, dropout=0.0)
    x = torch.zeros(1, 3, 16)
    assert torch.isfinite(layer(x, layer.self_attn.rope.table(3, x.dtype), None, True)).all()


def test_swiglu_has_no_biases() -> None:
    assert [name for name, _ in SwiGLU(8, 0.0).named_parameters()] == [
        "gate_proj.weight",
        "value_proj.weight",
        "output_proj.weight",
    ]
