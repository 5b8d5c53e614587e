from dataclasses import replace

import pytest
import torch

from stickgen.config import AugmentConfig
from stickgen.data import code_bank as module
from stickgen.data.augment import BLEND_FRAMES, Variation, mirrored, vary
from stickgen.data.code_bank import code_bank
from stickgen.data.variations import CODE_START, CODE_SUMMARY, Varying
from stickgen.model.motion_code import WIDTH, motion_code
from stickgen.motion.skeleton import STICK_5
from stickgen.sample import sample_sequences
from tests.random_clips import random_clip


def clips() -> list:
    """A walk to +x, the same turned round, and a wave; embeddings with room for a code."""
    motions = [
        sample_sequences(1, actions=[a], styles=["neutral"], frames=(80, 80))[0]["motion"] for a in ("walk", "wave")
    ]
    walk = motions[0] if float(motions[0][-1, 2] - motions[0][0, 2]) > 0 else mirrored(motions[0])
    embeddings = torch.eye(3, 4 + WIDTH)
    return [
        replace(random_clip(80, seed=index), motion=motion, embedding=embeddings[index])
        for index, motion in enumerate((walk, mirrored(walk), motions[1]))
    ]


def test_clips_are_described_as_they_set_off_from_rest() -> None:
    bank = code_bank(clips())
    walk, turned, wave = bank.codes[torch.argsort(bank.text_of, descending=True)]
    assert float(walk[0]) > 0.1
    torch.testing.assert_close(turned, walk, atol=1e-5, rtol=0)
    torch.testing.assert_close(wave, motion_code(clips()[2].motion))


def test_a_turned_clips_left_bones_are_the_right_ones() -> None:
    walk = clips()[0].motion.clone()
    wrist = STICK_5.joint("left_wrist")
    joints = STICK_5.to_joints(walk)
    neck = joints[:, STICK_5.joint("neck")]
    joints[:, wrist] = neck + 0.9 * (joints[:, wrist] - neck)
    uneven = STICK_5.from_joints(joints)
    read = [replace(clip, motion=motion) for clip, motion in zip(clips(), (uneven, mirrored(uneven)), strict=False)]
    straight, turned = code_bank(read).bones
    assert float(straight[3]) < float(straight[4])
    torch.testing.assert_close(turned, straight)


def test_of_many_clips_every_nth_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CODES", 2)
    assert len(code_bank(clips()).codes) == 2


def test_a_varied_clip_is_described_from_where_its_rest_ends() -> None:
    walk = clips()[0]
    varied = vary(walk, Variation(rest=3, frames=250, code_summary=True, code_start=True))
    assert torch.equal(varied.embedding[:-WIDTH], walk.embedding[:-WIDTH])
    torch.testing.assert_close(varied.embedding[-WIDTH:], motion_code(varied.motion[3 + BLEND_FRAMES :]))
    torch.testing.assert_close(varied.embedding[-WIDTH:], motion_code(walk.motion), atol=1e-4, rtol=0)
    half = vary(walk, Variation(frames=250, code_summary=True))
    assert half.embedding[-2:].tolist() == [1.0, 0.0]


def test_some_clips_are_shown_without_either_part() -> None:
    varying = Varying(AugmentConfig(), 250, codes=True)
    assert varying.active
    drawn = [varying.draw(clips()[0], 0, epoch) for epoch in range(400)]
    assert sum(v.code_summary for v in drawn) / 400 == pytest.approx(CODE_SUMMARY, abs=0.08)
    assert sum(v.code_start for v in drawn) / 400 == pytest.approx(CODE_START, abs=0.08)
    off = Varying(AugmentConfig(speed=1.2), 250).draw(clips()[0], 0, 0)
    assert (off.code_summary, off.code_start) == (False, False)
    assert replace(varying.draw(clips()[0], 0, 0), code_summary=False, code_start=False) == (
        Varying(AugmentConfig(), 250).draw(clips()[0], 0, 0)
    ), "codes leave the other draws alone"
