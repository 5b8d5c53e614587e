import importlib.util
from itertools import pairwise
from typing import Any

import pytest
import torch

from stickgen.data.augment import mirrored
from stickgen.data.sequences import clips_from_sequences
from stickgen.evaluation.recognition import STRIDE, WINDOW, Recogniser, _windows, is_installed, label_of
from stickgen.sample import sample_sequences
from tests.random_clips import random_clip

CLIPS = clips_from_sequences(sample_sequences(80, seed=0, styles=["neutral", "sneaky"], actions=["walk", "wave"]), "x")


def split() -> tuple[list[Any], list[Any]]:
    takes = sorted({clip.take for clip in CLIPS})
    held_out = set(takes[::4])
    return [c for c in CLIPS if c.take not in held_out], [c for c in CLIPS if c.take in held_out]


@pytest.mark.parametrize("kind", ["action", "style"])
def test_clips_of_other_takes_are_recognised_whichever_way_they_go(kind: str) -> None:
    train, test = split()
    recogniser = Recogniser.fit(train, kind)
    assert recogniser is not None
    assert set(recogniser.classes) == {label_of(clip, kind) for clip in CLIPS}
    for turn in (lambda motion: motion, mirrored):
        right = sum(recogniser.guess(turn(clip.motion)) == label_of(clip, kind) for clip in test)
        assert right >= 0.9 * len(test)


def test_several_classes_are_those_of_scikit_learn() -> None:
    clips = clips_from_sequences(sample_sequences(60, seed=1, styles=["neutral", "sneaky", "tired"]), "x")
    recogniser = Recogniser.fit(clips, "style")
    assert recogniser is not None
    assert recogniser.classes == ("neutral", "sneaky", "tired")
    right = sum(recogniser.guess(clip.motion) == clip.style for clip in clips)
    assert right > 0.8 * len(clips)


def test_a_label_of_a_single_take_is_no_class() -> None:
    walks, waves = ([c for c in CLIPS if label_of(c, "action") == name] for name in ("walk", "wave"))
    of_one_take = [clip for clip in waves if clip.take == waves[0].take]
    assert Recogniser.fit([*walks, *of_one_take], "action") is None
    assert Recogniser.fit([random_clip(30, seed=i, actions=False) for i in range(4)], "action") is None


def test_motion_that_is_not_finite_is_recognised_as_nothing() -> None:
    recogniser = Recogniser.fit(CLIPS, "action")
    assert recogniser is not None
    motion = CLIPS[0].motion.clone()
    motion[5, 3] = torch.nan
    assert recogniser.guess(motion) is None


def test_windows_cover_the_clip() -> None:
    for frames in (2, WINDOW, WINDOW + 1, 133, 250):
        motion = torch.arange(float(frames))[:, None]
        windows = _windows(motion)
        starts = [int(window[0]) for window in windows]
        assert starts[0] == 0
        assert int(windows[-1][-1]) == frames - 1
        assert all(len(window) == min(frames, WINDOW) for window in windows)
        assert all(0 < b - a <= STRIDE for a, b in pairwise(starts))


def test_without_scikit_learn_nothing_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert Recogniser.fit(CLIPS, "action") is None
