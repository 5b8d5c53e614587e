"""Merging an adapter into its base, checked on real batches before anything is written."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stickgen.artifacts.adapter import attach_adapter, base_for, blended, check_base, check_complete
from stickgen.artifacts.base import base_files, check_outputs_absent, load_base, save_base
from stickgen.artifacts.model import parts, read_adapter, record_on
from stickgen.artifacts.record import BaseRecord, fingerprint
from stickgen.artifacts.run import environment
from stickgen.config import DataConfig, MergeConfig, TrainConfig
from stickgen.data.batch import Batch
from stickgen.data.datamodule import ClipDataModule
from stickgen.errors import AdapterError, CheckpointError
from stickgen.export.onnx import require_onnx, write_onnx
from stickgen.files import check_absent, check_keeps
from stickgen.lora import check_weights, merge_lora_weights
from stickgen.model import StickFigureTransformer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    Attributes:
        output: the file written.
        layers: how many layers were merged.
        clips: how many clips the outputs were compared on.
        largest_difference: largest absolute difference between merged and unmerged outputs, over all heads.
        adapter_effect: largest absolute difference between adapted and base outputs on the same clips; an adapter
            without any effect was hardly the one that was meant.
        stored_difference: largest absolute difference between the outputs of the file and of the merged model: of an
            .onnx in onnxruntime, or of rounded weights; None where the file holds the model as it is.
    """

    output: Path
    layers: int
    clips: int
    largest_difference: float
    adapter_effect: float
    stored_difference: float | None


def merge(config: MergeConfig) -> MergeReport:
    """Merge adapters of runs, weighted where there are several, into their base and write the model.

    Raises:
        OutputExistsError: the output exists and ``overwrite`` is false, or is a source or the base.
        CheckpointError: the run, adapter or base is missing, damaged, merged already or does not fit.
        AdapterError: adapters cannot be combined, or merged and unmerged outputs differ by more than ``tolerance``, or
            a weight is infinite in ``save_dtype``; nothing is then written.
        StickgenError: the output is an .onnx, and a package for that is not installed.
    """
    output = Path(config.output)
    shares = config.weights or [1 / len(config.sources)] * len(config.sources)
    check_weights(shares, len(config.sources))
    if output.suffix == ".onnx":
        require_onnx()
        check_absent(output, overwrite=config.overwrite, file=True)
    else:
        check_outputs_absent(output, overwrite=config.overwrite)
    read = [read_adapter(Path(source)) for source in config.sources]
    first, run = read[0]
    given = None if config.base_checkpoint is None else Path(config.base_checkpoint)
    base = base_for(first, given, config.sources[0], "base_checkpoint=…")
    sources = [place for source in config.sources for place in parts(Path(source))]
    check_keeps(base_files(output), [*sources, *base_files(base.path)])
    digests = [fingerprint(adapter.state) for adapter, _ in read]
    merged_before = base.record.origin.get("merged_adapters") or []
    if set(digests) & set(merged_before):
        raise CheckpointError(f"{base.path}: has this adapter merged into it already")
    for source, (adapter, _) in zip(config.sources, read, strict=True):
        check_base(base, adapter, source, allow_other_base=config.allow_other_base)
        check_complete(base, adapter, source)
    shown = ", ".join(config.sources)
    # Of this base, as far as was just asked: what is attached below is not asked again.
    together = replace(blended([adapter for adapter, _ in read], shares, shown), base_fingerprint=base.fingerprint)
    batches = _batches(config, run, base.model)
    plain = _outputs(base.model, batches)
    attach_adapter(base, together, shown)
    adapted = _outputs(base.model, batches)
    merge_lora_weights(base.model)
    merged = _outputs(base.model, batches)
    difference = _largest_difference(adapted, merged)
    # Written so that NaN fails too.
    if not difference <= config.tolerance:
        raise AdapterError(
            f"{shown}: merged and unmerged outputs differ by {difference:.3g}, tolerance="
            f"{config.tolerance:g} allowed; nothing was written"
        )
    effect = _largest_difference(plain, adapted)
    if effect == 0:
        log.warning("%s: the adapter changes no output on these clips", shown)
    origins = [adapter.origin for adapter, _ in read]
    origin = {
        "merged_from": origins[0] if len(origins) == 1 else origins,
        "merged_adapters": [*merged_before, *digests],
        **({"merged_weights": list(config.weights)} if config.weights else {}),
        "base_fingerprint": base.fingerprint,
        "base_path": str(base.path),
        **environment(),
    }
    record = replace(record_on(base, first), origin=origin)
    stored = _write(base.model, record, output, config)
    if config.save_dtype != "float32":
        stored = _largest_difference(merged, _outputs(load_base(output).model, batches))
    return MergeReport(
        output=output,
        layers=len(together.modules),
        clips=sum(batch.motion.shape[1] for batch in batches),
        largest_difference=difference,
        adapter_effect=effect,
        stored_difference=stored,
    )


def _write(model: StickFigureTransformer, record: BaseRecord, output: Path, config: MergeConfig) -> float | None:
    """Write the merged model; return by how much an .onnx differs from it."""
    if output.suffix == ".onnx":
        return write_onnx(model, record, output, tolerance=config.tolerance, overwrite=config.overwrite)
    dtype: torch.dtype = getattr(torch, config.save_dtype)
    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight.to(dtype)).all()):
            raise AdapterError(f"{name}: too large for save_dtype={config.save_dtype}; nothing was written")
    save_base(model, record, output, dtype=dtype, overwrite=config.overwrite)
    return None


def _batches(config: MergeConfig, run: TrainConfig | None, model: StickFigureTransformer) -> list[Batch]:
    """Return clips to compare outputs on: given ones, else the run's test clips, else sample motion."""
    dim = model.settings["input_dim"]
    if config.data is not None:
        settings = DataConfig(path=config.data, dim=20 if dim == 20 else None)
    elif run is not None and (run.data.path is None or Path(run.data.path).is_file()):
        settings = run.data
    else:
        if run is not None:
            log.warning("%s is gone: verifying on the built-in sample motion; data=… names other clips", run.data.path)
        settings = DataConfig(dim=dim)
    data = ClipDataModule(settings)
    data.fit_to(dim, model.settings["embedding_dim"], model.settings["num_actions"])
    return list(data.test_dataloader())


@torch.no_grad()
def _outputs(model: StickFigureTransformer, batches: Sequence[Batch]) -> list[dict[str, Tensor]]:
    """Return all outputs, under the run's conditions, without action labels and with them."""
    model.eval()
    return [
        model(
            b.motion,
            b.embedding,
            return_all_outputs=True,
            action_sequence=actions,
            camera_data=b.camera,
            partner_motion=b.partner,
            padding_mask=b.padding_mask,
        )
        for b in batches
        for actions in (None, b.actions.clamp(min=0))
    ]


def _largest_difference(first: Sequence[dict[str, Tensor]], second: Sequence[dict[str, Tensor]]) -> float:
    differences = [(a[name] - b[name]).abs().max() for a, b in zip(first, second, strict=True) for name in a]
    return float(torch.stack(differences).max())
