"""Frozen layers below the first adapter, computed once and read from the disk."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.config import AugmentConfig, TrainConfig
from stickgen.data.hidden import ROWS
from stickgen.errors import ConfigError
from stickgen.locks import folder_lock
from stickgen.lora import inject_lora_adapters
from stickgen.model import StickFigureTransformer
from stickgen.training import frozen
from stickgen.training.fit import _build
from stickgen.training.frozen import frozen_layers
from tests.training.short_runs import settings_of

TOP: dict[str, Any] = {
    "rank": 2, "alpha": 4.0, "dropout": 0.2, "layers": [1], "targets": {"all": ["self_attn", "pose_decoder"]}
}  # fmt: skip
VARIED = {"mirror": 0.5, "speed": 1.25, "scale": 1.1, "loop": 0.5, "crop": 0.5, "rest_start": 0.5, "shift": 1.0}
SHOWN = {"drop_text": 0.2, "input_noise": 0.004, "input_drift": 0.05, "input_pace": 0.5}


def top_run(run_dir: Path, checkpoint: Path, stored: str | None = "float32", **groups: Any) -> TrainConfig:
    """Settings of a short run that adapts the last of the two layers, with everything varied."""
    trainer = {"accumulate_grad_batches": 2, "accelerator": "cpu", "threads": 1, "cache_frozen": stored}
    defaults: dict[str, Any] = {
        "base": {"checkpoint": str(checkpoint)},
        "lora": TOP,
        "data": {
            "augment": AugmentConfig(**VARIED, variants=2),
            "max_frames": 40,
            "sample": {"clips": 18, "actions": ["walk", "jump", "wave"]},
        },
        "objective": SHOWN,
        "trainer": {"max_epochs": 3, **trainer},
    }
    for name, values in groups.items():
        defaults[name] = {**defaults.get(name, {}), **values} if isinstance(values, dict) else values
    return settings_of(run_dir, **defaults)


def steps_of(config: TrainConfig, epochs: list[int]) -> Iterator[tuple[float, dict[str, torch.Tensor]]]:
    """Yield the loss and the gradients of every micro-batch of epochs; adapters are as if after some training."""
    torch.manual_seed(0)
    parts = _build(config)
    torch.manual_seed(1)
    for parameter in parts.module.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    loader = parts.data.train_dataloader()
    for epoch in epochs:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for batch in loader:
            assert (batch.hidden is None) == (config.trainer.cache_frozen is None)
            parts.module.zero_grad(set_to_none=True)
            loss = parts.module.step_loss(batch)[0]
            loss.backward()
            yield float(loss.detach()), {n: p.grad for n, p in parts.module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("stored", "rtol"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_losses_and_gradients_are_those_of_the_whole_model(
    tmp_path: Path, base: Path, stored: str, rtol: float
) -> None:
    epochs = [1, 3]  # which show the same variants
    whole = list(steps_of(top_run(tmp_path / "run", base, None), epochs))
    top = list(steps_of(top_run(tmp_path / "run", base, stored), epochs))
    assert len(top) == len(whole) > 2 * len(epochs)
    for (loss, grads), (expected, wanted) in zip(top, whole, strict=True):
        assert loss == pytest.approx(expected, rel=rtol)
        assert grads.keys() == wanted.keys()
        largest = max(float(grad.abs().max()) for grad in wanted.values())
        for name, grad in wanted.items():
            torch.testing.assert_close(grads[name], grad, rtol=0, atol=rtol * largest)


@pytest.mark.parametrize(
    ("targets", "layers", "expected"),
    [
        (["transformer_encoder", "pose_decoder"], None, 0),
        (["transformer_encoder", "pose_decoder"], [1], 1),
        (["ffn"], [0], 0),
        (["pose_decoder", "action_predictor"], None, 2),
        (["pose_decoder", "motion_embedding"], None, 0),
    ],
)
def test_layers_count_as_frozen_with_all_that_they_read(
    targets: list[str], layers: list[int] | None, expected: int
) -> None:
    model = StickFigureTransformer(d_model=16, nhead=2, num_layers=2, embedding_dim=8)
    assert frozen_layers(inject_lora_adapters(model, targets, 2, layers=layers)) == expected


def folders(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "frozen").iterdir())


def test_a_damaged_store_is_made_again_bit_for_bit(tmp_path: Path, base: Path) -> None:
    _build(top_run(tmp_path / "run", base))
    (folder,) = folders(tmp_path)
    rows = tmp_path / "frozen" / folder / "states" / ROWS
    content = rows.read_bytes()
    rows.write_bytes(content[:-9] + bytes([content[-9] ^ 64]) + content[-8:])
    _build(top_run(tmp_path / "run", base))
    assert folders(tmp_path) == [folder]
    assert rows.read_bytes() == content


def test_jobs_on_the_same_layers_and_clips_share_a_store(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    write = frozen.write_hidden

    def counted(folder: Path, *arguments: Any) -> Any:
        made.append(folder)
        return write(folder, *arguments)

    monkeypatch.setattr(frozen, "write_hidden", counted)
    for number, changes in enumerate([{}, {"lora": {"rank": 4}}, {"optimizer": {"lr": 1e-3}}]):
        _build(top_run(tmp_path / str(number), base, **changes))
    assert len(made) == len(folders(tmp_path)) == 1
    others: list[dict[str, Any]] = [
        {"seed": 1}, {"data": {"train_clips": 8}}, {"objective": {"drop_text": 0.3}},
        {"lora": {"layers": None, "targets": {"head": ["pose_decoder"]}}},
    ]  # fmt: skip
    for number, changes in enumerate(others):
        _build(top_run(tmp_path / str(number), base, **changes))
    assert len(set(made)) == len(made) == len(folders(tmp_path)) == 1 + len(others)


def test_stores_that_no_run_opens_for_a_week_are_deleted_and_nothing_else(tmp_path: Path, base: Path) -> None:
    for seed in (0, 1, 2):
        _build(top_run(tmp_path / "run", base, seed=seed))
    stores = list((tmp_path / "frozen").glob("*/states"))
    others = tmp_path / "frozen" / "mine" / "states"
    others.mkdir(parents=True)
    (others / ROWS).touch()
    eight_days_ago = time.time() - 8 * 24 * 3600
    for folder in (*stores[:2], others):
        os.utime(folder, (eight_days_ago, eight_days_ago))
    with folder_lock(stores[0].parent):
        _build(top_run(tmp_path / "run", base, seed=3))
    assert len(stores) == 3
    assert [folder.exists() for folder in (*stores, others)] == [True, False, True, True]


def test_a_store_that_is_opened_counts_as_used(tmp_path: Path, base: Path) -> None:
    _build(top_run(tmp_path / "run", base))
    (states,) = (tmp_path / "frozen").glob("*/states")
    six_days_ago = time.time() - 6 * 24 * 3600
    os.utime(states, (six_days_ago, six_days_ago))
    _build(top_run(tmp_path / "run", base))
    assert states.stat().st_mtime > six_days_ago + 3600


def test_a_job_waits_for_the_one_that_makes_the_store(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _build(top_run(tmp_path / "run", base))
    (folder,) = folders(tmp_path)
    place = tmp_path / "frozen" / folder
    (place / "states").rename(tmp_path / "states")
    caplog.clear()  # where another test has set the level, that the first run stored it was captured
    with ExitStack() as held, caplog.at_level("INFO"):
        held.enter_context(folder_lock(place))

        def finished(seconds: float) -> None:
            (tmp_path / "states").rename(place / "states")
            held.close()

        monkeypatch.setattr(frozen.time, "sleep", finished)
        assert _build(top_run(tmp_path / "other", base)).data.hidden is not None
    assert "waiting for the frozen layers' output" in caplog.text
    assert "storing" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": {"layers": None}}, "no layer below the first adapter; adapt only the last ones"),
        ({"base": {"dropout": 0.1}}, "base.dropout=0.1 changes the frozen layers' output in every step; set it to 0"),
        ({"objective": {"feed_actions": 0.5}}, "objective.feed_actions=0.5 changes what is read"),
        ({"data": {"augment": AugmentConfig(mirror=0.5)}}, "set data.augment.variants to a number such as 4"),
    ],
)
def test_what_cannot_be_stored_is_one_line_and_auto_goes_without(
    tmp_path: Path, base: Path, changes: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError) as refused:
        _build(top_run(tmp_path / "run", base, **changes))
    line = str(refused.value)
    assert line.startswith("trainer.cache_frozen=float32: ")
    assert message in line
    assert line.endswith("; or set trainer.cache_frozen=null")
    with caplog.at_level("INFO"):
        parts = _build(top_run(tmp_path / "run", base, "auto", **changes))
    choice = "auto" if "layers" in changes.get("lora", {}) else None  # without frozen layers there is none
    assert parts.config.trainer.cache_frozen == choice
    assert parts.data.hidden is None
    assert not (tmp_path / "frozen").exists()
    assert (message in caplog.text) == (choice is None)


def test_auto_stores_where_that_saves_passes_and_leaves_most_of_the_disk(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(**trainer: int) -> str | None:
        return _build(top_run(tmp_path / "run", base, "auto", trainer=trainer)).config.trainer.cache_frozen

    assert chosen(max_epochs=2) is None  # no variant is shown twice
    assert chosen(max_steps=4) is None
    assert chosen() == chosen(max_steps=5) == "float32"
    monkeypatch.setattr(frozen, "free_bytes", lambda folder: 2**19)
    assert chosen() is None
