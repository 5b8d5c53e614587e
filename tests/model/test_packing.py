import pytest
import torch
from torch import Tensor, nn

from stickgen.lora import inject_lora_adapters
from stickgen.model import StickFigureTransformer
from stickgen.model.packing import packed, unpacked

LENGTHS = [3, 7, 1]


def test_packing_and_unpacking_lay_positions_end_to_end_and_back() -> None:
    clips = torch.arange(3 * 8 * 2, dtype=torch.float64).view(3, 8, 2)
    rows = packed(clips, LENGTHS)
    assert torch.equal(rows, torch.cat((clips[0, :3], clips[1, :7], clips[2, :1])))
    back = unpacked(rows, LENGTHS, 8)
    real = torch.arange(8) < torch.tensor(LENGTHS)[:, None]
    assert torch.equal(back, clips * real[..., None])


def test_gradients_are_those_of_the_functions() -> None:
    x = torch.randn(3, 8, 2, dtype=torch.float64, requires_grad=True)
    rows = torch.randn(sum(LENGTHS), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: packed(x, LENGTHS), x)
    assert torch.autograd.gradcheck(lambda rows: unpacked(rows, LENGTHS, 8), rows)


def base(**settings: bool) -> StickFigureTransformer:
    torch.manual_seed(0)
    model = StickFigureTransformer(20, 16, 2, 3, embedding_dim=8, dropout=0, **{"causal": True, **settings})
    return model.double()


def gradients(model: StickFigureTransformer, padding_mask: Tensor, below: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the poses of real frames, and what their squares ask of the weights."""
    torch.manual_seed(1)
    motion, text = torch.randn(9, 3, 20).double(), torch.randn(3, 8).double()
    stored = None
    if below:
        with torch.no_grad():
            stored = below, model.hidden_below(below, motion, text, padding_mask=padding_mask)
    model.zero_grad()
    poses = model(motion, text, padding_mask=padding_mask, below=stored)[~padding_mask.T]
    poses.square().sum().backward()
    return poses.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("adapters", [None, "lora", "dora"])
@pytest.mark.parametrize("below", [0, 2])
def test_training_without_padding_gives_the_same_poses_and_gradients(
    below: int, adapters: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    padding_mask = torch.arange(9) >= torch.tensor([4, 9, 2])[:, None]
    rows: list[int] = []
    model = base()
    if adapters:
        inject_lora_adapters(model, rank=2, dropout=0, kind=adapters)
    last = model.transformer_encoder.layers[2]
    assert isinstance(last, nn.Module)
    last.register_forward_hook(lambda layer, inputs, output: rows.append(output.shape[:-1].numel()))
    poses, grads = gradients(model, padding_mask, below)
    monkeypatch.setattr(model, "_lengths", lambda *_: None)
    expected, plain = gradients(model, padding_mask, below)
    assert rows == [4 + 9 + 2 + 3, 3 * 10]
    torch.testing.assert_close(poses, expected)
    assert grads.keys() == plain.keys()
    for name, gradient in grads.items():
        torch.testing.assert_close(gradient, plain[name])


@pytest.mark.parametrize("reason", ["evaluation", "bidirectional", "no padding", "a GPU"])
def test_padding_stays_where_it_is_needed_or_costs_nothing(reason: str) -> None:
    lengths = [9, 9] if reason == "no padding" else [9, 4]
    padding_mask = torch.arange(9) >= torch.tensor(lengths)[:, None]
    model = base(causal=reason != "bidirectional").train(reason != "evaluation")
    mask = padding_mask.to("meta") if reason == "a GPU" else padding_mask
    assert model._lengths(mask, model.causal) is None


def test_a_mask_with_padding_before_real_frames_is_refused() -> None:
    mask = torch.zeros(3, 9, dtype=torch.bool)
    mask[1, 2] = True
    with pytest.raises(ValueError, match="padding must follow"):
        base().hidden_below(1, torch.zeros(9, 3, 20).double(), torch.zeros(3, 8).double(), padding_mask=mask)
