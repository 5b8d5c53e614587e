import random
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stickgen.config import AugmentConfig
from stickgen.data.batch import Batch, TargetCounts
from stickgen.data.clips import Clip
from stickgen.data.loader import MicroBatch, StepPlan, make_loader
from stickgen.data.sequences import SequenceClips
from stickgen.data.stores import ClipSet
from stickgen.data.variations import Varying
from stickgen.errors import DataError
from tests.random_clips import ragged_clips, random_clip, random_sequences


def clips_of(count: int) -> list[Clip]:
    lengths = np.random.default_rng(count).integers(2, 12, size=count)
    return [random_clip(int(n), seed=i, actions=i % 3 > 0, physics=i % 2 > 0) for i, n in enumerate(lengths)]


def epoch_of(plan: StepPlan, epoch: int) -> list[MicroBatch]:
    plan.set_epoch(epoch)
    return list(plan)


def steps_of(micro_batches: list[MicroBatch]) -> list[list[MicroBatch]]:
    steps: list[list[MicroBatch]] = [[]]
    for micro_batch in micro_batches:
        steps[-1].append(micro_batch)
        if micro_batch.ends_step:
            steps.append([])
    assert not steps.pop(), "the epoch's last micro-batch does not end its step"
    return steps


sizes = {
    "count": st.integers(1, 45),
    "batch_size": st.integers(1, 6),
    "accumulate": st.integers(1, 6),
    "shuffle": st.booleans(),
}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(**sizes)
def test_every_clip_comes_exactly_once_an_epoch(count: int, batch_size: int, accumulate: int, shuffle: bool) -> None:
    plan = StepPlan(clips_of(count), batch_size, accumulate, shuffle=shuffle)
    for epoch in range(2):
        micro_batches = epoch_of(plan, epoch)
        assert sorted(i for m in micro_batches for i in m.clips) == list(range(count))
        assert len(micro_batches) == len(plan)
        assert all(1 <= len(m.clips) <= batch_size for m in micro_batches)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(**sizes)
def test_steps_are_those_of_lightning(count: int, batch_size: int, accumulate: int, shuffle: bool) -> None:
    plan = StepPlan(clips_of(count), batch_size, accumulate, shuffle=shuffle)
    micro_batches = list(plan)
    # Lightning steps after every `accumulate` batches and after the last of the epoch.
    for index, micro_batch in enumerate(micro_batches):
        assert micro_batch.ends_step == ((index + 1) % accumulate == 0 or index + 1 == len(micro_batches))
    steps = steps_of(micro_batches)
    assert len(steps) == plan.steps
    assert all(len(step) == accumulate for step in steps[:-1])
    assert all(len(m.clips) == batch_size for step in steps[:-1] for m in step)
    assert 1 <= len(steps[-1]) <= accumulate


@settings(max_examples=60, deadline=None, derandomize=True)
@given(**sizes)
def test_a_step_shares_its_counts_and_is_sorted_by_length(
    count: int, batch_size: int, accumulate: int, shuffle: bool
) -> None:
    clips = clips_of(count)
    for step in steps_of(list(StepPlan(clips, batch_size, accumulate, shuffle=shuffle))):
        chosen = [clips[i] for m in step for i in m.clips]
        lengths = [clip.length for clip in chosen]
        assert lengths == sorted(lengths)
        assert {m.step_counts for m in step} == {TargetCounts.of(chosen)}


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def orders(seed: int, epochs: list[int]) -> list[list[MicroBatch]]:
        plan = StepPlan(clips_of(30), 2, 3, shuffle=True, seed=seed, feed_actions=0.5)
        return [epoch_of(plan, epoch) for epoch in epochs]

    first = orders(0, [0, 1, 2])
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    assert orders(0, [2, 0, 1]) == [first[2], first[0], first[1]]
    assert first[0] != first[1]
    assert orders(1, [0])[0] != first[0]


def test_a_shuffled_epoch_draws_other_clips_for_its_steps() -> None:
    plan = StepPlan(clips_of(40), 2, 2, shuffle=True)
    members = [[{i for m in step for i in m.clips} for step in steps_of(epoch_of(plan, epoch))] for epoch in (0, 1)]
    assert members[0] != members[1]


def test_without_shuffling_every_epoch_is_the_same() -> None:
    plan = StepPlan(clips_of(20), 3, 2)
    assert epoch_of(plan, 0) == epoch_of(plan, 1)


@pytest.mark.parametrize("start", [0, 1, 4, 5, 14, 15])
def test_start_leaves_out_exactly_what_is_behind(start: int) -> None:
    plan = StepPlan(clips_of(30), 2, 4, shuffle=True, feed_actions=0.5)
    whole = epoch_of(plan, 3)
    plan.start = start
    assert epoch_of(plan, 3) == whole[start:]
    assert epoch_of(plan, 4) == epoch_of(plan, 4)
    assert len(epoch_of(plan, 4)) == len(whole), "the epoch after a resumed one is whole"


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.3, 0.25, 0.35), (0.5, 0.45, 0.55), (1.0, 1, 1)])
def test_the_share_of_steps_that_are_fed_actions(share: float, low: float, high: float) -> None:
    plan = StepPlan(clips_of(40), 1, 2, shuffle=True, feed_actions=share)
    chosen = []
    for epoch in range(100):
        for step in steps_of(epoch_of(plan, epoch)):
            assert len({m.feed_actions for m in step}) == 1, "a step as a whole or not at all"
            chosen.append(step[0].feed_actions)
    assert low <= np.mean(chosen) <= high


def equal(a: Batch, b: Batch) -> bool:
    for field in fields(a):
        one, other = getattr(a, field.name), getattr(b, field.name)
        if not (torch.equal(one, other) if isinstance(one, Tensor) else one == other):
            return False
    return True


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_draws_no_global_random_numbers(workers: int) -> None:
    clips = clips_of(10)
    loader = make_loader(StepPlan(clips, 2, 2, shuffle=True), clips, num_workers=workers)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    for _ in range(2):
        assert len(list(loader)) == 5
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_workers_give_the_same_batches() -> None:
    clips = clips_of(15)
    plans = [StepPlan(clips, 2, 3, shuffle=True, seed=4, feed_actions=0.5) for _ in range(2)]
    loaders = [make_loader(plan, clips, ("camera",), workers) for plan, workers in zip(plans, (0, 2), strict=True)]
    for epoch in range(2):
        for plan in plans:
            plan.set_epoch(epoch)
        ours, theirs = (list(loader) for loader in loaders)
        assert len(ours) == len(theirs) == 8
        assert all(equal(a, b) for a, b in zip(ours, theirs, strict=True))


VARYING = Varying(
    AugmentConfig(mirror=0.5, speed=1.25, scale=1.1, shift=1.0, crop=0.5, rest_start=0.3),
    max_frames=60,
    drop_text=0.3,
    input_noise=0.02,
    input_drift=0.1,
    input_pace=0.5,
    seed=5,
)


def shown(plan: StepPlan, clips: list[Clip], epoch: int, workers: int = 0) -> dict[str, list[Tensor]]:
    """What a plan's batches show of each clip in an epoch, by clip: input, target, text, labels and their counts."""
    plan.set_epoch(epoch)
    micro_batches = list(plan)
    seen: dict[str, list[Tensor]] = {}
    for micro_batch, batch in zip(micro_batches, make_loader(plan, clips, (), workers), strict=True):
        for column, index in enumerate(micro_batch.clips):
            real = ~batch.padding_mask[column]
            offsets = [
                torch.zeros_like(batch.motion) if offset is None else offset
                for offset in (batch.input_offset, batch.target_offset, batch.clip_steps)
            ]
            tracks = (batch.motion, *offsets, batch.actions, batch.physics)
            seen[str(index)] = [track[real, column] for track in tracks] + [batch.embedding[column]]
    return seen


@pytest.mark.parametrize(("batch_size", "accumulate", "workers"), [(3, 4, 0), (12, 1, 0), (2, 3, 0), (3, 4, 2)])
def test_variations_depend_on_neither_division_nor_workers(batch_size: int, accumulate: int, workers: int) -> None:
    clips = [random_clip(30 + i, seed=i) for i in range(12)]
    first = StepPlan(clips, 6, 2, shuffle=True, varying=VARYING)
    expected = [shown(first, clips, epoch) for epoch in (0, 1)]
    plan = StepPlan(clips, batch_size, accumulate, shuffle=True, varying=VARYING)
    for epoch in (1, 0):
        found = shown(plan, clips, epoch, workers)
        assert found.keys() == expected[epoch].keys()
        for name, tracks in found.items():
            assert all(torch.equal(a, b) for a, b in zip(tracks, expected[epoch][name], strict=True)), name
    assert any(not torch.equal(expected[0][name][-1], expected[1][name][-1]) for name in expected[0]), "text"
    assert all(expected[0][name][0].shape != expected[1][name][0].shape for name in ("0", "5")), "pace"


def test_the_counts_are_those_of_the_varied_clips() -> None:
    clips = [random_clip(20 + 5 * i, seed=i, actions=i % 3 > 0, physics=i % 2 > 0) for i in range(9)]
    plan = StepPlan(clips, 2, 2, shuffle=True, varying=VARYING)
    batches: list[Batch] = []
    for batch in make_loader(plan, clips):
        batches.append(batch)
        if batch.ends_step:
            real = [~b.padding_mask[:, 1:] for b in batches]
            assert batch.step_counts.frames == sum(int(r.sum()) for r in real)
            labels = [int((b.actions[1:] >= 0).sum()) for b in batches]
            assert batch.step_counts.action_frames == sum(labels)
            physics = [int(r[b.has_physics].sum()) for b, r in zip(batches, real, strict=True)]
            assert batch.step_counts.physics_frames == sum(physics)
            lengths = [int(n) for b in batches for n in (~b.padding_mask).sum(dim=1)]
            assert lengths == sorted(lengths)
            batches = []


def test_without_variations_nothing_is_drawn() -> None:
    clips = clips_of(10)
    idle = StepPlan(clips, 2, 2, varying=Varying(AugmentConfig(), 250))
    assert all(micro_batch.variations is None for micro_batch in idle)
    assert all(batch.input_offset is batch.target_offset is None for batch in make_loader(idle, clips))


def test_batches_hold_the_clips_that_the_plan_names() -> None:
    clips = ragged_clips(camera=True)
    plan = StepPlan(clips, 2, 2, shuffle=True, feed_actions=0.5)
    for micro_batch, batch in zip(list(plan), make_loader(plan, clips, ("camera",)), strict=True):
        for column, index in enumerate(micro_batch.clips):
            torch.testing.assert_close(batch.motion[: clips[index].length, column], clips[index].motion)
        assert batch.camera is not None
        assert batch.partner is None
        for name in ("step_counts", "ends_step", "feed_actions"):
            assert getattr(batch, name) == getattr(micro_batch, name)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_faulty_clip_is_told_in_one_line_whichever_process_met_it(workers: int) -> None:
    sequences = random_sequences(6)
    sequences[4]["motion"][2, 3] = torch.nan
    store = SequenceClips(sequences, "clips.pt")
    clips = ClipSet(store, store.infos)
    with pytest.raises(DataError) as caught:
        list(make_loader(StepPlan(clips.infos, 2), clips, num_workers=workers))
    assert str(caught.value) == (
        "clips.pt: clip 4: motion: finite numbers expected, NaN or infinity found at position 2"
    )


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("count", [1, 5, 7, 8, 12, 24, 29])
def test_processes_divide_every_step_among_them(count: int, processes: int) -> None:
    clips = clips_of(count)
    whole = steps_of(list(StepPlan(clips, 2, 6, shuffle=True)))
    plans = [StepPlan(clips, 2, 6, shuffle=True, rank=rank, processes=processes) for rank in range(processes)]
    dealt = [list(plan) for plan in plans]
    assert [len(plan) for plan in plans] == [len(batches) for batches in dealt]
    assert len({len(batches) for batches in dealt}) == 1  # or one would wait for the others for ever
    shares = [steps_of(batches) for batches in dealt]
    for step, *parts in zip(whole, *shares, strict=True):
        counted = [batch.clips for part in parts for batch in part if batch.counted]
        assert sorted(counted) == sorted(batch.clips for batch in step)
        assert {batch.step_counts for part in parts for batch in part} == {step[0].step_counts}
        assert all([batch.ends_step for batch in part] == [False] * (len(part) - 1) + [True] for part in parts)
