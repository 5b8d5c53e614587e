import pytest
import torch
from torch import Tensor

from stickgen.data.augment import mirrored
from stickgen.model.motion_code import LARGEST, SIZE, WIDTH, CodeBank, motion_code, with_code, without
from stickgen.motion.skeleton import to_stick_5
from stickgen.sample import sample_sequences


def clip(action: str, dim: int = 20) -> Tensor:
    return sample_sequences(1, actions=[action], styles=["neutral"], frames=(80, 80), dim=dim)[0]["motion"]


def texts(*directions: int) -> Tensor:
    """Unit vectors as wide as a text embedding with room for a code."""
    rows = torch.zeros(len(directions), 8 + WIDTH)
    rows[range(len(directions)), list(directions)] = 1
    return rows


def bank() -> CodeBank:
    """Captions 0 and 1, with two codes and one."""
    codes = [torch.full((WIDTH,), value) for value in (0.1, 0.2, 0.9)]
    return CodeBank.of(list(texts(0, 0, 1)), codes)


def test_a_code_does_not_depend_on_place_but_on_direction_and_action() -> None:
    walk = clip("walk")
    shifted = walk.clone()
    shifted[:, 0::2] += 5
    torch.testing.assert_close(motion_code(shifted), motion_code(walk), atol=1e-4, rtol=0)
    turned = motion_code(mirrored(walk))
    assert float(turned[0]) == pytest.approx(-float(motion_code(walk)[0]), rel=1e-4), "the mean speed turns round"
    assert float((motion_code(walk) - motion_code(clip("wave"))).norm()) > 0.5


def test_both_figures_have_the_code_of_the_smaller_one() -> None:
    large = clip("walk", 48)
    torch.testing.assert_close(motion_code(large), motion_code(to_stick_5(large)))


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_the_shortest_clips_and_wild_ones_have_finite_codes(frames: int) -> None:
    wild = 1e6 * torch.randn(frames, 20, generator=torch.Generator().manual_seed(0))
    for motion in (clip("run")[:frames], wild):
        code = motion_code(motion)
        assert code.shape == (WIDTH,)
        assert bool(torch.isfinite(code).all())
        assert float(code.abs().max()) <= 1.001 * max(LARGEST * SIZE, 1.0)


def test_parts_can_be_left_out() -> None:
    code = motion_code(clip("walk"))
    assert torch.equal(without(code), code)
    assert float(without(code, summary=True, start=True).abs().sum()) == 0
    rest = without(code, start=True)
    assert rest[-2:].tolist() == [1.0, 0.0]
    torch.testing.assert_close(rest + without(code, summary=True), code)


def test_a_code_takes_the_last_numbers_of_an_embedding() -> None:
    text, code = texts(3), torch.ones(1, WIDTH)
    made = with_code(text, code)
    assert torch.equal(made[:, :8], text[:, :8])
    assert torch.equal(made[:, 8:], code)


def test_a_prompt_draws_from_the_codes_of_its_nearest_caption() -> None:
    drawn = {round(float(bank().draw(texts(0), seed).codes[0, 0]), 1) for seed in range(30)}
    assert drawn == {0.1, 0.2}
    assert float(bank().draw(texts(1), 5).codes[0, 0]) == pytest.approx(0.9)
    codes = bank().draw(texts(0, 0, 1), 4).codes
    assert torch.equal(codes, bank().draw(texts(0, 0, 1), 4).codes), "a seed repeats"
    assert torch.equal(codes[:1], bank().draw(texts(0), 4).codes), "a prompt's does not depend on others"


def test_without_a_seed_the_most_typical_code_is_taken() -> None:
    codes = [torch.full((WIDTH,), value) for value in (0.0, 0.5, 0.6, 0.5)]
    typical = CodeBank.of(list(texts(0, 0, 0, 1)), codes).draw(texts(0)).codes
    assert float(typical[0, 0]) == pytest.approx(0.5)


def test_a_missing_caption_draws_among_all() -> None:
    drawn = {round(float(bank().draw(torch.zeros(1, 8 + WIDTH), seed).codes[0, 0]), 1) for seed in range(40)}
    assert drawn == {0.1, 0.2, 0.9}


def test_banks_add_up() -> None:
    other = CodeBank.of(list(texts(2)), [torch.full((WIDTH,), -0.5)])
    both = bank() + other
    assert float(both.draw(texts(2), 0).codes[0, 0]) == pytest.approx(-0.5)
    assert float(both.draw(texts(1), 0).codes[0, 0]) == pytest.approx(0.9)


def test_a_code_comes_with_the_bones_of_its_figure() -> None:
    tall = CodeBank.of(list(texts(2)), [torch.zeros(WIDTH)], [torch.tensor([0.9, 1.1, 1.1, 1.0, 1.0])])
    drawn = (bank() + tall).draw(texts(0, 2)).bones
    torch.testing.assert_close(drawn, torch.tensor([[1.0] * 5, [0.9, 1.1, 1.1, 1.0, 1.0]]))
    plain = tall.to_plain()
    torch.testing.assert_close(CodeBank.from_plain(plain).bones, tall.bones, atol=1e-3, rtol=0)
    tall.check_dim(20)
    with pytest.raises(ValueError, match="5 bones, 15 expected"):
        tall.check_dim(48)
    del plain["bones"]  # as former versions wrote it
    assert CodeBank.from_plain(plain).bones.tolist() == [[1.0]]


def test_a_bank_comes_back_from_plain_values() -> None:
    kept = CodeBank.from_plain(bank().to_plain())
    torch.testing.assert_close(kept.codes, bank().codes, atol=1e-3, rtol=0)
    torch.testing.assert_close(kept.texts, bank().texts)
    assert torch.equal(kept.text_of, bank().text_of)


@pytest.mark.parametrize(
    "change",
    [
        {"codes": "AAAA"}, {"texts": "*"}, {"text_of": [0, 0, -1]}, {"text_of": [0, 7, 1]}, {"width": 1},
        {"codes": None}, {"bones": "AAAA"}, {"bones": ""},
    ],
    ids=str,
)  # fmt: skip
def test_damaged_banks_are_refused(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, RuntimeError)):
        CodeBank.from_plain({**bank().to_plain(), **change})


def test_given_frames_prefer_codes_of_their_speed_within_the_caption() -> None:
    other = torch.zeros(1, WIDTH)
    other[0, 24:28] = 0.9  # as fast as the code of another caption
    assert float(bank().draw(texts(0), given=other).codes[0, 0]) == pytest.approx(0.2)
    near = torch.full((1, WIDTH), 0.1)
    assert float(bank().draw(texts(0), given=near).codes[0, 0]) == pytest.approx(0.1)
    codes = [torch.full((WIDTH,), value) for value in (-4.0, 4.0)]
    apart = CodeBank.of(list(texts(0, 0)), codes)
    drawn = [float(apart.draw(texts(0), seed, torch.full((1, WIDTH), 4.0)).codes[0, 0]) for seed in range(20)]
    assert drawn == [4.0] * 20
