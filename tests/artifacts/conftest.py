from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stickgen.artifacts.adapter import Adapter
from stickgen.artifacts.base import Base, load_base, save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.lora import LoRASettings, adapted_layers, get_lora_state_dict, inject_lora_adapters
from stickgen.model import StickFigureTransformer

SIZES = {"d_model": 24, "nhead": 2, "num_layers": 2, "embedding_dim": 12}


@pytest.fixture(scope="session")
def build() -> Callable[..., StickFigureTransformer]:
    """A very small seeded model in eval mode; keyword arguments change its settings."""

    def make(seed: int = 0, **settings: Any) -> StickFigureTransformer:
        torch.manual_seed(seed)
        return StickFigureTransformer(**{**SIZES, **settings}).eval()

    return make


@pytest.fixture(scope="session")
def arguments() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {"motion": torch.randn(5, 2, 20, generator=random), "text_embedding": torch.randn(2, 12, generator=random)}


@pytest.fixture
def base(build: Callable[..., StickFigureTransformer], tmp_path: Path) -> Base:
    """A causal velocity base that was written and read again."""
    model = build(causal=True, pose_output="velocity", pose_scale=0.01)
    record = BaseRecord({}, objective="causal", origin={"seed": 0})
    save_base(model, record, tmp_path / "base.safetensors")
    return load_base(tmp_path / "base.safetensors")


@pytest.fixture
def adapter(build: Callable[..., StickFigureTransformer], base: Base) -> Adapter:
    """A trained adapter of that base: two targets, rank 3."""
    model = inject_lora_adapters(build(), ["self_attn", "pose_decoder"], rank=3, alpha=6.0, dropout=0.1)
    random = torch.Generator().manual_seed(2)
    for layer in adapted_layers(model).values():
        nn.init.normal_(layer.lora_B, std=0.1, generator=random)
    return Adapter(
        state=get_lora_state_dict(model),
        settings=LoRASettings(3, 6.0, 0.1),
        base_fingerprint=base.fingerprint,
        base_path=str(base.path),
        origin={"seed": 2},
    )
