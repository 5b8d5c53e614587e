"""The model card's usage, as it is written there."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stickgen.lora import (
    adapted_layers,
    get_lora_state_dict,
    inject_lora_adapters,
    load_lora_state_dict,
    merge_lora_weights,
)
from stickgen.model import StickFigureTransformer

SIZES = {"input_dim": 20, "d_model": 48, "nhead": 4, "num_layers": 2, "embedding_dim": 32}


@pytest.fixture(scope="module")
def arguments() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(5, 2, 20, generator=random), torch.randn(2, 32, generator=random)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StickFigureTransformer:
    """Leave base.pth and lora.pth in the working directory; return the model they make."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    model = StickFigureTransformer(**SIZES)
    torch.save(model.state_dict(), "base.pth")
    inject_lora_adapters(model, target_modules=["transformer_encoder", "pose_decoder"], rank=8, alpha=16)
    for layer in adapted_layers(model).values():
        nn.init.normal_(layer.lora_B, std=0.1)
    torch.save(get_lora_state_dict(model), "lora.pth")
    return model.eval()


def test_using_an_adapter(trained: StickFigureTransformer, arguments: tuple[Tensor, Tensor]) -> None:
    model = StickFigureTransformer(input_dim=20, d_model=48, nhead=4, num_layers=2, embedding_dim=32)
    model.load_state_dict(torch.load("base.pth", weights_only=True))
    inject_lora_adapters(model, target_modules=["transformer_encoder", "pose_decoder"], rank=8, alpha=16)
    load_lora_state_dict(model, torch.load("lora.pth"))
    model.eval()

    assert torch.equal(model(*arguments), trained(*arguments))


def test_merging_for_deployment(trained: StickFigureTransformer, arguments: tuple[Tensor, Tensor]) -> None:
    with torch.no_grad():
        expected = trained(*arguments)
    model = trained
    merge_lora_weights(model)
    torch.save(model.state_dict(), "merged_model.pth")

    fresh = StickFigureTransformer(**SIZES)
    fresh.load_state_dict(torch.load("merged_model.pth"), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(fresh.eval()(*arguments), expected, rtol=1e-5, atol=1e-5)


def test_the_default_sizes_take_the_same_way(tmp_path: Path) -> None:
    model = inject_lora_adapters(StickFigureTransformer())
    torch.save(merge_lora_weights(model).state_dict(), tmp_path / "merged_model.pth")
    with torch.device("meta"):
        fresh = StickFigureTransformer()
    fresh.load_state_dict(torch.load(tmp_path / "merged_model.pth", mmap=True), strict=True, assign=True)
    assert sum(p.numel() for p in fresh.parameters()) == 20_595_646
