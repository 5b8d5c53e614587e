import pytest
import torch

from stickgen.dropout import Dropout, keep_mask, kept


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.9])
def test_mask_keeps_the_right_share_and_the_factor_the_mean(probability: float) -> None:
    torch.manual_seed(0)
    mask, factor = keep_mask(torch.Size((1000, 1001)), probability, torch.device("cpu"))
    assert mask is not None
    share = mask.float().mean().item()
    assert abs(share - (1 - probability)) < 5 * (probability * (1 - probability) / mask.numel()) ** 0.5
    assert factor == pytest.approx(1 / (1 - probability), rel=1e-3)


def test_a_probability_next_to_one_still_keeps_a_few() -> None:
    mask, factor = keep_mask(torch.Size((10**6,)), 0.9999999, torch.device("cpu"))
    assert mask is not None
    assert 0 < mask.sum() < 100
    assert factor == 2**16


def test_entries_of_a_mask_do_not_depend_on_each_other() -> None:
    torch.manual_seed(0)
    mask, _ = keep_mask(torch.Size((400_000,)), 0.5, torch.device("cpu"))
    assert mask is not None
    signs = mask.float() * 2 - 1
    for lag in (1, 2, 3, 4, 5):
        assert abs((signs[lag:] * signs[:-lag]).mean().item()) < 5 / signs.numel() ** 0.5


def test_nothing_is_drawn_without_dropout() -> None:
    before = torch.get_rng_state()
    assert keep_mask(torch.Size((10,)), 0.0, torch.device("cpu")) == (None, 1.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_module_is_torchs_dropout_in_every_way_but_the_draw() -> None:
    torch.manual_seed(0)
    dropout = Dropout(0.2)
    x = torch.randn(300, 400, requires_grad=True)
    y = dropout(x)
    kept = y != 0
    assert abs(kept.float().mean().item() - 0.8) < 0.01
    torch.testing.assert_close(y[kept], (x / 0.8)[kept], rtol=1e-4, atol=0)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, kept / 0.8, rtol=1e-4, atol=0)
    assert dropout.eval()(x) is x
    assert isinstance(dropout, torch.nn.Dropout)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_width_of_the_input_is_kept(dtype: torch.dtype) -> None:
    assert Dropout(0.5)(torch.ones(8, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_draw_does_not_depend_on_the_width(dtype: torch.dtype) -> None:
    x = torch.randn(301, 7).to(dtype)
    x[0], x[1] = torch.inf, torch.nan
    torch.manual_seed(3)
    plain, _ = keep_mask(x.shape, 0.4, x.device)
    torch.manual_seed(3)
    mask, _ = keep_mask(x.shape, 0.4, x.device, dtype)
    assert plain is not None
    assert mask is not None
    assert torch.equal(mask.bool(), plain)
    wanted = torch.where(plain, x, 0)
    torch.testing.assert_close(kept(x, mask)[2:], wanted[2:], rtol=0, atol=0)
    assert torch.equal(kept(x, mask, out=x)[2:], wanted[2:])
    # A mask that was drawn for wider numbers fits too, as under autocast.
    torch.testing.assert_close(kept(torch.ones(301, 7), mask), plain.float())
