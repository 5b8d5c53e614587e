import pytest
import torch
from torch import Tensor

from stickgen.model.code_bank import CodeBank
from stickgen.model.motion_code import WIDTH, mirrored_code


def texts(*directions: int) -> Tensor:
    """Unit vectors as wide as a text embedding with room for a code."""
    rows = torch.zeros(len(directions), 8 + WIDTH)
    rows[range(len(directions)), list(directions)] = 1
    return rows


def bank() -> CodeBank:
    """Captions 0 and 1, with two codes and one."""
    codes = [torch.full((WIDTH,), value) for value in (0.1, 0.2, 0.9)]
    return CodeBank.of(list(texts(0, 0, 1)), codes)


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
    assert both.of_base == 2
    base = both.below_adapter()
    assert all(
        torch.equal(getattr(base, name), getattr(bank(), name)) for name in ("texts", "codes", "text_of", "bones")
    )
    assert base.of_base == 0


def near(*cosines: float) -> torch.Tensor:
    """A text of these likenesses to captions 0, 1, …"""
    text = torch.zeros(1, 8 + WIDTH)
    text[0, : len(cosines)] = torch.tensor(cosines)
    text[0, 7] = (1 - text.square().sum()).sqrt()
    return text


def test_an_adapters_style_is_drawn_beside_its_bases_pace() -> None:
    """As of a run, and of a giant's walk, for a giant's run."""
    styled = CodeBank.of(list(texts(2)), [torch.full((WIDTH,), -0.5)], [torch.tensor([1.1] * 5)])
    both = bank() + styled
    for seed in (None, 0):
        codes, bones = both.draw(near(0.0, 0.65, 0.6), seed)
        assert bones.tolist() == [pytest.approx([1.1] * 5)]
        assert codes[0, [0, 1, 2, 24, 25, 26, 27]].tolist() == pytest.approx([0.9] * 7), "the base's pace"
        rest = [place for place in range(WIDTH) if place not in (0, 1, 2, 24, 25, 26, 27)]
        assert codes[0, rest].tolist() == pytest.approx([-0.5] * len(rest))
    assert both.draw(near(0.0, 0.8, 0.4), None).codes.unique().tolist() == [pytest.approx(0.9)], "too far"
    assert both.draw(near(0.0, 0.4, 0.6), None).codes.unique().tolist() == [pytest.approx(-0.5)], "the nearest of all"
    given = torch.full((1, WIDTH), 0.9)
    assert both.draw(near(0.0, 0.65, 0.6), None, given).codes.unique().tolist() == [pytest.approx(0.9)]
    merged = CodeBank.from_plain(both.to_plain())
    torch.testing.assert_close(merged.draw(near(0.0, 0.65, 0.6)).codes, codes, atol=1e-3, rtol=0)


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
        {"codes": None}, {"bones": "AAAA"}, {"bones": ""}, {"of_base": 3}, {"of_base": -1}, {"of_base": "2"},
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


def test_frames_that_go_the_other_way_draw_a_code_in_a_mirror() -> None:
    code = torch.rand(WIDTH, generator=torch.Generator().manual_seed(0))
    bones = torch.tensor([1.0, 0.9, 1.1, 0.95, 1.05])
    one = CodeBank.of(list(texts(0)), [code], [bones])
    for seed in (None, 0):
        drawn = one.draw(texts(0), seed, mirrored_code(code)[None])
        assert torch.equal(drawn.codes[0], mirrored_code(code))
        assert drawn.bones.tolist() == [pytest.approx([1.0, 1.1, 0.9, 1.05, 0.95])], "its left limbs are the right ones"
        assert torch.equal(one.draw(texts(0), seed, code[None]).codes[0], code)


def test_a_mirror_image_of_an_adapters_code_is_drawn_with_its_bones() -> None:
    generator = torch.Generator().manual_seed(0)
    base, styled = (torch.rand(WIDTH, generator=generator) for _ in range(2))
    bones = torch.tensor([1.0, 0.9, 1.1, 0.95, 1.05])
    both = CodeBank.of(list(texts(0)), [base]) + CodeBank.of(list(texts(1)), [styled], [bones])
    drawn = both.draw(texts(1), given=mirrored_code(styled)[None])
    assert torch.equal(drawn.codes[0], mirrored_code(styled))
    assert drawn.bones.tolist() == [pytest.approx([1.0, 1.1, 0.9, 1.05, 0.95])]
    (code,) = both.draw(texts(0), given=mirrored_code(styled)[None]).codes
    assert any(torch.equal(code, own) for own in (base, mirrored_code(base))), "a caption keeps to its own codes"


def test_a_caption_that_adds_a_view_is_hardly_drawn() -> None:
    """The likeness 0.93 is that of a caption and the same with ", seen at an angle" in the shipped base's encoder."""
    plain, angled = texts(0)[0], near(0.93)[0]
    views = CodeBank.of([plain, angled], [torch.full((WIDTH,), value) for value in (0.0, 0.5)])
    drawn = [float(views.draw(texts(0), seed).codes[0, 0]) for seed in range(200)]
    assert drawn.count(0.5) <= 4
