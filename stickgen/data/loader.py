"""Which clips go into which batch, in which order: a function of seed and epoch alone."""

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from stickgen.data.augment import Variation, vary
from stickgen.data.batch import Batch, TargetCounts, collate
from stickgen.data.clips import Clip, ClipInfo
from stickgen.data.hidden import HiddenStates
from stickgen.data.input_noise import disturbance
from stickgen.data.table import column
from stickgen.data.uneven import even, uneven
from stickgen.data.variations import Varying
from stickgen.errors import DataError


@dataclass(frozen=True)
class MicroBatch:
    """Clips of one forward pass, by position, and the optimizer step they belong to."""

    clips: tuple[int, ...]
    step_counts: TargetCounts
    ends_step: bool
    feed_actions: bool
    variations: tuple[Variation, ...] | None = None
    """What the clips are made into, one each; None leaves all as they are."""
    counted: bool = True
    """Whether its targets count; not in one that only keeps a process in step with the others."""
    variant: int = 0
    """Which of the clips' variants these are."""


class StepPlan(Sampler[MicroBatch]):
    """Deals the clips of an epoch out to optimizer steps, and each step's clips to micro-batches.

    A step's clips are drawn at random and then sorted by length, so that clips of similar length share a
    micro-batch and short ones do not pay for long ones; since the loss counts the targets of the whole step, the
    gradient is that of the unsorted, undivided batch.

    Args:
        clips: the clips, or what is known of them unread.
        batch_size: clips of a micro-batch.
        accumulate: micro-batches of a step; the epoch's last step may have fewer.
        shuffle: draw a new order each epoch; without, clips are dealt out by length.
        seed: of the order and of the choice of steps that are fed actions.
        feed_actions: share of steps that are given the action labels.
        varying: draws what each epoch makes of the clips; None leaves them as they are.
        read: gives a clip by position, where ``clips`` are unread and some are to be varied by their motion.
        rank: which of several processes this is; each gets its part of every step's micro-batches.
        processes: how many there are.
    """

    def __init__(
        self,
        clips: Sequence[Clip | ClipInfo],
        batch_size: int,
        accumulate: int = 1,
        *,
        shuffle: bool = False,
        seed: int = 0,
        feed_actions: float = 0.0,
        varying: Varying | None = None,
        read: Callable[[int], Clip] | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.clips = clips
        self._lengths, self._has_actions, self._has_physics = (
            column(clips, name) for name in ("length", "has_actions", "has_physics")
        )
        self.batch_size = batch_size
        self.step_size = batch_size * accumulate
        self.shuffle = shuffle
        self.seed = seed
        self.feed_actions = feed_actions
        self.varying = varying if varying is not None and varying.active else None
        self.read = read
        self.rank = rank
        self.processes = processes
        self.epoch = 0
        self.start = 0
        """Micro-batches of the coming epoch to leave out: those a resumed run has behind it."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(len(self.clips), self.step_size)
        return whole * self._share(self.step_size) + self._share(rest)

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return -(-len(self.clips) // self.step_size)

    def after(self, batches: int, processes: int) -> int:
        """Return how many micro-batches of an epoch this process has behind it where one of so many others has.

        Args:
            batches: micro-batches of one of the others, up to the end of a step.
            processes: how many there were.
        """
        others = copy.copy(self)
        others.processes = processes
        if batches >= len(others):
            return len(self)
        return batches // others._share(self.step_size) * self._share(self.step_size)

    def __iter__(self) -> Iterator[MicroBatch]:
        skip, self.start = self.start, 0
        for position, micro_batch in enumerate(self._epoch(self.epoch)):
            if position >= skip:
                yield micro_batch

    def _epoch(self, epoch: int) -> Iterator[MicroBatch]:
        if self.shuffle:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.clips))
        else:
            order = np.argsort(self._lengths, kind="stable")
        for step in range(self.steps):
            chosen = order[step * self.step_size : (step + 1) * self.step_size].tolist()
            variations, lengths = self._varied(chosen, epoch)
            chosen = sorted(chosen, key=lengths.__getitem__)
            counts = TargetCounts.of_columns(
                np.array([lengths[i] for i in chosen]), self._has_actions[chosen], self._has_physics[chosen]
            )
            draws = random.Random(f"{self.seed}/{epoch}/{step}")
            fed = draws.random() < self.feed_actions
            parts = [tuple(chosen[at : at + self.batch_size]) for at in range(0, len(chosen), self.batch_size)]
            share = self._share(len(chosen))
            variant = 0 if self.varying is None else self.varying.variant(epoch)
            for at in range(share):
                # Neighbours are of like length, so the processes take about as long. An epoch's last step may leave
                # some without a part; they still have to take the step.
                position = at * self.processes + self.rank
                counted = position < len(parts)
                part = parts[position] if counted else parts[0]
                varied = None if variations is None else tuple(variations[i] for i in part)
                yield MicroBatch(part, counts, at == share - 1, fed, varied, counted, variant)

    def _share(self, clips: int) -> int:
        """Return how many micro-batches of a step of so many clips each process gets."""
        return -(-clips // (self.batch_size * self.processes))

    def _varied(self, chosen: Sequence[int], epoch: int) -> tuple[dict[int, Variation] | None, dict[int, int]]:
        """Return the variations of clips, None where there are none, and their lengths, by position."""
        own = dict(zip(chosen, self._lengths[chosen].tolist(), strict=True))
        if self.varying is None:
            return None, own
        variations = {i: self.varying.draw(self.clips[i], i, epoch, self.read) for i in chosen}
        return variations, {i: variation.length(own[i]) for i, variation in variations.items()}


class MicroBatches(Dataset[Batch]):
    """Collates the clips a :class:`MicroBatch` names.

    Args:
        clips: all of them.
        conditions: what the model is given beside the caption.
        hidden: what frozen layers give for the clips; None where the model computes it.
    """

    def __init__(self, clips: Sequence[Clip], conditions: Sequence[str], hidden: HiddenStates | None = None) -> None:
        self.clips = clips
        self.conditions = tuple(conditions)
        self.hidden = hidden

    def __getitem__(self, micro_batch: MicroBatch) -> Batch:
        batch = self._shown(micro_batch)
        if self.hidden is None:
            return batch
        stored = [self.hidden.read(clip, micro_batch.variant) for clip in micro_batch.clips]
        return replace(batch, hidden=pad_sequence(stored, batch_first=True), hidden_layers=self.hidden.layers)

    def _shown(self, micro_batch: MicroBatch) -> Batch:
        clips = [self.clips[i] for i in micro_batch.clips]
        variations = micro_batch.variations or ()
        if variations:
            clips = [vary(clip, variation) for clip, variation in zip(clips, variations, strict=True)]
        if not any(variation.disturbs for variation in variations):
            return self._collated(clips, micro_batch)
        paced = [
            uneven(clip.motion, variation.noise_seed) if variation.uneven else even(clip.motion)
            for clip, variation in zip(clips, variations, strict=True)
        ]
        clips = [replace(clip, motion=pace.read) for clip, pace in zip(clips, paced, strict=True)]
        offsets = [
            disturbance(clip.motion, variation.noise, variation.drift, variation.noise_seed)
            for clip, variation in zip(clips, variations, strict=True)
        ]
        return replace(
            self._collated(clips, micro_batch),
            input_offset=pad_sequence([read for read, _ in offsets]),
            target_offset=pad_sequence([asked + p.asked for (_, asked), p in zip(offsets, paced, strict=True)]),
            clip_steps=pad_sequence([pace.steps for pace in paced]),
        )

    def _collated(self, clips: Sequence[Clip], micro_batch: MicroBatch) -> Batch:
        return collate(
            clips,
            self.conditions,
            step_counts=micro_batch.step_counts,
            ends_step=micro_batch.ends_step,
            feed_actions=micro_batch.feed_actions,
            counted=micro_batch.counted,
        )


class ClipLoader(DataLoader[Batch]):
    """A loader that tells of a faulty clip in the same words whichever process met it."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # a base class of Lightning's expectations, not ours
        try:
            yield from super().__iter__()
        except DataError as error:
            # torch puts the traceback of a worker before the message.
            raise DataError(str(error).rpartition(f"{DataError.__name__}: ")[2].strip()) from None


def make_loader(
    plan: StepPlan,
    clips: Sequence[Clip],
    conditions: Sequence[str] = (),
    num_workers: int = 0,
    hidden: HiddenStates | None = None,
) -> "DataLoader[Batch]":
    """Return a loader of the plan's micro-batches of clips; see :class:`MicroBatches`.

    It has a generator of its own: an iterator that drew its seed from the global one would shift the random
    numbers of a resumed run against those of an uninterrupted one.
    """
    return ClipLoader(
        MicroBatches(clips, conditions, hidden),
        batch_size=None,
        sampler=plan,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=num_workers > 0,
        generator=torch.Generator().manual_seed(plan.seed),
    )
