import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

import stickgen.data.datamodule as datamodule
from stickgen.artifacts.run import CHECKPOINT_KEY
from stickgen.config import DataConfig, LossWeights, OptimizerConfig
from stickgen.data.batch import NO_ACTION, Batch, TargetCounts, collate
from stickgen.data.clips import Clip
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.loader import StepPlan, make_loader
from stickgen.errors import CheckpointError
from stickgen.training.module import MotionModule, warmup_cosine
from tests.random_clips import clip_set, ragged_clips, random_clip

CLIPS = ragged_clips((9, 2, 5, 12, 3, 7, 4))
LABELLED = ragged_clips((6, 3, 8), mixed=False)

Build = Callable[..., MotionModule]


@pytest.fixture
def given() -> Callable[[MotionModule], list[dict[str, Any]]]:
    """What a module's model is called with from now on, and what it answers (``outputs``)."""

    def watch(module: MotionModule) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        module.model.register_forward_hook(
            lambda _, args, kwargs, outputs: calls.append({"motion": args[0], **kwargs, "outputs": outputs}),
            with_kwargs=True,
        )
        return calls

    return watch


def with_actions(batch: Batch, value: int) -> Batch:
    """The batch with other labels at every labelled frame."""
    return dataclasses.replace(batch, actions=torch.where(batch.actions == NO_ACTION, NO_ACTION, value))


def evaluated(module: MotionModule, batches: Sequence[Batch], split: str = "val") -> dict[str, float]:
    module.eval()
    with torch.no_grad():
        for index, batch in enumerate(batches):
            (module.validation_step if split == "val" else module.test_step)(batch, index)
        return {name: float(value) for name, value in module._collect(split).items()}


# What the model is given, and what it is asked for.


def test_targets_are_the_next_frames(module: Build, given: Any) -> None:
    motion_module = module()
    calls = given(motion_module)
    batch = collate(CLIPS)
    motion_module.training_step(batch, 0)
    (call,) = calls
    torch.testing.assert_close(call["motion"], batch.motion[:-1], rtol=0, atol=0)
    # The frame that a prediction is for decides whether it counts.
    assert torch.equal(call["padding_mask"], batch.padding_mask[:, 1:])
    assert call["outputs"]["pose"].shape == batch.motion[1:].shape
    assert call["causal"] is True


def test_offsets_are_added_to_what_is_read_and_to_what_is_asked_for(module: Build, given: Any) -> None:
    motion_module = module()
    calls = given(motion_module)
    batch = collate(LABELLED)
    random = torch.Generator().manual_seed(0)
    read, asked = (0.1 * torch.randn(batch.motion.shape, generator=random) for _ in range(2))
    motion_module.training_step(dataclasses.replace(batch, input_offset=read, target_offset=asked), 0)
    torch.testing.assert_close(calls[0]["motion"], (batch.motion + read)[:-1])
    mask = ~batch.padding_mask.T[1:]
    errors = (calls[0]["outputs"]["pose"].detach() - (batch.motion + asked)[1:])[mask]
    expected = float((errors / motion_module.model.pose_scale).square().mean())
    assert motion_module.steps[0]["train/pose"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("feed", [0.0, 1.0])
def test_action_labels_are_withheld_wherever_accuracy_is_measured(
    module: Build, given: Any, causal: bool, feed: float
) -> None:
    motion_module = module(settings={"causal": causal}, objective={"feed_actions": feed})
    calls = given(motion_module)
    batch = collate(LABELLED, feed_actions=bool(feed))
    scores = [
        evaluated(motion_module, [with_actions(batch, value)], split) for split in ("val", "test") for value in (3, 41)
    ]
    assert [call["action_sequence"] for call in calls] == [None] * 4
    for call in calls[1:]:
        for name, output in call["outputs"].items():
            assert torch.equal(output, calls[0]["outputs"][name]), f"{name} depends on the labels"
    assert scores[0]["val/pose_mse"] == scores[1]["val/pose_mse"] == scores[2]["test/pose_mse"]
    assert scores[0]["val/loss"] != scores[1]["val/loss"], "the labels are asked for"


def test_accuracy_is_that_of_the_models_own_guesses(module: Build, given: Any) -> None:
    motion_module = module()
    calls = given(motion_module)
    batch = collate(CLIPS)
    accuracy = evaluated(motion_module, [batch])["val/action_accuracy"]
    labels = batch.actions[1:]
    guesses = calls[0]["outputs"]["action_logits"].argmax(-1)
    assert accuracy == pytest.approx(float((guesses == labels)[labels != NO_ACTION].double().mean()))
    perfect = dataclasses.replace(
        batch, actions=torch.cat((batch.actions[:1], torch.where(labels == NO_ACTION, NO_ACTION, guesses)))
    )
    assert evaluated(motion_module, [perfect])["val/action_accuracy"] == 1


def test_fed_actions_reach_the_model_from_the_frames_it_sees(module: Build, given: Any) -> None:
    motion_module = module(objective={"feed_actions": 1.0})
    calls = given(motion_module)
    batch = collate(LABELLED, feed_actions=True)
    motion_module.training_step(batch, 0)
    motion_module.training_step(dataclasses.replace(batch, feed_actions=False), 0)
    fed, withheld = calls
    real = ~batch.padding_mask.T[:-1]
    assert torch.equal(fed["action_sequence"][real], batch.actions[:-1][real])
    assert int(fed["action_sequence"].min()) >= 0, "there is no embedding of no action"
    assert withheld["action_sequence"] is None
    assert not torch.equal(fed["outputs"]["pose"], withheld["outputs"]["pose"])


def test_a_step_with_unlabelled_clips_is_never_fed(module: Build, given: Any) -> None:
    motion_module = module()
    calls = given(motion_module)
    motion_module.training_step(collate([random_clip(4), random_clip(4, actions=False)], feed_actions=True), 0)
    # The labelled half of a step is not fed either where the other half cannot be.
    counts = TargetCounts.of([random_clip(4), random_clip(4, actions=False)])
    motion_module.training_step(collate([random_clip(4)], step_counts=counts, feed_actions=True), 0)
    assert [call["action_sequence"] for call in calls] == [None, None]
    assert all(step["train/action"] > 0 for step in motion_module.steps)


def test_a_causal_step_that_is_fed_actions_is_not_asked_for_them(module: Build) -> None:
    motion_module = module(lora=False)
    batch = collate(LABELLED, feed_actions=True)
    loss = motion_module.training_step(batch, 0)
    (logged,) = motion_module.steps
    assert logged["train/action"] == 0
    weights = LossWeights()
    expected = sum(getattr(weights, name) * logged[f"train/{name}"] for name in ("pose", "temporal", "physics"))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert not any(p.grad is not None and p.grad.any() for p in motion_module.model.action_predictor.parameters())


def test_a_bidirectional_step_that_is_fed_actions_asks_for_them_as_the_reference_does(module: Build) -> None:
    motion_module = module(settings={"causal": False})
    motion_module.training_step(collate(LABELLED, feed_actions=True), 0)
    assert motion_module.steps[0]["train/action"] > 0


def test_conditions_reach_the_model(module: Build, given: Any) -> None:
    motion_module = module()
    calls = given(motion_module)
    clips = [random_clip(5, camera=True, partner=True), random_clip(3, seed=1)]
    batch = collate(clips, ("camera", "partner"))
    motion_module.training_step(batch, 0)
    assert batch.camera is not None
    assert batch.partner is not None
    assert torch.equal(calls[0]["camera_data"], batch.camera[:-1])
    assert torch.equal(calls[0]["partner_motion"], batch.partner[:-1])
    motion_module.training_step(collate(clips), 0)
    assert calls[1]["camera_data"] is calls[1]["partner_motion"] is None


@pytest.mark.parametrize(("label", "term"), [("actions", "action"), ("physics", "physics")])
def test_a_clip_without_labels_counts_for_the_other_terms_only(module: Build, label: str, term: str) -> None:
    def terms(*clips: Clip) -> dict[str, float]:
        motion_module = module()
        motion_module.training_step(collate(clips), 0)
        return motion_module.steps[0]

    full, other = random_clip(6, seed=0), random_clip(4, seed=1)
    lone, both = terms(full), terms(full, other)
    mixed = terms(full, dataclasses.replace(other, **{label: None}))
    for name in ("pose", "temporal", "action", "physics"):
        expected = (lone if name == term else both)[f"train/{name}"]
        assert mixed[f"train/{name}"] == pytest.approx(expected, rel=1e-5), name
    assert lone[f"train/{term}"] != pytest.approx(both[f"train/{term}"], rel=1e-3)


def test_the_physics_scale_and_the_weight_of_gravity_are_those_of_the_objective(module: Build) -> None:
    def physics(**objective: Any) -> float:
        motion_module = module(objective=objective)
        motion_module.training_step(collate(LABELLED), 0)
        return motion_module.steps[0]["train/physics"]

    plain = physics()
    assert physics(physics_scale=[2.0] * 6) == pytest.approx(plain / 4, rel=1e-5)
    falling, twice = (physics(gravity=gravity) - plain for gravity in (0.1, 0.2))
    assert twice == pytest.approx(2 * falling, rel=1e-4)
    assert falling > 1, "a figure that does not fall differs by 9.8 body heights / s²"


def test_the_pose_loss_is_in_units_of_the_models_pose_scale(module: Build) -> None:
    motion_module = module(settings={"pose_scale": 0.1})
    motion_module.train()
    batch = collate(LABELLED)
    motion_module.training_step(batch, 0)
    mse = evaluated(motion_module, [batch])["val/pose_mse"]
    assert motion_module.steps[0]["train/pose"] == pytest.approx(mse / 0.1**2, rel=1e-5)


# Validation.


def test_validation_does_not_depend_on_the_batch_size(module: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def values(size: int) -> dict[str, float]:
        monkeypatch.setattr(datamodule, "EVAL_BATCH_SIZE", size)
        data = ClipDataModule(DataConfig())
        return evaluated(module(), list(data.eval_loader(clip_set(CLIPS))))

    whole = values(16)
    assert set(whole) == {f"val/{n}" for n in ("pose_mse", "action_accuracy", "temporal_consistency_error", "loss")}
    for size in (1, 2, 3):
        assert values(size) == pytest.approx(whole, rel=1e-5)


def test_the_validation_loss_is_the_training_loss_of_the_same_clips(module: Build) -> None:
    motion_module = module()
    batch = collate(CLIPS)
    loss = motion_module.training_step(batch, 0).item()
    assert evaluated(motion_module, [batch])["val/loss"] == pytest.approx(loss, rel=1e-5)


def test_each_validation_starts_anew(module: Build) -> None:
    motion_module = module()
    first = evaluated(motion_module, [collate(CLIPS[:3])])
    evaluated(motion_module, [collate(CLIPS[3:])])
    assert evaluated(motion_module, [collate(CLIPS[:3])]) == first


# Optimizer and schedule.


def configured(motion_module: MotionModule, steps: int = 100) -> Any:
    motion_module._trainer.estimated_stepping_batches = steps
    return motion_module.configure_optimizers()


@pytest.mark.parametrize("lora", [True, False])
def test_only_matrices_decay_and_everything_trained_is_optimised(module: Build, lora: bool) -> None:
    motion_module = module(lora=lora, optimizer=OptimizerConfig(weight_decay=0.05, lr=2e-3))
    groups = configured(motion_module)["optimizer"].param_groups
    for group in groups:
        assert group["betas"] == (0.9, 0.999)
        assert group["eps"] == 1e-8
        assert group["initial_lr"] == 2e-3
        for parameter in group["params"]:
            assert parameter.requires_grad
            assert group["weight_decay"] == (0.05 if parameter.ndim >= 2 else 0.0)
    optimised = {id(p) for group in groups for p in group["params"]}
    assert optimised == {id(p) for p in motion_module.parameters() if p.requires_grad}
    assert len(groups) == (1 if lora else 2), "adapters are matrices all"


@pytest.mark.parametrize("ratio", [1.0, 16.0])
def test_lora_plus_gives_b_a_rate_of_its_own(module: Build, ratio: float) -> None:
    motion_module = module(optimizer=OptimizerConfig(lr=2e-3, weight_decay=0.05, lora_plus_ratio=ratio))
    optimizer = configured(motion_module)["optimizer"]
    rates = {id(p): group["initial_lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in motion_module.named_parameters():
        if parameter.requires_grad:
            assert rates.pop(id(parameter)) == pytest.approx(2e-3 * (ratio if name.endswith(".lora_B") else 1)), name
    assert not rates
    assert all(group["weight_decay"] == 0.05 for group in optimizer.param_groups)
    assert optimizer.param_groups[0]["initial_lr"] == 2e-3, "the rate that is logged"


def test_the_schedule_goes_by_optimizer_steps(module: Build) -> None:
    motion_module = module(optimizer=OptimizerConfig(lr=1e-2, warmup_fraction=0.2))
    made = configured(motion_module, steps=10)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]
    assert schedule["interval"] == "step"
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    assert rates[:3] == pytest.approx([5e-3, 1e-2, 1e-2])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (1, 10), (3, 10), (10, 100), (5, 5), (1, 1), (0, 1)])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(warmup: int, total: int) -> None:
    factors = [warmup_cosine(step, warmup, total) for step in range(total + 1)]
    assert factors[0] > 0, "no step is wasted"
    assert max(factors) == 1
    assert factors[max(warmup - 1, 0)] == 1, "the peak is at the end of the warm-up"
    rising, falling = factors[:warmup], factors[max(warmup - 1, 0) : total]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert warmup_cosine(total + 5, warmup, total) == pytest.approx(0, abs=1e-12) or warmup == total
    if warmup < total:
        assert factors[total] == pytest.approx(0, abs=1e-12)
        assert all(factor > 0 for factor in factors[:total])


def test_the_cosine_is_half_way_down_in_the_middle() -> None:
    assert warmup_cosine(60, 20, 100) == pytest.approx(0.5)
    assert warmup_cosine(40, 20, 100) == pytest.approx(0.5 * (1 + 2**-0.5))
    assert [warmup_cosine(step, 4, 100) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]


# Checkpoints.


def test_a_checkpoint_holds_the_trained_tensors_only(module: Build) -> None:
    motion_module = module()
    checkpoint: dict[str, Any] = {"state_dict": motion_module.state_dict()}
    motion_module.on_save_checkpoint(checkpoint)
    trained = {name for name, p in motion_module.named_parameters() if p.requires_grad}
    assert checkpoint["state_dict"].keys() == trained
    assert all(name.endswith(("lora_A", "lora_B")) for name in trained)
    record = checkpoint[CHECKPOINT_KEY]
    assert record["base_fingerprint"] == "f" * 32
    assert record["config"]["lora"]["rank"] == 8
    assert torch.equal(record["rng"][0]["cpu"], torch.get_rng_state())


def test_a_run_of_all_weights_keeps_them_all(module: Build) -> None:
    motion_module = module(lora=False)
    assert motion_module.trained_state().keys() == dict(motion_module.named_parameters()).keys()


def test_a_checkpoint_goes_back_in_bit_for_bit(module: Build) -> None:
    source, target = module(), module(settings={"seed": 1})
    state = {name: value.clone() for name, value in source.trained_state().items()}
    frozen = target.model.transformer_encoder.layers[0].self_attn.q_proj.weight.clone()
    target.load_trained_state(state, "last.ckpt")
    for name, value in target.trained_state().items():
        assert torch.equal(value, state[name])
    assert torch.equal(target.model.transformer_encoder.layers[0].self_attn.q_proj.weight, frozen)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state, key: state.pop(key), r"last\.ckpt: lacks 1 trained tensors, such as model\..*lora_"),
        (lambda state, key: state.update(stranger=torch.ones(1)), "has unknown 1 trained tensors, such as stranger"),
        (lambda state, key: state.update({key: state[key][:1]}), r"has shape \[1, \d+\], \[4, \d+\] expected"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(module: Build, spoil: Any, message: str) -> None:
    target = module()
    before = {name: value.clone() for name, value in target.trained_state().items()}
    state = {name: value + 1 for name, value in before.items()}
    spoil(state, next(name for name in state if name.endswith("lora_A")))
    with pytest.raises(CheckpointError, match=message):
        target.load_trained_state(state, "last.ckpt")
    for name, value in target.trained_state().items():
        assert torch.equal(value, before[name])


def test_resuming_on_another_base_is_refused(module: Build) -> None:
    source, target = module(), module()
    checkpoint: dict[str, Any] = {}
    source.on_save_checkpoint(checkpoint)
    target.on_load_checkpoint(checkpoint)
    target.base_fingerprint = "0" * 32
    with pytest.raises(CheckpointError, match=r"fingerprint f{32}, base\.safetensors has 0{32}"):
        target.on_load_checkpoint(checkpoint)
    with pytest.raises(CheckpointError, match="not a checkpoint of a stickgen run"):
        target.on_load_checkpoint({"state_dict": {}})


def test_a_resumed_run_goes_on_with_the_random_numbers_of_the_checkpoint(module: Build) -> None:
    motion_module = module()
    checkpoint: dict[str, Any] = {}
    motion_module.on_save_checkpoint(checkpoint)
    expected = torch.rand(3)
    motion_module.on_load_checkpoint(checkpoint)
    torch.manual_seed(5)  # whatever draws numbers while a run starts
    motion_module.on_train_start()
    assert torch.equal(torch.rand(3), expected)
    drawn = torch.get_rng_state()
    motion_module.on_train_start()
    assert torch.equal(torch.get_rng_state(), drawn), "once only"


# With Lightning itself: its steps, and its division by accumulate_grad_batches.


class Watch(Callback):
    """Keeps the gradients that each optimizer step gets, and how many batches came before it."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []
        self.batches: list[int] = []
        self.seen = 0

    def on_train_batch_start(self, *_: Any) -> None:
        self.seen += 1

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self.gradients.append({n: p.grad.clone() for n, p in pl_module.named_parameters() if p.grad is not None})
        self.batches.append(self.seen)


def trained(module: Build, clips: Sequence[Clip], batch_size: int, accumulate: int, folder: Any) -> Watch:
    motion_module = module(optimizer=OptimizerConfig(lr=1e-12, weight_decay=0.0))
    for name in ("log", "log_dict"):
        delattr(motion_module, name)
    watch = Watch()
    trainer = Trainer(
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[watch],
        default_root_dir=folder,
    )
    trainer.fit(motion_module, make_loader(StepPlan(clips, batch_size, accumulate, shuffle=True, seed=3), clips))
    return watch


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("one_thread")
def test_lightning_steps_where_the_plan_says_on_the_gradient_of_the_whole_step(module: Build, tmp_path: Any) -> None:
    clips = ragged_clips((9, 2, 5, 12, 3, 7, 4, 6, 8, 3))
    undivided = trained(module, clips, 4, 1, tmp_path)
    assert undivided.batches == [1, 2, 3]
    largest = max(float(g.abs().max()) for step in undivided.gradients for g in step.values())
    for batch_size, accumulate, batches in ((2, 2, [2, 4, 5]), (1, 4, [4, 8, 10])):
        divided = trained(module, clips, batch_size, accumulate, tmp_path)
        assert divided.batches == batches
        for found, expected in zip(divided.gradients, undivided.gradients, strict=True):
            for name, gradient in expected.items():
                torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5 * largest, msg=name)


def test_a_batch_that_does_not_count_adds_nothing(module: Build) -> None:
    motion_module = module()
    batch = collate(ragged_clips((6, 4)))
    loss, terms = motion_module.step_loss(dataclasses.replace(batch, counted=False))
    assert float(loss) == 0
    assert all(float(term) == 0 for term in terms.values())
    loss.backward()  # and is differentiated all the same, so that a process keeps in step with the others
    assert all(p.grad is not None and not p.grad.any() for p in motion_module.parameters() if p.requires_grad)
    motion_module._evaluate(batch, "val")
    alone = motion_module._collect("val")
    for counted in (batch, dataclasses.replace(batch, counted=False)):
        motion_module._evaluate(counted, "val")
    assert motion_module._collect("val") == alone
