from collections import Counter

import numpy as np
import pytest
import torch

from stickgen.data.sequences import clips_from_sequences
from stickgen.errors import DataError
from stickgen.motion.actions import action_index
from stickgen.motion.skeleton import FPS, STICK_12, to_stick_5
from stickgen.sample import ACTIONS_OF_SAMPLE, SAMPLE_INFO, STYLES, sample_sequences
from stickgen.sample.captions import CAPTIONS


@pytest.mark.parametrize("dim", [20, 48])
def test_sequences_are_valid_clean_clips(dim: int) -> None:
    sequences = sample_sequences(120, dim=dim)
    clips = clips_from_sequences(sequences, "sample")
    assert len(clips) == 120
    for sequence, clip in zip(sequences, clips, strict=True):
        assert clip.motion.shape == (clip.length, dim)
        assert 60 <= clip.length <= 125
        assert clip.embedding.shape == (1024,)
        assert clip.embedding.norm().item() == pytest.approx(1.0, abs=1e-5)
        assert clip.actions is not None
        assert set(clip.actions.tolist()) == {action_index(sequence["meta"]["action"])}
        assert clip.physics is not None
        assert clip.quality is not None
        assert clip.quality >= 0.8
        assert clip.source == "synthetic-sample"
        assert clip.take == sequence["meta"]["take"]
        assert clip.description in CAPTIONS[sequence["meta"]["action"]][sequence["meta"]["style"]]
        assert sequence["meta"]["fps"] == FPS


def test_layouts_show_the_same_motion() -> None:
    for small, large in zip(sample_sequences(10, dim=20), sample_sequences(10, dim=48), strict=True):
        torch.testing.assert_close(small["motion"], to_stick_5(large["motion"]))


def test_a_clip_depends_on_the_seed_and_its_index_alone() -> None:
    few, many, other = sample_sequences(7, seed=5), sample_sequences(20, seed=5), sample_sequences(7, seed=6)
    for a, b, c in zip(few, many, other, strict=False):
        assert torch.equal(a["motion"], b["motion"])
        assert a["description"] == b["description"]
        assert a["meta"] == b["meta"]
        assert a["motion"].shape != c["motion"].shape or not torch.equal(a["motion"], c["motion"])


def test_actions_and_styles_are_balanced() -> None:
    rounds = 2
    count = rounds * len(ACTIONS_OF_SAMPLE) * len(STYLES)
    pairs = Counter((s["meta"]["action"], s["meta"]["style"]) for s in sample_sequences(count))
    assert len(pairs) == len(ACTIONS_OF_SAMPLE) * len(STYLES)
    assert set(pairs.values()) == {rounds}


def test_a_take_is_one_body_in_several_actions() -> None:
    sequences = sample_sequences(30, styles=["neutral"], actions=["walk", "run", "sit", "kick"], dim=48)
    bones: dict[str, list[torch.Tensor]] = {}
    for sequence in sequences:
        lengths = STICK_12.segment_lengths(sequence["motion"])[0]
        bones.setdefault(sequence["meta"]["take"], []).append(lengths)
    assert len(bones) == 10
    for clips in bones.values():
        assert len(clips) == 3
        for lengths in clips[1:]:
            torch.testing.assert_close(lengths, clips[0], atol=1e-5, rtol=0)
    assert len({round(float(clips[0][0]), 6) for clips in bones.values()}) == 10


def test_restricted_to_styles_actions_and_lengths() -> None:
    sequences = sample_sequences(12, styles=["tired"], actions=["walk", "wave"], frames=(30, 30))
    assert {s["meta"]["style"] for s in sequences} == {"tired"}
    assert {s["meta"]["action"] for s in sequences} == {"walk", "wave"}
    assert {len(s["motion"]) for s in sequences} == {30}


def test_next_frame_statistics_are_those_of_motion_capture() -> None:
    sequences = sample_sequences(80)
    repeat = np.mean([s["motion"].diff(dim=0).square().mean().item() for s in sequences])
    constant_velocity = np.mean([s["motion"].diff(n=2, dim=0).square().mean().item() for s in sequences])
    assert 1e-4 < repeat < 6e-4
    assert 1e-5 < constant_velocity < 6e-5
    assert max(s["motion"].abs().max().item() for s in sequences) < 5


def _energy(action: str, style: str) -> float:
    sequences = sample_sequences(12, actions=[action], styles=[style], seed=1)
    return float(np.mean([s["motion"].diff(dim=0).square().mean().item() for s in sequences]))


@pytest.mark.parametrize("action", [a for a in ACTIONS_OF_SAMPLE if a not in ("idle", "sit")])
def test_styles_differ_in_how_much_moves(action: str) -> None:
    energy = {style: _energy(action, style) for style in STYLES}
    assert energy["energetic"] > 1.2 * energy["neutral"]
    assert energy["tired"] < 0.6 * energy["neutral"]
    assert energy["sneaky"] < 0.6 * energy["neutral"]


def _pose(action: str, style: str) -> tuple[float, float]:
    """Mean height of the pelvis, and by how far the neck is in front of the pelvis, of a clip from the side."""
    sequences = sample_sequences(9, actions=[action], styles=[style], seed=2)
    frames = torch.cat([s["motion"] for s in sequences])
    return frames[:, 3].mean().item(), (frames[:, 0] - frames[:, 2]).abs().mean().item()


@pytest.mark.parametrize("action", ["walk", "run", "punch"])
def test_styles_differ_in_posture(action: str) -> None:
    (height, lean), (sneaky_height, sneaky_lean), (_, tired_lean) = (
        _pose(action, style) for style in ("neutral", "sneaky", "tired")
    )
    assert sneaky_height < height - 0.04
    assert sneaky_lean > lean + 0.05
    assert tired_lean > lean + 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clips": 0}, "clips: at least 1"),
        ({"clips": 1, "styles": ["drunk"]}, "styles: 'drunk' is not known; choose from neutral, tired"),
        ({"clips": 1, "actions": []}, "actions: at least one of idle, walk"),
        ({"clips": 1, "actions": ["fly"]}, "actions: 'fly' is not known"),
        ({"clips": 1, "dim": 21}, "20 or 48 expected"),
        ({"clips": 1, "frames": (90, 60)}, "frames: shortest and longest"),
    ],
)
def test_refuses_what_it_cannot_make(arguments: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sample_sequences(**arguments)


def test_info_names_the_encoder() -> None:
    assert SAMPLE_INFO["fps"] == FPS
    assert SAMPLE_INFO["text_encoder"]["id"] == "sentence-transformers/all-MiniLM-L6-v2"
