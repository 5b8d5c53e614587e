"""Runs of a second with animations in their event files, read back with TensorBoard's own reader."""

import io
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stickgen.artifacts.base import load_base
from stickgen.config import (
    BaseConfig,
    CallbacksConfig,
    DataConfig,
    LoggerConfig,
    LoRAConfig,
    ObjectiveConfig,
    OptimizerConfig,
    SampleConfig,
    ShowMotionConfig,
    TrainConfig,
    TrainerConfig,
)
from stickgen.errors import StickgenError
from stickgen.generation import clips, rollout
from stickgen.sample import SAMPLE_INFO
from stickgen.training import FitResult, fit, preview, show_motion
from stickgen.training.callbacks import make_callbacks
from stickgen.training.show_motion import ShowMotion
from tests.generation.test_generate import Encoder
from tests.runs import make_base

SHOW = ShowMotionConfig(every_n_epochs=1, max_share=1.0, clips=2, captions=0, frames=20)
OFF = ShowMotionConfig(every_n_epochs=None)
SIZES = {"d_model": 48, "nhead": 4, "num_layers": 2, "pose_output": "velocity", "pose_scale": 0.005}


def settings(run_dir: Path, show: ShowMotionConfig = SHOW, *, epochs: int = 2, **changes: Any) -> TrainConfig:
    made = TrainConfig(
        lora=LoRAConfig(rank=2, dropout=0.3, targets={"all": ["transformer_encoder"]}),
        base=BaseConfig(checkpoint="base", dropout=0.1),
        data=DataConfig(sample=SampleConfig(clips=16, actions=["walk", "wave"]), batch_size=4, num_workers=0),
        optimizer=OptimizerConfig(lr=1e-2),
        trainer=TrainerConfig(max_epochs=epochs, accumulate_grad_batches=1, accelerator="cpu", threads=1),
        callbacks=CallbacksConfig(progress_bar=False, show_motion=show),
        run_dir=str(run_dir),
    )
    return replace(made, **changes)


def pictures(result: FitResult) -> dict[str, list[tuple[int, Image.Image]]]:
    """Tag → step and picture, as TensorBoard reads them."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = module.EventAccumulator(str(result.run.path / "tensorboard"), size_guidance={"images": 0}).Reload()
    return {
        tag: [(event.step, Image.open(io.BytesIO(event.encoded_image_string))) for event in events.Images(tag)]
        for tag in events.Tags()["images"]
    }


def weights(result: FitResult) -> dict[str, torch.Tensor]:
    return load_file(result.run.adapter / "adapter_model.safetensors")


@pytest.fixture(autouse=True)
def threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def labels(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The labels of each picture that is drawn."""
    seen: list[list[str]] = []
    picture: Callable[..., Any] = show_motion.Picture

    def look(panels: list[Any], style: Any) -> Any:
        seen.append([panel.label for panel in panels])
        return picture(panels, style)

    monkeypatch.setattr(show_motion, "Picture", look)
    return seen


def test_a_run_has_animations_that_move_and_the_same_weights(
    tmp_path: Path, labels: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    base = BaseConfig(checkpoint=str(make_base(tmp_path / "base.safetensors")), dropout=0.1)
    with caplog.at_level(logging.INFO, logger="stickgen"):
        shown = fit(settings(tmp_path / "shown", replace(SHOW, clips=1, captions=1), base=base))
    assert "pictures of motion: 2 in" in caplog.text
    made = ["frozen base · rollout", "adapter · rollout"]
    # The first is of the trial that tells what a showing will take.
    assert labels[1:] == [["real clip", *made], ["training clip", *made]] * 2

    found = pictures(shown)
    tags = ("motion/clip_1", "motion/prompt_1", "motion_sheet/clip_1", "motion_sheet/prompt_1")
    assert sorted(found) == [*tags]
    for tag in tags[:2]:
        assert len(found[tag]) == 2
        (first_step, first), (last_step, last) = found[tag]
        assert 0 < first_step < last_step
        for gif in (first, last):
            assert gif.format == "GIF"
            assert gif.n_frames > 6  # type: ignore[attr-defined]
            assert gif.info["duration"] == 80
            gif.seek(0)
            start = np.asarray(gif.convert("RGB")).astype(int)
            gif.seek(gif.n_frames - 1)  # type: ignore[attr-defined]
            assert (np.abs(np.asarray(gif.convert("RGB")).astype(int) - start).max(axis=-1) > 60).sum() > 50
    assert all(sheet.format == "PNG" for _, sheet in found[tags[3]])
    plain = fit(settings(tmp_path / "plain", OFF, base=base))
    assert not pictures(plain)
    ours, theirs = weights(shown), weights(plain)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_whole_weights_stand_beside_the_base_they_set_out_from(tmp_path: Path, labels: list[list[str]]) -> None:
    base = make_base(tmp_path / "base.safetensors", causal=False)
    changes = {"lora": LoRAConfig(enabled=False), "objective": ObjectiveConfig(causal=False)}
    whole = settings(tmp_path / "whole", replace(SHOW, clips=1), base=BaseConfig(checkpoint=str(base)), **changes)
    fit(whole)
    assert labels[1:] == [["real clip", "frozen base · in one pass", "model in training · in one pass"]] * 2


def test_a_new_base_has_none_beside_it(tmp_path: Path, labels: list[list[str]]) -> None:
    new = BaseConfig(from_scratch=True, causal=True, **SIZES)
    show = replace(SHOW, clips=1, every_n_epochs=9)
    run = fit(settings(tmp_path / "new", show, base=new, lora=LoRAConfig(enabled=False)))
    assert labels[1:] == [["real clip", "model in training · rollout"]]  # at the end only
    assert [image.n_frames > 6 for _, image in pictures(run)["motion/clip_1"]] == [True]  # type: ignore[attr-defined]


def test_an_interrupted_run_goes_on_with_the_frozen_base_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = BaseConfig(checkpoint=str(make_base(tmp_path / "base.safetensors")))
    made: list[tuple[str, torch.Tensor]] = []
    panel: Callable[..., Any] = preview.Panel
    monkeypatch.setattr(
        preview, "Panel", lambda motion, label, *more: made.append((label, motion)) or panel(motion, label, *more)
    )
    fit(settings(tmp_path / "run", base=base, epochs=1))
    fit(replace(settings(tmp_path / "run", base=base), resume=str(tmp_path / "run")))
    of_base = [motion for label, motion in made if label.startswith("frozen base")]
    assert len(of_base) == 4
    assert torch.equal(of_base[0], of_base[2])
    assert torch.equal(of_base[1], of_base[3])
    of_adapter = [motion for label, motion in made if label.startswith("adapter") and len(motion) == 30]
    assert not torch.equal(of_adapter[0], of_base[0])
    assert not torch.equal(of_adapter[0], of_adapter[2])


def test_pictures_that_cost_too_much_are_left_out_and_told_of(
    tmp_path: Path, labels: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    base = BaseConfig(checkpoint=str(make_base(tmp_path / "base.safetensors")))
    with caplog.at_level(logging.INFO, logger="stickgen"):
        run = fit(settings(tmp_path / "run", replace(SHOW, max_share=0.0), base=base))
    assert len(labels) == 1  # the trial
    assert not pictures(run)
    assert "more than 0% of the training's time (callbacks.show_motion.max_share)" in caplog.text
    assert "pictures of motion: " not in caplog.text


def test_a_showing_is_bounded_by_what_it_is_expected_to_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = ShowMotion(settings(tmp_path, replace(SHOW, max_share=0.02)))
    now = [0.0]
    monkeypatch.setattr(show_motion.time, "monotonic", lambda: now[0])
    shown._seconds, shown._expected = 0.2, 1.0
    now[0] = 58.0  # 1.2 s of 59 are more than 2 %
    assert not shown._affordable(showings=1)
    now[0] = 60.0
    assert shown._affordable(showings=1)
    assert not shown._affordable(showings=2)


def test_prompts_of_the_users_own_move_from_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: list[list[str]]
) -> None:
    monkeypatch.setattr("stickgen.text.prompts.TextEncoder", Encoder)
    monkeypatch.setattr(Encoder, "made", [])
    path = make_base(tmp_path / "base.safetensors")
    made: list[tuple[str, str, torch.Tensor]] = []
    panel: Callable[..., Any] = preview.Panel

    def look(motion: torch.Tensor, label: str, caption: str, *more: int) -> Any:
        made.append((label, caption, motion))
        return panel(motion, label, caption, *more)

    monkeypatch.setattr(preview, "Panel", look)
    show = replace(SHOW, clips=0, captions=2, prompts=["a person skips"])
    run = fit(settings(tmp_path / "run", show, base=BaseConfig(checkpoint=str(path)), epochs=1))
    assert Encoder.made == [SAMPLE_INFO["text_encoder"]["id"]]
    assert labels[1:] == [["frozen base · rollout", "adapter · rollout"]]
    assert [image.n_frames > 6 for _, image in pictures(run)["motion/prompt_1"]] == [True]  # type: ignore[attr-defined]
    (motion,) = [
        motion for label, caption, motion in made if label.startswith("frozen") and caption == "a person skips"
    ]
    text = torch.from_numpy(Encoder("").encode(["a person skips"]))
    torch.testing.assert_close(motion, rollout(load_base(path).model, text, 20)[:, 0])


def test_prompts_without_an_encoder_stop_the_run_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sentence_transformers")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    base = BaseConfig(checkpoint=str(make_base(tmp_path / "base.safetensors")))
    show = replace(SHOW, prompts=["a walk"], encoder="org/none-such")
    with pytest.raises(StickgenError, match="org/none-such: not in the local cache") as caught:
        fit(settings(tmp_path / "run", show, base=base))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_numbers_that_are_not_finite_are_shown_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: list[list[str]]
) -> None:
    def explode(model: Any, text: torch.Tensor, frames: int, given: Any = None, **_: Any) -> torch.Tensor:
        motion = torch.zeros(frames, len(text), 20)
        motion[3:] = float("nan")
        return motion

    monkeypatch.setattr(clips, "generator_for", lambda model: explode)
    base = BaseConfig(checkpoint=str(make_base(tmp_path / "base.safetensors")))
    fit(settings(tmp_path / "run", replace(SHOW, clips=1), base=base, epochs=1))
    assert labels[1:] == [["real clip", "frozen base · rollout · exploded", "adapter · rollout · exploded"]]


def test_clips_too_short_to_be_watched_are_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preview, "GIVEN", 1000)
    base = BaseConfig(checkpoint=str(make_base(tmp_path / "base.safetensors")))
    with caplog.at_level(logging.INFO, logger="stickgen"):
        run = fit(settings(tmp_path / "run", SHOW, base=base, epochs=1))
    assert "no pictures of validation clips: none has 1025 frames" in caplog.text
    assert not pictures(run)


def test_no_tensorboard_no_pictures(tmp_path: Path) -> None:
    def kinds(config: TrainConfig) -> set[type]:
        return {type(callback) for callback in make_callbacks(config, tmp_path)}

    assert ShowMotion in kinds(settings(tmp_path))
    assert ShowMotion not in kinds(settings(tmp_path, OFF))
    assert ShowMotion not in kinds(settings(tmp_path, logger=LoggerConfig(kinds=["csv"])))
