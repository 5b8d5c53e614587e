"""The LightningModule around a base with adapters, or around a whole model in training."""

import functools
import math
import time
from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MetricCollection, SumMetric

from stickgen.artifacts.run import CHECKPOINT_KEY, checkpoint_record
from stickgen.config import TrainConfig
from stickgen.data.batch import NO_ACTION, Batch
from stickgen.errors import CheckpointError, TrainingError
from stickgen.evaluation.metrics import motion_metrics
from stickgen.evaluation.next_frame import predict_next, update_metrics
from stickgen.lora import adapted_layers
from stickgen.model import StickFigureTransformer
from stickgen.training.losses import Targets, loss_terms, total_loss
from stickgen.training.processes import count_for

TERMS = ("pose", "temporal", "action", "physics")

_IN_EVERY_STEP = (
    "text_projection",
    "motion_embedding",
    "transformer_encoder",
    "pose_decoder",
    "action_predictor",
    "physics_decoder",
)
"""Parts of the model that the loss depends on whatever a batch holds."""


class MotionModule(LightningModule):
    """Predicts every next frame of a clip and learns from the error.

    Only parameters that require gradients are trained and kept in checkpoints; a frozen base is known to a
    checkpoint by its fingerprint alone.

    Args:
        model: the base, with adapters injected or all weights trainable.
        config: the run's settings.
        base_fingerprint: digest of the frozen base; None where the whole model is trained.
    """

    def __init__(self, model: StickFigureTransformer, config: TrainConfig, base_fingerprint: str | None) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.base_fingerprint = base_fingerprint
        # Our checkpoints leave the base out; on_load_checkpoint checks the keys itself, and exactly.
        self.strict_loading = False
        num_actions = model.settings["num_actions"]
        self.metrics = torch.nn.ModuleDict(
            {split: motion_metrics(num_actions, f"{split}/") for split in ("val", "test")}
        )
        terms = (*TERMS, "contact", "spread") if model.body_frame is not None else TERMS
        self.loss_sums = torch.nn.ModuleDict(
            {split: MetricCollection({term: SumMetric() for term in terms}) for split in ("val", "test")}
        )
        self.register_buffer("physics_scale", torch.tensor(config.objective.physics_scale), persistent=False)
        self._step_terms: dict[str, Tensor] = {}
        self._rng: list[dict[str, Any]] | None = None
        self._began = time.monotonic()
        self._seconds_before = 0.0

    @property
    def seconds(self) -> float:
        """How long the run has taken, with the parts before it was resumed."""
        return self._seconds_before + time.monotonic() - self._began

    def forward(self, batch: Batch, feed_actions: bool = False) -> dict[str, Tensor]:
        """Return the model's outputs ``[T − 1, B, …]`` for targets 1 to T − 1 of a batch."""
        return predict_next(self.model, batch, feed_actions=feed_actions, causal=self.config.objective.causal)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return a micro-batch's share of the optimizer step's loss."""
        loss, terms = self.step_loss(batch)
        self._log_step({**terms, "loss": loss}, batch.ends_step)
        # Lightning divides by the number of micro-batches, and DDP by that of processes, which the step's counts have
        # done already.
        return loss * (self.trainer.accumulate_grad_batches * self.trainer.world_size)

    def step_loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return a training micro-batch's share of its optimizer step's loss, and the terms it is made of."""
        # A step is fed actions as a whole or not at all: an embedding row for "unknown" does not exist.
        counts = batch.step_counts
        feed = batch.feed_actions and counts.action_frames == counts.frames
        # What is in the input cannot be asked for; the reference does, and its own objective keeps that.
        ask_action = not (feed and self.config.objective.causal)
        terms = self._terms(self(batch, feed), batch, ask_action)
        return total_loss(terms, self.config.objective.weights), terms

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the validation metrics."""
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the test metrics."""
        self._evaluate(batch, "test")

    def on_validation_epoch_end(self) -> None:
        """Log the validation metrics."""
        self.log_dict(self._collect("val"))

    def on_test_epoch_end(self) -> None:
        """Log the test metrics."""
        self.log_dict(self._collect("test"))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the learning rate of the step to come."""
        self.log("train/learning_rate", optimizer.param_groups[0]["lr"], batch_size=1)

    def configure_optimizers(self) -> Any:
        """Return AdamW, decaying matrices only, and its schedule by optimizer step."""
        settings = self.config.optimizer
        trained = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        # With LoRA+, B has a rate of its own; the group of the rate that is logged comes first.
        apart = settings.lora_plus_ratio != 1
        up = [p for name, p in trained if apart and name.endswith(".lora_B")]
        matrices = [p for name, p in trained if p.ndim >= 2 and not (apart and name.endswith(".lora_B"))]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": [p for _, p in trained if p.ndim < 2], "weight_decay": 0.0},
            {"params": up, "weight_decay": settings.weight_decay, "lr": settings.lr * settings.lora_plus_ratio},
        ]
        optimizer = AdamW(
            [group for group in groups if group["params"]],
            lr=settings.lr,
        )
        total = int(self.trainer.estimated_stepping_batches)
        warmup = math.ceil(settings.warmup_fraction * total)
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def some_may_rest(self) -> bool:
        """Whether there are trained parameters that a step may leave without a gradient."""
        return any(p.requires_grad and not n.startswith(_IN_EVERY_STEP) for n, p in self.model.named_parameters())

    def trained_state(self) -> dict[str, Tensor]:
        """Return what the base does not hold: trained tensors, and factors that stay fixed, by name in this module."""
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        trained |= {
            f"model.{path}.{name}" for path, layer in adapted_layers(self.model).items() for name in layer.FACTORS
        }
        return {name: value for name, value in self.state_dict().items() if name in trained}

    def load_trained_state(self, state: Mapping[str, Tensor], where: str) -> None:
        """Load what :meth:`trained_state` returned.

        Raises:
            CheckpointError: a key is missing or unknown, or a shape differs.
        """
        own = self.trained_state()
        for what, keys in (("lacks", own.keys() - state.keys()), ("has unknown", state.keys() - own.keys())):
            if keys:
                raise CheckpointError(f"{where}: {what} {len(keys)} trained tensors, such as {min(keys)}")
        for name, value in own.items():
            if state[name].shape != value.shape:
                shapes = f"{list(state[name].shape)}, {list(value.shape)} expected"
                raise CheckpointError(f"{where}: {name} has shape {shapes}")
        self.load_state_dict(dict(state), strict=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen base out; add the run's settings and the state of the random generators."""
        checkpoint["state_dict"] = self.trained_state()
        checkpoint[CHECKPOINT_KEY] = {
            **self._record,
            "rng": self._rng_states(),
            "seconds": self.seconds,
        }

    @functools.cached_property
    def _record(self) -> dict[str, Any]:
        # Once: with a checkpoint for every step it would take a fifth of a short run's time.
        return checkpoint_record(self.config, self.base_fingerprint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check, before anything is loaded, that the checkpoint belongs to this model and base."""
        own = checkpoint.get(CHECKPOINT_KEY)
        if not isinstance(own, Mapping):
            raise CheckpointError("resume: not a checkpoint of a stickgen run")
        if own["base_fingerprint"] != self.base_fingerprint:
            raise CheckpointError(
                f"resume: the run adapts a base of fingerprint {own['base_fingerprint']}, "
                f"{self.config.base.checkpoint} has {self.base_fingerprint}"
            )
        if len(own["rng"]) != self.trainer.world_size:
            count_for(self.trainer, checkpoint, len(own["rng"]))
        self.load_trained_state(checkpoint["state_dict"], "resume")
        self._rng = own["rng"]
        self._seconds_before = own.get("seconds", 0.0)

    def on_train_start(self) -> None:
        """Continue the random numbers of a resumed run: here, after everything that draws some while starting."""
        if self._rng is not None and self.global_rank < len(self._rng):
            own = self._rng[self.global_rank]
            torch.set_rng_state(own["cpu"])
            if self.device.type == "cuda" and own["cuda"] is not None:
                torch.cuda.set_rng_state(own["cuda"], self.device)
            self._rng = None
        elif self.global_rank > 0:  # dropout masks of its own
            torch.manual_seed(torch.initial_seed() + self.global_rank)

    def _rng_states(self) -> list[dict[str, Any]]:
        """Return the state of the random generators of each of the run's processes."""
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        own = {"cpu": torch.get_rng_state(), "cuda": cuda}
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return [own]
        states: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(states, own)
        return states

    def _terms(self, outputs: Mapping[str, Tensor], batch: Batch, ask_action: bool = True) -> dict[str, Tensor]:
        mask = ~batch.padding_mask.T[1:] & batch.counted
        # Action and physics: of the frame that is asked for, or as the reference labels them, of the one that is read.
        labelled = slice(1, None) if self.config.objective.causal else slice(None, -1)
        actions = batch.actions[labelled].where(mask, NO_ACTION)
        targets = Targets(
            pose=(batch.motion if batch.target_offset is None else batch.motion + batch.target_offset)[1:],
            mask=mask,
            actions=actions if ask_action else torch.full_like(actions, NO_ACTION),
            physics=batch.physics[labelled],
            physics_mask=mask & batch.has_physics,
            counts=batch.step_counts,
            steps=batch.motion.diff(dim=0) if batch.clip_steps is None else batch.clip_steps[:-1],
            undisturbed=True if batch.input_offset is None else (batch.input_offset == 0).all(-1).all(0),
        )
        return loss_terms(
            outputs,
            targets,
            gravity=self.config.objective.gravity,
            pose_scale=self.model.pose_scale,
            physics_scale=cast("Tensor", self.physics_scale),
            body_frame=self.model.body_frame,
        )

    def _log_step(self, terms: Mapping[str, Tensor], ends_step: bool) -> None:
        """Log the terms of a whole optimizer step, which its micro-batches add up to."""
        for name, value in terms.items():
            self._step_terms[name] = self._step_terms.get(name, torch.zeros_like(value)) + value.detach()
        if ends_step:
            values = torch.stack(list(self._step_terms.values()))
            if self.trainer.world_size > 1:
                values = self.trainer.strategy.reduce(values, reduce_op="sum")
            if not bool(torch.isfinite(values).all()):
                raise self._diverged("the loss")
            shown = {f"train/{name}": value for name, value in zip(self._step_terms, values, strict=True)}
            self.log_dict(shown, batch_size=1)
            self.log("loss", shown["train/loss"], batch_size=1, prog_bar=True, logger=False)
            self._step_terms = {}

    def _evaluate(self, batch: Batch, split: str) -> None:
        if not batch.counted:
            return
        with torch.autocast(self.device.type, enabled=False):  # metrics are float32, whatever the training computes in
            outputs = self(batch)  # action labels are withheld wherever accuracy is measured
        update_metrics(cast("MetricCollection", self.metrics[split]), outputs, batch)
        sums = cast("MetricCollection", self.loss_sums[split])
        for term, value in self._terms(outputs, batch).items():
            sums[term].update(value)

    def _collect(self, split: str) -> dict[str, Tensor]:
        metrics = cast("MetricCollection", self.metrics[split])
        sums = cast("MetricCollection", self.loss_sums[split])
        terms = sums.compute()
        values = {**metrics.compute(), f"{split}/loss": total_loss(terms, self.config.objective.weights)}
        metrics.reset()
        sums.reset()
        # The last steps' losses were still of weights before them.
        if not bool(torch.isfinite(values[f"{split}/pose_mse"])):
            raise self._diverged(f"{split}/pose_mse")
        return values

    def _diverged(self, what: str) -> TrainingError:
        rate = self.config.optimizer.lr
        return TrainingError(
            f"the training diverged: {what} is not finite at optimizer step {self.global_step + 1}; "
            f"lower optimizer.lr={rate:g}, or warm up for longer (optimizer.warmup_fraction)"
        )


def warmup_cosine(step: int, warmup: int, total: int) -> float:
    """Return the learning rate's factor: rising linearly over ``warmup`` steps, then a half cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
