from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stickgen.model import StickFigureTransformer

SMALL = {"d_model": 48, "nhead": 4, "num_layers": 2, "embedding_dim": 32}

Build = Callable[..., StickFigureTransformer]
Inputs = Callable[..., dict[str, Tensor]]


@pytest.fixture(scope="session")
def build() -> Build:
    """A small seeded model in eval mode; keyword arguments change its settings."""

    def make(seed: int = 0, **settings: Any) -> StickFigureTransformer:
        torch.manual_seed(seed)
        return StickFigureTransformer(**{**SMALL, **settings}).eval()

    return make


@pytest.fixture(scope="session")
def inputs() -> Inputs:
    """Arguments of a forward pass for ``clips`` clips of ``frames`` frames, with every condition."""

    def make(frames: int = 7, clips: int = 3, width: int = 20, seed: int = 1) -> dict[str, Tensor]:
        random = torch.Generator().manual_seed(seed)
        return {
            "motion": torch.randn(frames, clips, width, generator=random),
            "text_embedding": torch.randn(clips, 32, generator=random),
            "action_sequence": torch.randint(0, 64, (frames, clips), generator=random),
            "camera_data": torch.randn(frames, clips, 3, generator=random),
            "partner_motion": torch.randn(frames, clips, width, generator=random),
        }

    return make


@pytest.fixture(scope="session")
def reference(shared_fixtures: Path) -> dict[str, Any]:
    """Outputs of the reference system on seeded weights."""
    return torch.load(shared_fixtures / "fixture_small.pt", weights_only=True)
