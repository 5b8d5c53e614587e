from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stickgen.lora import adapted_layers, inject_lora_adapters
from stickgen.model import StickFigureTransformer

Build = Callable[..., nn.Module]


class ToyNet(nn.Module):
    """A model that is nobody's transformer: a convolution, a nested block, a Linear without bias, a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm1d(4)
        self.block = nn.ModuleDict({"first": nn.Linear(4, 6, bias=False), "second": nn.Linear(6, 6)})
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x)).transpose(1, 2)
        return self.head(torch.tanh(self.block["second"](torch.relu(self.block["first"](x)))))


@pytest.fixture
def toy() -> ToyNet:
    torch.manual_seed(0)
    return ToyNet().eval()


@pytest.fixture
def toy_input() -> Tensor:
    return torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def transformer() -> Callable[[], StickFigureTransformer]:
    """A small seeded base model in eval mode."""

    def make(seed: int = 0, **settings: Any) -> StickFigureTransformer:
        torch.manual_seed(seed)
        sizes = {"d_model": 48, "nhead": 4, "num_layers": 2, "embedding_dim": 32}
        return StickFigureTransformer(**{**sizes, **settings}).eval()

    return make


@pytest.fixture(scope="session")
def arguments() -> dict[str, Tensor]:
    """Arguments of the small base's forward pass."""
    random = torch.Generator().manual_seed(1)
    return {"motion": torch.randn(6, 2, 20, generator=random), "text_embedding": torch.randn(2, 32, generator=random)}


@pytest.fixture(scope="session")
def trained() -> Callable[..., Any]:
    """Inject adapters and give them random values, as if they had been trained."""

    def make(model: nn.Module, targets: list[str], seed: int = 5, **settings: Any) -> Any:
        inject_lora_adapters(model, targets, **{"rank": 4, "alpha": 6.0, "dropout": 0.0, **settings})
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in adapted_layers(model).values():
                for factor in layer.factors().values():
                    if factor.requires_grad and factor.ndim == 2:
                        factor.copy_(0.3 * torch.randn(factor.shape, generator=random))
        return model

    return make


@pytest.fixture(scope="session")
def reference(shared_fixtures: Path) -> dict[str, Any]:
    """Outputs of the reference system on seeded weights."""
    return torch.load(shared_fixtures / "fixture_small.pt", weights_only=True)
