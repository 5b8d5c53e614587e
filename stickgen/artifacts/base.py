"""Bases on disk: reading every kind met in the wild into a model, strictly, and writing our own."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stickgen.artifacts.record import RECORD_KEY, BaseRecord, fingerprint, read_codes
from stickgen.artifacts.tensors import is_dense, read_safetensors, read_torch
from stickgen.digests import write_safetensors, write_torch
from stickgen.errors import CheckpointError
from stickgen.files import atomic_write, check_absent
from stickgen.lora import KINDS, WRAPPERS
from stickgen.model import StickFigureTransformer
from stickgen.model.settings_check import record_in, with_record
from stickgen.untrusted import parse_json

log = logging.getLogger(__name__)

MODEL_FILE = "model.safetensors"
"""A run that trains whole weights writes them under this name in its folder."""

_REFERENCE = {"causal": False, "pose_output": "absolute", "pose_scale": 1.0}
"""What the reference system's files do not say of themselves."""

_MULTIMODAL = ("image_encoder.", "fusion_module.")
_LORA_MARKS = (".base_layer.", *{f".{factor}" for kind in KINDS.values() for factor in kind.FACTORS})


@dataclass(frozen=True)
class Base:
    """A base model, as its file describes it.

    Attributes:
        model: float32, on the CPU, in eval mode.
        record: its settings and history.
        fingerprint: digest of its tensors.
        path: where it was read from.
    """

    model: StickFigureTransformer
    record: BaseRecord
    fingerprint: str
    path: Path


def load_base(path: Path, expected: Mapping[str, Any] | None = None) -> Base:
    """Read a base: .safetensors, a bare state dict, a dict with ``model_state_dict``, or a run folder.

    A state dict that was saved without :func:`save_base` has the settings of its model. A file without a record is
    taken for the reference system's: not causal, absolute poses. Sizes are read from the tensors.

    Args:
        path: the file or folder.
        expected: settings the base must have, by constructor argument; None values are not compared.

    Raises:
        CheckpointError: the file is missing, damaged, foreign or holds adapters; keys are missing or unknown; a
            size contradicts the record or ``expected``; a weight is NaN or infinite.
    """
    path = _file_of(path)
    return base_of(*_read(path), path, expected)


def base_of(
    state: dict[str, Tensor], record_text: str | None, path: Path, expected: Mapping[str, Any] | None = None
) -> Base:
    """Return the base that tensors are, and the text of their record if there is one; see :func:`load_base`.

    Raises:
        CheckpointError: as :func:`load_base` does of a file's content; messages begin with ``path``.
    """
    state = _motion_part(state, path)
    sizes = _sizes(state, path)
    digest = fingerprint(state)
    if record_text is None:
        record = BaseRecord(settings={**_REFERENCE, **sizes})
        named = f"{path}: the base, taken for the reference system's since it has no record, has"
    else:
        record = BaseRecord.from_json(record_text, str(path))
        named = f"{path}: the base has"
        if record.fingerprint not in (None, digest):
            raise CheckpointError(
                f"{path}: its record is that of other weights (fingerprint {record.fingerprint}, found {digest}); the "
                "file is damaged, or its record was written beside another one"
            )
        _agree(sizes, record.settings, f"{path}: the weights have", "its record says")
        record = replace(record, settings={**record.settings, **sizes})
    _agree(record.settings, dict(expected or {}), named, "the configuration says")
    model = _build(record, state, path)
    model.code_bank = read_codes(record.codes, str(path), record.settings["input_dim"])
    return Base(model, record, digest, path)


def save_base(
    model: StickFigureTransformer,
    record: BaseRecord,
    path: Path,
    *,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> None:
    """Write a base with its record inside, in one step.

    A .safetensors holds the record in its metadata. A .pth is a bare state dict that loads strictly, as
    ``torch.save(model.state_dict(), …)`` writes it; it holds the record where a state dict has its model's settings
    (:mod:`stickgen.model.settings_check`). A state dict that is loaded and saved again keeps its record.

    Args:
        model: a plain model; adapters must be merged or detached.
        record: its ``settings`` and ``codes`` are replaced by the model's own.
        path: ending in .safetensors, .pth or .pt.
        dtype: store floating tensors in this width; None keeps theirs.
        overwrite: replace an existing file.

    Raises:
        OutputExistsError: the file exists and ``overwrite`` is false, or is a folder.
        OutputError: it cannot be written; an older file is kept.
        CheckpointError: the model still has adapters.
    """
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    if any(mark in f".{key}" for key in state for mark in _LORA_MARKS):
        raise CheckpointError(f"{path}: the model still has adapters; merge or detach them before saving a base")
    if dtype is not None:
        # The rotary frequencies stay exact: every position depends on them, and they are a few numbers.
        state = {k: v.to(dtype) if v.is_floating_point() and "inv_freq" not in k else v for k, v in state.items()}
    codes = {} if model.code_bank is None else model.code_bank.to_plain()
    record = replace(record, settings=dict(model.settings), codes=codes, fingerprint=fingerprint(state))
    replaces = path.exists()
    with atomic_write(path, overwrite=overwrite) as scratch:
        if path.suffix == ".safetensors":
            write_safetensors(state, scratch, {"format": "pt", RECORD_KEY: record.to_json()})
        else:
            write_torch(with_record(state, model, record.to_json()), scratch)
    if replaces and path.suffix != ".safetensors":
        _remove_former_record(path)


def check_outputs_absent(path: Path, *, overwrite: bool = False) -> None:
    """Refuse, before any work is spent, what :func:`save_base` would refuse.

    Raises:
        OutputExistsError: the file exists and ``overwrite`` is false, or is a folder.
    """
    check_absent(path, overwrite=overwrite, file=True)


def base_files(path: Path) -> list[Path]:
    """Return the files that a base of this path may consist of: itself, and a former version's JSON beside a .pth."""
    return [path, _beside(path)] if path.suffix in (".pth", ".pt") else [path]


def _beside(path: Path) -> Path:
    """Return where former versions wrote the record of a .pth."""
    return path.with_suffix(".json")


def _file_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / MODEL_FILE).is_file():
        return path / MODEL_FILE
    if (path / "adapter_config.json").is_file() or (path / "adapter").is_dir():
        raise CheckpointError(
            f"{path}: holds an adapter, not a base; merge it first (stickgen merge checkpoint={path})"
        )
    raise CheckpointError(f"{path}: a folder without {MODEL_FILE}; name a base's file or the run that trained one")


def _read(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """Return the tensors of a base's file and the text of its record, None where it has none."""
    if path.suffix == ".safetensors":
        tensors, metadata = read_safetensors(path)
        return tensors, metadata.get(RECORD_KEY)
    content = read_torch(path)
    if isinstance(content, dict) and isinstance(content.get("model_state_dict"), dict):
        content = content["model_state_dict"]
    if isinstance(content, dict) and any(key in content for key in WRAPPERS):
        raise CheckpointError(
            f"{path}: an adapter of the reference system; stickgen convert makes a folder of it, which goes on a base"
        )
    if not isinstance(content, dict) or not all(is_plain(key, value) for key, value in content.items()):
        raise CheckpointError(f"{path}: neither a state dict nor a dict with 'model_state_dict'")
    record = record_in(content)
    return content, _record_beside(path) if record is None else record


def is_plain(key: Any, value: Any) -> bool:
    """Return whether an entry is one of a state dict: a name and a dense tensor of real numbers."""
    return (
        isinstance(key, str)
        and isinstance(value, Tensor)
        and value.layout == torch.strided
        and not value.is_complex()
        and not value.is_quantized
        and is_dense(value)
    )


def _record_beside(path: Path) -> str | None:
    """Return the text of the record beside a .pth; None where there is none, or some other JSON of that name.

    There stickgen wrote it before it kept the record inside.
    """
    beside = _beside(path)
    if not beside.is_file():
        return None
    text = beside.read_text(encoding="utf-8", errors="replace")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: the record beside it, {beside.name}, is damaged ({error}); restore it: without it the weights "
            "are taken for the reference system's"
        ) from None
    if isinstance(content, dict) and "settings" in content:
        return text
    log.warning("%s: not a record of stickgen; %s is taken for a base without one", beside, path.name)
    return None


def _remove_former_record(path: Path) -> None:
    """Remove the record beside a .pth that was replaced by one with its record inside."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        if {"settings", "fingerprint"} <= parse_json(_beside(path).read_text(encoding="utf-8")).keys():
            _beside(path).unlink()


def _motion_part(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    if any(mark in f".{key}" for key in state for mark in _LORA_MARKS):
        raise CheckpointError(
            f"{path}: holds LoRA adapters inside its weights, so it is no base; use the base they adapt, or take them "
            f"apart (stickgen convert)"
        )
    extra = [key for key in state if key.startswith(_MULTIMODAL)]
    if extra:
        log.warning(
            "%s: a multimodal base; its %d image tensors are left out, the motion part is used", path, len(extra)
        )
    return {
        key: value.float() if value.is_floating_point() else value
        for key, value in state.items()
        if not key.startswith(_MULTIMODAL)
    }


def _sizes(state: Mapping[str, Tensor], path: Path) -> dict[str, int]:
    """Return the constructor's sizes as the tensors' shapes show them."""
    try:
        d_model = state["text_projection.3.weight"].shape[0]
        head_dim = 2 * state["transformer_encoder.layers.0.self_attn.rope.inv_freq"].shape[0]
        return {
            "input_dim": state["motion_embedding.0.weight"].shape[1],
            "d_model": d_model,
            "nhead": d_model // head_dim,
            "num_layers": len({k.split(".")[2] for k in state if k.startswith("transformer_encoder.layers.")}),
            "output_dim": state["pose_decoder.3.weight"].shape[0],
            "embedding_dim": state["text_projection.0.weight"].shape[1],
            "num_actions": state["action_embedding.weight"].shape[0],
        }
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise CheckpointError(f"{path}: not a base of stick-gen: no usable {error}") from None


def _agree(found: Mapping[str, Any], wanted: Mapping[str, Any], found_in: str, wanted_in: str) -> None:
    for name, value in wanted.items():
        if value is not None and name in found and found[name] != value:
            raise CheckpointError(f"{found_in} {name}={found[name]}, {wanted_in} {name}={value}")


def _build(record: BaseRecord, state: dict[str, Tensor], path: Path) -> StickFigureTransformer:
    try:
        with torch.device("meta"):  # no random initialisation that would be overwritten at once
            model = StickFigureTransformer(**record.settings)
        model.load_state_dict(state, strict=True, assign=True)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its settings do not make a model: {error}") from None
    except RuntimeError as error:
        raise CheckpointError(f"{path}: not a base of stick-gen: {' '.join(str(error).split())[:300]}") from None
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: {key} holds NaN or infinity")
    return model.eval()
