"""A run that continues on another number of devices."""

import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stickgen.config import TrainConfig
from stickgen.data.batch import Batch
from stickgen.data.loader import StepPlan
from stickgen.digests import short_digest
from stickgen.errors import PreemptedRunError
from stickgen.training import fit, resume_config
from stickgen.training.module import MotionModule
from tests.random_clips import random_clip
from tests.training.short_runs import adapter_of, settings_of


@pytest.mark.parametrize("clips", [24, 21])
@pytest.mark.parametrize(("before", "now"), [(2, 1), (1, 2), (4, 2), (1, 4)])
def test_the_place_in_an_epoch_is_that_of_the_same_step(clips: int, before: int, now: int) -> None:
    data = [random_clip(2, seed=seed) for seed in range(clips)]
    ours, theirs = (StepPlan(data, 1, 4, processes=processes) for processes in (now, before))
    passed = [0, *(number for number, micro_batch in enumerate(theirs, start=1) if micro_batch.ends_step)]
    assert passed[-1] == len(theirs)
    places = [ours.after(batch, before) for batch in passed]
    assert places == [min(4 // now * step, len(ours)) for step in range(len(passed))]


def test_a_run_of_two_processes_goes_on_in_one(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clips of each step are those of an uninterrupted run; without dropout, so are the weights."""
    lora = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "targets": {"attention": ["self_attn"]}}

    def settings(name: str, devices: int) -> TrainConfig:
        trainer = {"max_epochs": 2, "accumulate_grad_batches": 2, "accelerator": "cpu", "threads": 1}
        return settings_of(
            tmp_path / name, base={"checkpoint": str(base)}, lora=lora, trainer={**trainer, "devices": devices}
        )

    seen: list[str] = []
    whole = MotionModule.step_loss

    def watched(self: MotionModule, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(short_digest(batch.motion))
        if len(seen) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        return whole(self, batch)

    monkeypatch.setattr(MotionModule, "step_loss", watched)
    stop_at = -1
    uninterrupted = fit(settings("one", 1))
    clips, seen, stop_at = seen, [], 1
    assert len(clips) == 12
    with pytest.raises(PreemptedRunError, match="saved at step"):
        fit(settings("two", 2))
    steps = len(seen)
    assert steps in (1, 2), "in the middle of an epoch of three steps"
    assert seen == clips[: 2 * steps : 2], "the first of the two processes has the first micro-batch of each step"
    seen, stop_at = [], -1
    resumed = fit(resume_config(str(tmp_path / "two"), ["trainer.devices=1"]))
    assert seen == clips[2 * steps :]
    ours, theirs = adapter_of(resumed), adapter_of(uninterrupted)
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        # Steps of two micro-batches: the sum of two gradients does not depend on who adds them.
        assert torch.equal(ours[key], value), (ours[key] - value).abs().max()
