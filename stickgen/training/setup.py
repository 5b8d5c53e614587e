"""From settings to a model that is ready to train, with everything checked that would make the numbers lie."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from stickgen.artifacts.base import load_base
from stickgen.artifacts.record import BaseRecord
from stickgen.config import BaseConfig, TrainConfig
from stickgen.data.clips import Clip
from stickgen.data.code_bank import code_bank
from stickgen.data.datamodule import ClipDataModule
from stickgen.errors import AdapterError, ConfigError
from stickgen.lora import KINDS, adapted_layers, inject_lora_adapters
from stickgen.model import StickFigureTransformer
from stickgen.model.code_bank import CodeBank
from stickgen.model.reframe import into_body_frame
from stickgen.text.encoder import encoder_difference
from stickgen.training.prior import prior_clips
from stickgen.training.whiten import whiten_input

_SETTINGS = (
    "input_dim",
    "d_model",
    "nhead",
    "num_layers",
    "embedding_dim",
    "num_actions",
    "causal",
    "pose_output",
    "pose_scale",
    "pose_frame",
    "velocity_kept",
    "pose_pull",
    "motion_code",
)

_OF_BODY = ("pose_frame", "velocity_kept", "pose_pull", "motion_code")
"""Those that a base may be given when it is trained further as a whole."""


@dataclass(frozen=True)
class BuiltModel:
    """What a run trains.

    Attributes:
        model: with adapters injected, or with all weights trainable.
        record: of the base, or of the base in the making.
        fingerprint: of the frozen base; None where all weights are trained.
        base_path: the base's file; None from scratch.
        adapted: how many layers have adapters.
        codes: motion codes of the training clips; None where the base reads none.
    """

    model: StickFigureTransformer
    record: BaseRecord
    fingerprint: str | None
    base_path: Path | None
    adapted: int
    codes: CodeBank | None = None

    @property
    def total(self) -> int:
        """Numbers in the model, the adapters' included."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def trainable(self) -> int:
        """Numbers that are trained."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Compute with the base as its file has it while the context lasts, also where it is trained in bfloat16."""
        kept = {
            name: p.data
            for name, p in self.model.named_parameters()
            if p.dtype == torch.bfloat16 and not p.requires_grad
        }
        if kept:
            assert self.base_path is not None  # only a loaded base is frozen
            exact = load_base(self.base_path).model
            for name, value in kept.items():
                self.model.get_parameter(name).data = exact.get_parameter(name).data.to(value.device)
        try:
            yield
        finally:
            for name, value in kept.items():
                self.model.get_parameter(name).data = value


def build_model(config: TrainConfig, data: ClipDataModule) -> BuiltModel:
    """Build or load the base, check it against data and objective, and inject the adapters.

    Raises:
        ConfigError: the settings contradict each other or the base.
        CheckpointError: the base cannot be read.
        DataError: the data do not fit the base.
    """
    if config.base.from_scratch:
        model, record = _new_base(config, data)
        fingerprint, path = None, None
    else:
        assert config.base.checkpoint is not None  # BaseConfig sees to it
        wanted = {name: getattr(config.base, name) for name in _SETTINGS}
        begins_anew = not config.lora.enabled and config.base.pose_frame == "body"
        if begins_anew:
            # A base in the world's frame may be taken over; one in the body's agrees anyway or is refused below.
            wanted = {name: value for name, value in wanted.items() if name not in _OF_BODY}
        base = load_base(Path(config.base.checkpoint), wanted)
        model, fingerprint, path = base.model, base.fingerprint, base.path
        if begins_anew and model.body_frame is None:
            model = _reframed(model, config.base)
        _check_objective(config, base.record, path)
        _check_text_encoder(data, base.record, path)
        record = _completed(base.record, config, data)
    if config.base.whiten_input and not config.base.from_scratch:
        raise ConfigError("base.whiten_input=true: only new weights can begin so; set base.from_scratch=true too")
    data.fit_to(*(model.settings[name] for name in ("input_dim", "embedding_dim", "num_actions", "motion_code")))
    if config.base.whiten_input:
        whiten_input(model, data.train_dataloader())
    model.set_dropout(config.base.dropout)
    model.train()
    adapted = 0
    prior = _prior_clips(model, fingerprint, config) if config.objective.prior_clips else []
    codes = code_bank(data.split.train) if model.settings["motion_code"] else None
    if codes is not None:
        below = model.code_bank if config.lora.enabled else None
        model.code_bank = codes if below is None else below + codes
    if prior:
        data.train_also_on(prior)
    if config.lora.enabled:
        lora = config.lora
        _refuse_huge(max(lora.rank, *lora.rank_pattern.values(), 0), model)
        try:
            inject_lora_adapters(model, lora.target_modules, layers=lora.layers, **vars(lora.settings))
        except AdapterError as error:
            raise ConfigError(f"lora.targets: {error}") from None
        ratio = config.optimizer.lora_plus_ratio
        if ratio != 1 and "lora_B" not in KINDS[lora.kind].FACTORS:
            raise ConfigError(
                f"optimizer.lora_plus_ratio={ratio:g}: is for kinds with a factor B; leave it at 1 with "
                f"lora.kind={lora.kind}"
            )
        adapted = len(adapted_layers(model))
        model.set_encoder_dtype(getattr(torch, config.base.dtype))
    else:
        model.requires_grad_(True)
        fingerprint = None
    return BuiltModel(model, record, fingerprint, path, adapted, codes)


def _prior_clips(model: StickFigureTransformer, fingerprint: str | None, config: TrainConfig) -> list[Clip]:
    count = config.objective.prior_clips
    if not config.lora.enabled or model.code_bank is None:
        raise ConfigError(
            f"objective.prior_clips={count}: is for adapters on a base with motion codes; leave it at 0 for other runs"
        )
    assert fingerprint is not None  # only a base that was read has codes
    return prior_clips(model, fingerprint, count, config.seed)


def _reframed(model: StickFigureTransformer, base: BaseConfig) -> StickFigureTransformer:
    """Return the base to be trained whole in the body's frame, begun as one in the world's."""
    given = {name: value for name in _OF_BODY[1:] if (value := getattr(base, name)) is not None}
    try:
        return into_body_frame(model, **given)
    except ValueError as error:
        raise ConfigError(f"base.pose_frame=body: {error}") from None


def _refuse_huge(rank: int, model: nn.Module) -> None:
    """Refuse a rank that no layer could make use of: a mistyped one would take all memory before it fails."""
    full = max(min(module.weight.shape) for module in model.modules() if isinstance(module, nn.Linear))
    if rank > full:
        raise ConfigError(f"lora.rank={rank}: at most {full}, the full rank of the base's largest layer, expected")


def _new_base(config: TrainConfig, data: ClipDataModule) -> tuple[StickFigureTransformer, BaseRecord]:
    settings = _constructor_settings(config.base)
    try:
        model = StickFigureTransformer(**settings)
    except ValueError as error:
        raise ConfigError(f"base: {error}") from None
    if model.causal != config.objective.causal:
        raise ConfigError(f"objective={config.objective.name}: does not go with base.causal={model.causal}")
    record = BaseRecord(
        settings=dict(model.settings),
        objective=config.objective.name,
        text_encoder=data.report.text_encoder,
        conditions=list(config.data.conditions),
    )
    return model, record


def _constructor_settings(base: BaseConfig) -> dict[str, Any]:
    for name in ("d_model", "nhead", "num_layers"):
        if getattr(base, name) is None:
            raise ConfigError(f"base.{name}: needed to train from scratch; choose base=small, medium or large")
    given = {name: getattr(base, name) for name in _SETTINGS if getattr(base, name) is not None}
    return {**given, "output_dim": given.get("input_dim", 20), "dropout": base.dropout}


def _check_objective(config: TrainConfig, record: BaseRecord, path: Path) -> None:
    causal = bool(record.settings.get("causal", False))
    if causal != config.objective.causal:
        kinds = {True: "causal", False: "bidirectional"}
        raise ConfigError(
            f"objective={config.objective.name}: {path} is a {kinds[causal]} base; use objective={kinds[causal]}"
        )
    if record.conditions is None:  # a file without a record does not tell
        return
    unknown = [name for name in config.data.conditions if name not in record.conditions]
    if unknown:
        raise ConfigError(f"data.conditions: {path} was trained without {unknown[0]}; leave it out")


def _completed(record: BaseRecord, config: TrainConfig, data: ClipDataModule) -> BaseRecord:
    """Fill in what the base's file does not tell with what this run trains it on: it then travels with the weights."""
    conditions = list(config.data.conditions) if record.conditions is None else record.conditions
    return replace(record, text_encoder=record.text_encoder or data.report.text_encoder, conditions=conditions)


def _check_text_encoder(data: ClipDataModule, record: BaseRecord, path: Path) -> None:
    if names := encoder_difference(data.report.text_encoder, record.text_encoder):
        raise ConfigError(
            f"data.path: the captions of {data.report.source} were embedded by {names[0]}, those of {path} by "
            f"{names[1]}; prepare the data with --encoder {record.text_encoder.get('id')}"
        )
