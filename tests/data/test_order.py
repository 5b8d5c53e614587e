"""Splits and the order of batches are those of the former code, which went clip by clip; copied here as a reference."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stickgen.config import DataConfig
from stickgen.data.clips import ClipInfo
from stickgen.data.dataset import open_dataset
from stickgen.data.file import open_clips, write_sequences
from stickgen.data.loader import StepPlan
from stickgen.data.split import SPLITS, divide_takes
from stickgen.evaluation.baselines import majority_action
from tests.data.packed_v1 import write_v1
from tests.random_clips import random_sequence


def sequences_of(count: int, seed: int) -> list[dict[str, Any]]:
    """Sequences of a few takes and actions, many of them alike, some fixed, unlabelled or without a score."""
    draw = np.random.default_rng(seed)
    made = []
    for i in range(count):
        take = int(draw.integers(count // 3))
        meta = {"take": f"take {take}"} | ({"split": SPLITS[take % 3]} if take % 9 == 0 else {})
        frames = int(draw.integers(2, 9))
        labels = None if draw.random() < 0.2 else torch.from_numpy(draw.integers(0, 4, frames))
        score = None if draw.random() < 0.2 else float(draw.choice([0.7, 0.8, 0.9]))
        physics = torch.randn(frames, 6) if draw.random() < 0.7 else None
        source = str(draw.choice(["a", "b", ""]))
        made.append(
            random_sequence(
                frames, seed=i, meta=meta, actions=labels, quality_score=score, physics=physics, source=source
            )
        )
    return made


def former_split(clips: Sequence[ClipInfo], val: float, test: float, seed: int) -> dict[str, str]:
    takes: dict[str, list[ClipInfo]] = defaultdict(list)
    for clip in clips:
        takes[clip.take].append(clip)
    fixed: dict[str, str] = {}
    for clip in clips:
        if clip.split is not None:
            fixed.setdefault(clip.take, clip.split)
    split_of = {take: fixed.get(take) for take in takes}
    free = [take for take, split in split_of.items() if split is None]
    shares = {"train": 1 - val - test, "val": val, "test": test}
    owed = dict.fromkeys(SPLITS, 0.0)

    def main_action(take: str) -> int:
        counts: Counter[int] = Counter()
        for clip in takes[take]:
            counts.update(clip.action_counts or {})
        return counts.most_common(1)[0][0] if counts else -1

    shuffled = [free[i] for i in np.random.default_rng(seed).permutation(len(free))]
    for take in sorted(shuffled, key=main_action):
        for split, share in shares.items():
            owed[split] += share * len(takes[take])
        chosen = max(SPLITS, key=lambda split: owed[split])
        owed[chosen] -= len(takes[take])
        split_of[take] = chosen
    for split in SPLITS:
        if split not in split_of.values():
            counts = Counter(split_of.values())
            spare = [take for take in free if counts[split_of[take]] > 1]
            if spare:
                split_of[min(spare, key=lambda take: len(takes[take]))] = split
    return {take: split or "train" for take, split in split_of.items()}


def former_epoch(clips: Sequence[ClipInfo], size: int, step_size: int, seed: int, epoch: int) -> list[Any]:
    order = np.random.default_rng([seed, epoch]).permutation(len(clips)).tolist()
    dealt = []
    for step in range(-(-len(clips) // step_size)):
        chosen = sorted(order[step * step_size : (step + 1) * step_size], key=lambda i: clips[i].length)
        frames = sum(clips[i].length - 1 for i in chosen)
        labelled = sum(clips[i].length - 1 for i in chosen if clips[i].action_counts is not None)
        pairs = sum(max(clips[i].length - 2, 0) for i in chosen if clips[i].has_physics)
        fed = random.Random(f"{seed}/{epoch}/{step}").random() < 0.5
        dealt += [(tuple(chosen[at : at + size]), frames, labelled, pairs, fed) for at in range(0, len(chosen), size)]
    return dealt


@pytest.mark.parametrize("form", ["pt", "first", "second"])
@pytest.mark.parametrize("seed", range(6))
def test_splits_and_batches_are_those_of_the_former_code(tmp_path: Path, form: str, seed: int) -> None:
    sequences = sequences_of(60 if seed else 9, seed)
    path = tmp_path / ("clips.pt" if form == "pt" else "clips.safetensors")
    if form == "first":
        write_v1(path, sequences, {})
    else:
        write_sequences(path, sequences, {})
    config = DataConfig(path=str(path), min_quality=0.8, val_fraction=0.2, test_fraction=0.1, max_frames=6)
    split, report = open_dataset(config)

    store, _ = open_clips(path, 6)
    scored = [clip for clip in store.infos if clip.quality is None or clip.quality >= 0.8]
    assert report.clips == len(scored)
    assert report.dropped == {"below quality 0.8": len(sequences) - len(scored)}
    expected = former_split(scored, 0.2, 0.1, config.split_seed)
    for name in SPLITS:
        wanted = [clip.index for clip in scored if expected[clip.take] == name]
        assert [clip.index for clip in getattr(split, name).infos] == wanted

    clips = list(split.train.infos)
    plan = StepPlan(split.train.infos, 2, 3, shuffle=True, seed=seed, feed_actions=0.5)
    for epoch in (0, 1):
        plan.set_epoch(epoch)
        dealt = [
            (m.clips, m.step_counts.frames, m.step_counts.action_frames, m.step_counts.physics_pairs, m.feed_actions)
            for m in plan
        ]
        assert dealt == former_epoch(clips, 2, 6, seed, epoch)
    by_length = [i for m in StepPlan(split.val.infos, 2, 99) for i in m.clips]
    lengths = [clip.length for clip in split.val.infos]
    assert by_length == sorted(range(len(lengths)), key=lengths.__getitem__)

    labels: Counter[int] = Counter()
    for clip in clips:
        track = store.load(clip.position).actions
        labels.update([] if track is None else track[1:].tolist())
    assert majority_action(split.train.infos) == min(labels, key=lambda label: (-labels[label], label), default=None)


@pytest.mark.parametrize("seed", range(20))
def test_takes_are_divided_as_by_the_former_code(seed: int) -> None:
    from stickgen.data.sequences import SequenceClips

    infos = SequenceClips(sequences_of(3 + 4 * seed, seed), "clips").infos
    for val, test in ((0.1, 0.1), (0.3, 0.3), (0.05, 0.0)):
        assert list(divide_takes(infos, val, test, seed).items()) == list(former_split(infos, val, test, seed).items())
