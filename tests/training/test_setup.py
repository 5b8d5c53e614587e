from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from stickgen.artifacts.base import load_base, save_base
from stickgen.artifacts.record import BaseRecord
from stickgen.config import BaseConfig, DataConfig, LoRAConfig, ObjectiveConfig, OptimizerConfig, TrainConfig
from stickgen.data.datamodule import ClipDataModule
from stickgen.data.file import write_sequences
from stickgen.errors import CheckpointError, ConfigError, DataError
from stickgen.lora import DoRALinear, adapted_layers
from stickgen.model import StickFigureTransformer
from stickgen.model.motion_code import WIDTH
from stickgen.training.setup import BuiltModel, build_model
from tests.random_clips import EMBEDDING_DIM, random_sequences

ENCODER = {"id": "org/encoder", "dim": EMBEDDING_DIM}
SCRATCH = {"from_scratch": True, "checkpoint": None, "d_model": 48, "nhead": 4, "num_layers": 2}

Setup = Callable[..., BuiltModel]


@pytest.fixture
def base_file(tmp_path: Path, model: Callable[..., StickFigureTransformer]) -> Callable[..., Path]:
    """Writes a base with its record; ``record`` changes it, further keywords the model."""

    def write(record: dict[str, Any] | None = None, **settings: Any) -> Path:
        made = model(**settings)
        kind = "causal" if made.causal else "bidirectional"
        fields = {"settings": {}, "objective": kind, "text_encoder": ENCODER, "origin": {"seed": 0}, **(record or {})}
        save_base(made, BaseRecord(**fields), tmp_path / "base.safetensors", overwrite=True)
        return tmp_path / "base.safetensors"

    return write


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """Makes the built of a run on a base and a data file of its own; a dict for a group changes its settings."""

    def make(
        path: Path | None, encoder: dict[str, Any] | None = None, sequences: dict[str, Any] | None = None, **groups: Any
    ) -> BuiltModel:
        info = {"text_encoder": ENCODER if encoder is None else encoder}
        write_sequences(tmp_path / "clips.pt", random_sequences(8, **(sequences or {})), info, overwrite=True)
        config = TrainConfig(
            base=BaseConfig(**{"checkpoint": None if path is None else str(path), **groups.get("base", {})}),
            lora=LoRAConfig(**{"rank": 4, "targets": {"attention": ["self_attn"]}, **groups.get("lora", {})}),
            objective=ObjectiveConfig(**{"causal": True, **groups.get("objective", {})}),
            data=DataConfig(path=str(tmp_path / "clips.pt"), **groups.get("data", {})),
            optimizer=OptimizerConfig(**groups.get("optimizer", {})),
            run_dir="run",
        )
        return build_model(config, ClipDataModule(config.data))

    return make


def test_only_the_adapters_of_a_frozen_base_are_trained(base_file: Callable[..., Path], setup: Setup) -> None:
    path = base_file()
    built = setup(path)
    trained = {name for name, p in built.model.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.rpartition(".")[2] in ("lora_A", "lora_B") and ".self_attn." in name for name in trained)
    assert built.adapted == 2 * 4
    assert built.trainable == 2 * 4 * (48 + 48) * 4
    assert built.total == built.trainable + sum(p.numel() for p in load_base(path).model.parameters())
    assert built.fingerprint == load_base(path).fingerprint
    assert built.base_path == path
    assert built.model.training


def test_layers_have_the_settings_that_the_run_gives_them(base_file: Callable[..., Path], setup: Setup) -> None:
    lora = {"kind": "dora", "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"out_proj": 3.0}, "layers": [1]}
    layers = adapted_layers(setup(base_file(), lora=lora).model)
    assert len(layers) == 4
    for path, layer in layers.items():
        assert ".layers.1." in path
        assert isinstance(layer, DoRALinear)
        assert layer.rank == (2 if path.endswith("q_proj") else 4)
        assert layer.alpha == (3.0 if path.endswith("out_proj") else 16.0)


def test_a_rate_for_b_is_refused_for_a_kind_without(base_file: Callable[..., Path], setup: Setup) -> None:
    with pytest.raises(ConfigError, match=r"optimizer.lora_plus_ratio=4: .* with lora.kind=loha"):
        setup(base_file(), lora={"kind": "loha"}, optimizer={"lora_plus_ratio": 4.0})
    setup(base_file(), lora={"kind": "pissa"}, optimizer={"lora_plus_ratio": 4.0})


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank_pattern": {"gate_proj": 2}}, "lora.targets: rank_pattern 'gate_proj' matches the path of no adapted"),
        ({"alpha_pattern": {"(": 2.0}}, r"lora.alpha_pattern '\(': not a regular expression"),
        ({"layers": [9]}, r"lora.targets: layers \[9\]: the targets lie in layers 0, 1"),
    ],
)
def test_settings_of_layers_that_are_not_there(
    base_file: Callable[..., Path], setup: Setup, lora: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        setup(base_file(), lora=lora)


def test_the_base_inside_is_the_one_of_the_file(base_file: Callable[..., Path], setup: Setup) -> None:
    path = base_file()
    plain = load_base(path).model
    state = setup(path).model.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(state[name], value), name


def test_without_lora_everything_is_trained(base_file: Callable[..., Path], setup: Setup) -> None:
    built = setup(base_file(), lora={"enabled": False, "targets": {}})
    assert all(p.requires_grad for p in built.model.parameters())
    assert built.trainable == built.total
    assert built.adapted == 0
    assert built.fingerprint is None
    assert built.record.text_encoder == ENCODER


@pytest.mark.parametrize("causal", [True, False])
def test_an_objective_of_the_other_kind_is_refused(base_file: Callable[..., Path], setup: Setup, causal: bool) -> None:
    ours, theirs = ("bidirectional", "causal") if causal else ("causal", "bidirectional")
    path = base_file(causal=causal, pose_output="absolute")
    with pytest.raises(ConfigError) as caught:
        setup(path, objective={"causal": not causal})
    assert str(caught.value) == f"objective={ours}: {path} is a {theirs} base; use objective={theirs}"
    setup(path, objective={"causal": causal})


def test_a_foreign_base_without_a_record_is_bidirectional(
    tmp_path: Path, model: Callable[..., StickFigureTransformer], setup: Setup
) -> None:
    path = tmp_path / "reference.pth"
    torch.save(model(causal=False, pose_output="absolute", pose_scale=1.0).state_dict(), path)
    with pytest.raises(ConfigError, match="is a bidirectional base; use objective=bidirectional"):
        setup(path, base={"nhead": 4})
    built = setup(path, objective={"causal": False}, data={"conditions": ["camera"]})
    assert built.model.causal is False


def test_captions_of_another_encoder_are_refused(base_file: Callable[..., Path], setup: Setup) -> None:
    path = base_file()
    with pytest.raises(ConfigError) as caught:
        setup(path, encoder={"id": "org/other", "dim": EMBEDDING_DIM})
    for part in ("data.path", "clips.pt were embedded by org/other", "by org/encoder", "--encoder org/encoder"):
        assert part in str(caught.value)


@pytest.mark.parametrize(("record", "encoder"), [({}, None), (ENCODER, {}), ({}, {})])
def test_unknown_encoders_are_not_held_against_each_other(
    base_file: Callable[..., Path], setup: Setup, record: dict[str, Any], encoder: dict[str, Any] | None
) -> None:
    setup(base_file({"text_encoder": record}), encoder=encoder)


def test_conditions_the_base_was_trained_without_are_refused(base_file: Callable[..., Path], setup: Setup) -> None:
    path = base_file({"conditions": ["camera"]})
    setup(path, data={"conditions": ["camera"]})
    with pytest.raises(ConfigError, match=r"data\.conditions: .*base\.safetensors was trained without partner"):
        setup(path, data={"conditions": ["camera", "partner"]})


@pytest.mark.parametrize("key", ["d_model", "nhead", "num_layers"])
def test_from_scratch_needs_the_sizes(setup: Setup, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"base\.{key}: needed to train from scratch; choose base=small"):
        setup(None, base={**SCRATCH, key: None}, lora={"enabled": False})


def test_from_scratch_makes_the_model_that_is_described(setup: Setup) -> None:
    described = {
        **SCRATCH,
        "embedding_dim": EMBEDDING_DIM,
        "causal": True,
        "pose_output": "velocity",
        "pose_scale": 0.02,
        "input_dim": 48,
        "num_actions": 64,
    }
    built = setup(None, sequences={"dim": 48}, base=described, lora={"enabled": False}, data={"conditions": ["camera"]})
    settings = built.model.settings
    for name, value in described.items():
        assert settings.get(name, value) == value
    assert settings["output_dim"] == 48
    assert built.record.settings == settings
    assert built.record.text_encoder == ENCODER
    assert built.record.conditions == ["camera"]
    assert built.record.objective == "causal"
    assert built.base_path is built.fingerprint is None
    assert built.trainable == built.total


def test_from_scratch_the_objective_must_be_the_models(setup: Setup) -> None:
    with pytest.raises(ConfigError, match=r"objective=causal: does not go with base\.causal=False"):
        setup(None, base={**SCRATCH, "causal": False}, lora={"enabled": False})


def test_from_scratch_impossible_sizes_are_told(setup: Setup) -> None:
    with pytest.raises(ConfigError, match="base: nhead=5 does not divide d_model=48"):
        setup(None, base={**SCRATCH, "nhead": 5, "causal": True}, lora={"enabled": False})


def test_the_same_seed_makes_the_same_new_base(setup: Setup) -> None:
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        base = {**SCRATCH, "causal": True, "embedding_dim": EMBEDDING_DIM}
        states.append(setup(None, base=base, lora={"enabled": False}).model.state_dict())
    name = "pose_decoder.0.weight"
    assert torch.equal(states[0][name], states[1][name])
    assert not torch.equal(states[0][name], states[2][name])


def test_a_target_that_matches_nothing_names_the_setting(base_file: Callable[..., Path], setup: Setup) -> None:
    with pytest.raises(ConfigError, match=r"^lora\.targets: target module 'self_atn' .*did you mean self_attn"):
        setup(base_file(), lora={"targets": {"attention": ["self_attn"], "mine": ["self_atn"]}})


def test_groups_of_targets_add_up_and_may_overlap(base_file: Callable[..., Path], setup: Setup) -> None:
    path = base_file()
    groups = {"attention": ["self_attn"], "out": ["out_proj", "pose_decoder"]}
    assert setup(path, lora={"targets": groups}).adapted == 2 * 4 + 2


def test_a_size_that_contradicts_the_base_names_both(base_file: Callable[..., Path], setup: Setup) -> None:
    path = base_file()
    with pytest.raises(CheckpointError, match="d_model=48, the configuration says d_model=64"):
        setup(path, base={"d_model": 64})
    with pytest.raises(CheckpointError, match="pose_output=residual, the configuration says pose_output=velocity"):
        setup(path, base={"pose_output": "velocity"})


def test_data_of_another_width_are_refused(base_file: Callable[..., Path], setup: Setup) -> None:
    with pytest.raises(DataError, match="frames of 48 numbers, the base takes 20"):
        setup(base_file(), sequences={"dim": 48})


def test_dropout_of_the_base_and_of_the_adapters_are_two_settings(base_file: Callable[..., Path], setup: Setup) -> None:
    for probability in (0.0, 0.3):
        model = setup(base_file(), base={"dropout": probability}, lora={"dropout": 0.2}).model
        assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {probability}
        assert {layer.self_attn.dropout for layer in model.transformer_encoder.layers} == {probability}
        assert model.transformer_encoder.layers[0].self_attn.q_proj.dropout == 0.2


def test_new_weights_may_begin_with_a_whitened_first_layer(setup: Setup) -> None:
    def state(**base: Any) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        scratch = {**SCRATCH, "embedding_dim": EMBEDDING_DIM, "causal": True, **base}
        return setup(None, base=scratch, lora={"enabled": False}).model.state_dict()

    plain, white = state(), state(whiten_input=True)
    changed = {name for name, value in plain.items() if not torch.equal(value, white[name])}
    assert changed == {"motion_embedding.0.weight", "motion_embedding.0.bias"}


def test_a_trained_base_keeps_its_first_layer(base_file: Callable[..., Path], setup: Setup) -> None:
    with pytest.raises(ConfigError, match=r"base\.whiten_input=true: only new weights can begin so"):
        setup(base_file(), base={"whiten_input": True})


def test_a_rank_that_no_layer_can_use_is_refused(base_file: Callable[..., Path], setup: Setup) -> None:
    with pytest.raises(ConfigError, match=r"lora\.rank=100000: at most \d+, the full rank"):
        setup(base_file(), lora={"rank": 100_000})
    with pytest.raises(ConfigError, match=r"lora\.rank=5000: at most"):
        setup(base_file(), lora={"rank_pattern": {"q_proj": 5000}})


# Bases in the body's frame, and their motion codes

ROOM = {"embedding_dim": EMBEDDING_DIM + WIDTH}
WORLD = {"pose_output": "velocity", **ROOM}
BODY = {"pose_frame": "body", "motion_code": True, **WORLD}


def test_a_base_in_the_worlds_frame_is_trained_further_in_the_bodys(
    base_file: Callable[..., Path], setup: Setup
) -> None:
    path = base_file(**WORLD)
    whole = {"enabled": False}
    built = setup(path, lora=whole, base={"pose_frame": "body", "motion_code": True, "velocity_kept": 0.9})
    settings = built.model.settings
    assert (settings["pose_frame"], settings["motion_code"], settings["velocity_kept"]) == ("body", True, 0.9)
    assert built.trainable == built.total
    assert built.codes is not None
    assert built.model.code_bank is built.codes, "the base begins without codes of other clips"
    assert setup(path, lora=whole).model.settings["pose_frame"] == "world"
    with pytest.raises(CheckpointError, match="pose_frame=world, the configuration says pose_frame=body"):
        setup(path, base={"pose_frame": "body"})
    with pytest.raises(ConfigError, match=r"base\.pose_frame=body: .* pose_output=velocity"):
        setup(base_file(), lora=whole, base={"pose_frame": "body"})


def test_an_adapters_codes_come_beside_its_bases(base_file: Callable[..., Path], setup: Setup) -> None:
    made = setup(base_file(**WORLD), lora={"enabled": False}, base={"pose_frame": "body", "motion_code": True})
    save_base(made.model, made.record, made.base_path, overwrite=True)
    built = setup(made.base_path)
    assert built.codes is not None
    count = len(built.codes.codes)
    assert len(built.model.code_bank.codes) == 2 * count


def test_captions_have_to_leave_room_for_the_code(base_file: Callable[..., Path], setup: Setup) -> None:
    with pytest.raises(DataError, match=rf"embeddings of {EMBEDDING_DIM} numbers leave no room for the base's motion"):
        setup(base_file(**{**BODY, "embedding_dim": EMBEDDING_DIM + WIDTH - 1}))


def test_prior_clips_are_trained_on_and_not_scored(base_file: Callable[..., Path], setup: Setup) -> None:
    made = setup(base_file(**WORLD), lora={"enabled": False}, base={"pose_frame": "body", "motion_code": True})
    save_base(made.model, made.record, made.base_path, overwrite=True)
    config = TrainConfig(
        base=BaseConfig(checkpoint=str(made.base_path)),
        lora=LoRAConfig(rank=4, targets={"attention": ["self_attn"]}),
        objective=ObjectiveConfig(prior_clips=3),
        data=DataConfig(path=str(made.base_path.with_name("clips.pt"))),
        run_dir="run",
    )
    data = ClipDataModule(config.data)
    before = len(data.split.train)
    built = build_model(config, data)
    assert [clip.source for clip in data.split.train].count("prior") == 3
    assert len(data.split.train) == before + 3
    assert built.codes is not None
    assert len(built.codes.codes) == before, "the base's own are in its bank already"
    assert not any(clip.source == "prior" for clip in [*data.split.val, *data.split.test])
    assert len(list(data.train_dataloader())) == -(-(before + 3) // config.data.batch_size)


@pytest.mark.parametrize("lora", [{}, {"enabled": False}], ids=["a base without codes", "whole weights"])
def test_other_runs_have_no_prior_clips(base_file: Callable[..., Path], setup: Setup, lora: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"objective\.prior_clips=4: is for adapters on a base with motion codes"):
        setup(base_file(), lora=lora, objective={"prior_clips": 4})
