from collections.abc import Callable
from typing import Any

import pytest
import torch

from stickgen.lora import adapted_layers, inject_lora_adapters
from stickgen.model import StickFigureTransformer

Build = Callable[..., StickFigureTransformer]


@pytest.fixture(scope="session")
def build() -> Build:
    """A small seeded causal model in eval mode, with adapters that do something where asked for."""

    def make(*, adapters: bool = False, **settings: Any) -> StickFigureTransformer:
        torch.manual_seed(0)
        sizes = {"d_model": 48, "nhead": 4, "num_layers": 2, "embedding_dim": 32}
        model = StickFigureTransformer(**{**sizes, "causal": True, "pose_scale": 0.05, **settings})
        if adapters:
            inject_lora_adapters(model, ["transformer_encoder", "pose_decoder"], 4, 8.0, 0.1)
            random = torch.Generator().manual_seed(3)
            with torch.no_grad():
                for layer in adapted_layers(model).values():
                    layer.lora_B.copy_(0.2 * torch.randn(layer.lora_B.shape, generator=random))
        return model.eval()

    return make
