from pathlib import Path

import numpy as np
import pytest
import torch

from stickgen.artifacts.model import load_model
from stickgen.config import DataConfig, SampleConfig
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.file import write_sequences
from stickgen.errors import ConfigError, DataError
from stickgen.generation import rollout
from stickgen.motion.skeleton import to_stick_5
from stickgen.render import Panel
from stickgen.reports.scenes import limb_errors, scenes_of_clips
from stickgen.sample import SAMPLE_INFO, sample_sequences
from tests.render.figures import walking
from tests.runs import make_base

DATA = DataConfig(sample=SampleConfig(clips=24, actions=["walk", "wave"]))


@pytest.mark.parametrize("dim", [20, 48])
def test_an_error_is_how_far_a_limb_is_off(dim: int) -> None:
    reference = walking(8, dim)
    lifted = reference.copy()
    ends = lifted.reshape(8, -1, 2, 2)
    if dim == 20:  # the left arm is the fourth segment: neck, wrist
        ends[3:, 3, 1] += [0.3, 0.4]
        wanted = 0.5 / 2
    else:  # the left upper arm and forearm are the fourth and fifth of them
        ends[3:, 3, 1] += [0.3, 0.4]
        ends[3:, 4, 0] += [0.3, 0.4]
        wanted = 2 * 0.5 / 4
    errors = limb_errors(Panel(lifted), Panel(reference))
    assert set(errors) == {"body", "left_arm", "left_leg", "right_arm", "right_leg"}
    np.testing.assert_allclose(errors["left_arm"], [0, 0, 0] + 5 * [wanted], atol=1e-6)
    assert not any(errors[limb].any() for limb in errors if limb != "left_arm")


def test_figures_of_two_kinds_are_compared_as_the_smaller() -> None:
    larger = walking(8, 48)
    for pair in ((larger, to_stick_5(larger)), (to_stick_5(larger), larger)):
        errors = limb_errors(*map(Panel, pair))
        assert set(errors) == {"body", "left_arm", "left_leg", "right_arm", "right_leg"}
        assert max(error.max() for error in errors.values()) < 1e-6


def test_errors_go_as_far_as_both_motions() -> None:
    assert {len(error) for error in limb_errors(Panel(walking(5)), Panel(walking(9))).values()} == {5}


def test_both_figures_of_a_clip_are_shown_and_the_model_moves_one(tmp_path: Path) -> None:
    pair = sample_sequences(12, seed=1, actions=["walk"])
    sequences = [
        {**one, "motion": torch.stack((one["motion"], one["motion"] + 0.5), dim=1), "physics": None, "actions": None}
        for one in pair
    ]
    write_sequences(tmp_path / "pairs.pt", sequences, SAMPLE_INFO)
    one = load_model(make_base(tmp_path / "base.safetensors"))
    scene = scenes_of_clips([("mine", one)], DataConfig(path=str(tmp_path / "pairs.pt")), "test", 1, 10, 30)[0]
    real, made = scene.panels
    assert real.label == "real clip · both figures"
    assert (real.actors.shape[1], made.actors.shape[1]) == (2, 1)
    np.testing.assert_allclose(np.abs(real.actors[:, 1] - real.actors[:, 0]), 0.5, atol=1e-6)
    np.testing.assert_array_equal(made.motion[:10], real.motion[:10, 0])


def test_clips_are_held_out_and_gone_on_with(tmp_path: Path) -> None:
    path = make_base(tmp_path / "base.safetensors")
    one = load_model(path)
    scenes = scenes_of_clips([("mine", one)], DATA, "test", 2, 10, 30)
    clips = {clip.description: clip for clip in ClipDataModule(DATA).split.test}
    assert 1 <= len(scenes) <= 2
    for scene in scenes:
        real, made = scene.panels
        assert (real.label, made.label, scene.has_reference) == ("real clip", "mine", True)
        assert real.frames == made.frames <= 40
        np.testing.assert_array_equal(made.motion[:10], real.motion[:10])
        clip = clips[scene.caption]
        wanted = rollout(one.model, clip.embedding[None], 20, clip.motion[:10, None])[:, 0]
        np.testing.assert_allclose(made.motion[10:30], wanted[: made.frames - 10], atol=1e-5)


def test_data_that_cannot_be_shown_are_refused(tmp_path: Path) -> None:
    one = load_model(make_base(tmp_path / "base.safetensors"))
    with pytest.raises(DataError, match="no test clip has 1025 frames; see --given and --split"):
        scenes_of_clips([("mine", one)], DATA, "test", 2, 1000, 30)
    one.record.text_encoder["pooling"] = "cls"
    with pytest.raises(ConfigError, match=r"\(pooling mean\), those of mine by .* \(pooling cls\); prepare the data"):
        scenes_of_clips([("mine", one)], DATA, "test", 2, 10, 30)
    one.record.text_encoder["id"] = "org/other"
    with pytest.raises(ConfigError, match="prepare the data with --encoder org/other"):
        scenes_of_clips([("mine", one)], DATA, "test", 2, 10, 30)
