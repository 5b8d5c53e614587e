import pytest
import torch
from torch import Tensor

from stickgen.data.augment import mirrored
from stickgen.model.motion_code import (
    LARGEST,
    SIZE,
    WIDTH,
    advance,
    log_likelihood,
    mirrored_code,
    motion_code,
    with_code,
    without,
)
from stickgen.motion.skeleton import to_stick_5
from stickgen.sample import sample_sequences


def clip(action: str, dim: int = 20) -> Tensor:
    return sample_sequences(1, actions=[action], styles=["neutral"], frames=(80, 80), dim=dim)[0]["motion"]


def texts(*directions: int) -> Tensor:
    """Unit vectors as wide as a text embedding with room for a code."""
    rows = torch.zeros(len(directions), 8 + WIDTH)
    rows[range(len(directions)), list(directions)] = 1
    return rows


def test_a_code_does_not_depend_on_place_but_on_direction_and_action() -> None:
    walk = clip("walk")
    shifted = walk.clone()
    shifted[:, 0::2] += 5
    torch.testing.assert_close(motion_code(shifted), motion_code(walk), atol=1e-4, rtol=0)
    assert float(advance(motion_code(walk)).abs()) > 0.1
    torch.testing.assert_close(advance(motion_code(mirrored(walk))), -advance(motion_code(walk)))
    assert float((motion_code(walk) - motion_code(clip("wave"))).norm()) > 0.5


def test_both_figures_have_the_code_of_the_smaller_one() -> None:
    large = clip("walk", 48)
    torch.testing.assert_close(motion_code(large), motion_code(to_stick_5(large)))


@pytest.mark.parametrize("dim", [20, 48])
def test_the_code_of_a_mirror_image_is_the_code_in_a_mirror(dim: int) -> None:
    walk = clip("walk", dim)
    walk += 0.05 * torch.randn(walk.shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(motion_code(mirrored(walk)), mirrored_code(motion_code(walk)))


def test_a_clip_is_the_likeliest_to_have_its_own_frames() -> None:
    clips = [clip(action) for action in ("walk", "run", "wave")]
    clips.append(mirrored(clips[0]))
    codes = torch.stack([motion_code(motion) for motion in clips])
    moments = torch.stack([motion_code(motion[30:40]) for motion in clips])
    likely = log_likelihood(moments, codes)
    assert likely.argmax(dim=1).tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(log_likelihood(mirrored_code(moments), mirrored_code(codes)), likely)


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
