"""The data set of a run, from settings to loaders."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from stickgen.config import DataConfig, ObjectiveConfig
from stickgen.data.batch import Batch
from stickgen.data.clips import Clip
from stickgen.data.dataset import DataReport, open_dataset
from stickgen.data.hidden import HiddenStates
from stickgen.data.loader import MicroBatch, MicroBatches, StepPlan, make_loader
from stickgen.data.split import Split
from stickgen.data.stores import ClipSet, ClipsInMemory
from stickgen.data.variations import Varying
from stickgen.errors import DataError
from stickgen.model.motion_code import WIDTH as CODE_WIDTH
from stickgen.motion.actions import NUM_ACTIONS

EVAL_BATCH_SIZE = 16
"""Clips of a forward pass where no gradients are kept; metrics do not depend on it."""


class ClipDataModule(LightningDataModule):
    """Clips of a data file, filtered, split by take and batched.

    Args:
        config: see :class:`~stickgen.config.DataConfig`.
        accumulate: micro-batches of ``config.batch_size`` clips of an optimizer step; see :meth:`divide`.
        seed: of the order of training clips.
        objective: what training clips are shown with: labels, no text, noise; None: as the defaults.
    """

    def __init__(
        self,
        config: DataConfig,
        *,
        accumulate: int = 1,
        seed: int = 0,
        objective: ObjectiveConfig | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.batch_size, self.accumulate = config.batch_size, accumulate
        self.rank, self.processes = 0, 1
        self.seed = seed
        self.objective = shown = objective or ObjectiveConfig()
        self.varying = Varying(
            config.augment,
            config.max_frames,
            shown.drop_text,
            shown.input_noise,
            shown.input_drift,
            shown.input_pace,
            seed,
        )
        self.hidden: HiddenStates | None = None
        """What frozen layers give for the training clips, for training batches; None where the model computes it."""
        self._loaded: tuple[Split[ClipSet], DataReport] | None = None
        self._position: dict[str, int] = {"epoch": 0, "batch": 0}

    @property
    def split(self) -> Split[ClipSet]:
        """The clips of each split. The file is opened on first use, and a clip read when it is asked for.

        Raises:
            DataError: the file is not as docs/data.md describes it, or the filter leaves too little of it.
        """
        return self._load()[0]

    @property
    def report(self) -> DataReport:
        """What was read and what was left out."""
        return self._load()[1]

    def fit_to(
        self, input_dim: int, embedding_dim: int, num_actions: int = NUM_ACTIONS, motion_code: bool = False
    ) -> None:
        """Check the clips against a model's widths, and pad narrower embeddings with zeros.

        Args:
            input_dim: numbers of a frame.
            embedding_dim: numbers of a text embedding.
            num_actions: action classes.
            motion_code: whether the model reads a description of the clip at the end of the embedding; training clips
                then have one (:mod:`stickgen.model.motion_code`).

        Raises:
            DataError: frames have another width, embeddings are wider than the model's or leave no room for the motion
                code, or a label is beyond its action classes.
        """
        split, report = self._load()
        dim, width = split.train.infos[0].dim, split.train.infos[0].width
        if dim != input_dim:
            hint = "; data.dim=20 reduces them" if (dim, input_dim) == (48, 20) else ""
            raise DataError(f"{report.source}: frames of {dim} numbers, the base takes {input_dim}{hint}")
        if width > embedding_dim:
            raise DataError(f"{report.source}: embeddings of {width} numbers, the base takes {embedding_dim}")
        for clips in (split.train, split.val, split.test):
            of, labels, _ = clips.infos.labels()
            beyond = of[labels >= num_actions]
            if len(beyond):
                info = clips.infos[int(beyond[0])]
                label = max(info.action_counts or ())
                raise DataError(f"{report.source}: {info.label}: action {label}, the base has {num_actions} classes")
        if motion_code:
            used = width if width < embedding_dim else split.train[0].embedding.nonzero().max().item() + 1
            if used > embedding_dim - CODE_WIDTH:
                raise DataError(
                    f"{report.source}: embeddings of {used} numbers leave no room for the base's motion code in "
                    f"{embedding_dim}; at most {embedding_dim - CODE_WIDTH} fit"
                )
            self.varying = replace(self.varying, codes=True)
        if width < embedding_dim:
            self._loaded = (split.map(lambda clips: clips.padded(embedding_dim)), report)

    def train_also_on(self, clips: Sequence[Clip]) -> None:
        """Add training clips that the data file does not have, of its figure and as wide as :meth:`fit_to` made it."""
        split, report = self._load()
        store = ClipsInMemory(clips)
        self._loaded = (replace(split, train=split.train + ClipSet(store, store.infos)), report)

    def divide(self, batch_size: int, accumulate: int) -> None:
        """Divide optimizer steps into micro-batches of another size from now on."""
        self.batch_size, self.accumulate = batch_size, accumulate

    @contextmanager
    def shared(self, rank: int, processes: int) -> Iterator[None]:
        """Deal out only this process's part of every step and of the clips to score, while the context lasts."""
        self.rank, self.processes = rank, processes
        try:
            yield
        finally:
            self.rank, self.processes = 0, 1

    def train_plan(self) -> StepPlan:
        """Return the order of the training clips."""
        return StepPlan(
            self.split.train.infos,
            self.batch_size,
            self.accumulate,
            shuffle=True,
            seed=self.seed,
            feed_actions=self.objective.feed_actions,
            varying=self.varying,
            read=self.split.train.__getitem__,
            rank=self.rank,
            processes=self.processes,
        )

    def train_dataloader(self) -> "DataLoader[Batch]":
        """Return the training batches; after a resume, from where the checkpoint was taken."""
        plan = self.train_plan()
        epoch = self._position["epoch"]
        batch = plan.after(self._position["batch"], self._position.get("processes", self.processes))
        plan.epoch, plan.start = (epoch + 1, 0) if batch >= len(plan) else (epoch, batch)
        return make_loader(plan, self.split.train, self.config.conditions, self.config.num_workers, self.hidden)

    def train_batches(self) -> MicroBatches:
        """Return what collates the training clips."""
        return MicroBatches(self.split.train, self.config.conditions, self.hidden)

    def every_variant(self) -> Iterator[MicroBatch]:
        """Yield all variants of all training clips, each once, in batches and an order that depend on nothing else.

        Raises:
            ValueError: the variations are endless (``varying.variants`` is None).
        """
        if self.varying.variants is None:
            raise ValueError("data.augment.variants: endless")
        clips = self.split.train
        plan = StepPlan(
            clips.infos,
            EVAL_BATCH_SIZE,
            accumulate=-(-len(clips) // EVAL_BATCH_SIZE),
            varying=self.varying,
            read=clips.__getitem__,
        )
        for variant in range(self.varying.variants):
            plan.set_epoch(variant)
            yield from plan

    def val_dataloader(self) -> "DataLoader[Batch]":
        """Return the validation batches."""
        return self.eval_loader(self.split.val)

    def test_dataloader(self) -> "DataLoader[Batch]":
        """Return the test batches."""
        return self.eval_loader(self.split.test)

    def eval_loader(self, clips: ClipSet) -> "DataLoader[Batch]":
        """Return batches of clips, without shuffling.

        They count as one step, so the sums of their loss terms are those of all the clips at once.
        """
        whole = -(-len(clips) // EVAL_BATCH_SIZE)
        plan = StepPlan(clips.infos, EVAL_BATCH_SIZE, accumulate=whole, rank=self.rank, processes=self.processes)
        return make_loader(plan, clips, self.config.conditions)

    def state_dict(self) -> dict[str, int]:
        """Return how far into which epoch the training is, in micro-batches of each process, for a checkpoint."""
        if self.trainer is None:
            return dict(self._position)
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.current
        return {"epoch": self.trainer.current_epoch, "batch": progress.ready, "processes": self.processes}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue from where a checkpoint was taken."""
        self._position = dict(state_dict)

    def _load(self) -> tuple[Split[ClipSet], DataReport]:
        if self._loaded is None:
            self._loaded = open_dataset(self.config)
        return self._loaded
