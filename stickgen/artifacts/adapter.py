"""Adapters on disk: a folder in PEFT's format, which other tools read too."""

import functools
import hashlib
import json
import logging
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from stickgen.artifacts.base import Base, load_base
from stickgen.artifacts.base_lookup import find_base
from stickgen.artifacts.patterns import check_patterns
from stickgen.artifacts.peft_format import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    for_layers,
    peft_config,
    peft_key,
    peft_marks,
    peft_modules,
    peft_settings,
    peft_state,
)
from stickgen.artifacts.peft_targets import compare_targets, lacking, target_patterns
from stickgen.artifacts.provenance import provenance_json, read_provenance
from stickgen.artifacts.record import RECORD_KEY, BaseRecord
from stickgen.artifacts.tensors import read_safetensors
from stickgen.artifacts.wrapped import read_wrapped_base
from stickgen.digests import write_safetensors
from stickgen.errors import AdapterError, CheckpointError
from stickgen.files import atomic_write
from stickgen.lora import (
    KINDS,
    LoRASettings,
    combine_adapters,
    inject_lora_adapters,
    load_lora_state_dict,
    module_paths,
)
from stickgen.model.code_bank import CodeBank
from stickgen.untrusted import parse_json

log = logging.getLogger(__name__)

CARD_FILE = "README.md"
FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)
"""What an adapter folder holds."""

_SETTINGS_DIGEST = "stickgen_settings_digest"
"""Under this key of the safetensors metadata lies a digest of rank, alpha and rule in the folder's configuration."""

_ALLOWING = "--allow-other-base (merge.py: allow_other_base=true) puts it there nevertheless"


@dataclass(frozen=True)
class Adapter:
    """An adapter apart from any model.

    Attributes:
        state: as of :func:`~stickgen.lora.get_lora_state_dict`.
        settings: rank, alpha, dropout, the rule of scaling and the kind of layer.
        base_fingerprint: digest of the base it was trained on; None where the file does not tell.
        base_path: where that base lay.
        base_record: that base's settings, encoder, conditions and vocabulary; None where the file does not tell.
        origin: how it came about.
        codes: motion codes of its training clips; None where it has none, or the file does not tell.
        wrapped_in: the reference system's checkpoint that holds its base too, where it was read from one.
        peft: the configuration of the PEFT folder that it was read from; {} where it was not.
    """

    state: dict[str, Tensor]
    settings: LoRASettings
    base_fingerprint: str | None = None
    base_path: str | None = None
    base_record: BaseRecord | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    codes: CodeBank | None = None
    wrapped_in: Path | None = None
    peft: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def modules(self) -> list[str]:
        """Paths of the adapted layers."""
        return module_paths(self.state)


def as_saved(adapter: Adapter) -> Adapter:
    """Return an adapter as files hold it: as it is, or as one of another kind that computes the same."""
    state, settings = KINDS[adapter.settings.kind].as_saved(adapter.state, adapter.settings)
    return replace(adapter, state=dict(state), settings=settings)


def save_adapter(adapter: Adapter, folder: Path, *, overwrite: bool = False) -> None:
    """Write an adapter as a PEFT folder: adapter_config.json, adapter_model.safetensors, README.md.

    Raises:
        OutputExistsError: the folder exists and ``overwrite`` is false, or it holds anything beside an adapter's files.
    """
    adapter = as_saved(adapter)
    tensors = {peft_key(key, adapter.settings): value.contiguous() for key, value in adapter.state.items()}
    with atomic_write(folder, overwrite=overwrite, folder_of=FILES) as scratch:
        scratch.mkdir()
        config = json.dumps(peft_config(adapter.settings, adapter.modules, adapter.base_path), indent=2, sort_keys=True)
        (scratch / CONFIG_FILE).write_text(config + "\n", encoding="utf-8")
        record = {RECORD_KEY: provenance_json(adapter), _SETTINGS_DIGEST: _settings_digest(adapter)}
        metadata = {"format": "pt", **record}
        write_safetensors(tensors, scratch / WEIGHTS_FILE, metadata)
        (scratch / CARD_FILE).write_text(short_card(adapter), encoding="utf-8")


def load_adapter(folder: Path) -> Adapter:
    """Read an adapter folder, ours or PEFT's.

    Raises:
        CheckpointError: a file is missing or damaged; rank or alpha is not given or impossible; the adapter uses what
            stickgen does not know; a key is not an adapter's; a factor is missing; a shape is not the rank's.
    """
    config_path = folder / CONFIG_FILE
    try:
        config = parse_json(config_path.read_text(encoding="utf-8"))
    except OSError:
        raise CheckpointError(f"{folder}: no readable {CONFIG_FILE}; a PEFT adapter folder expected") from None
    except ValueError as error:
        raise CheckpointError(f"{config_path}: not JSON: {error}") from None
    settings = peft_settings(config, config_path)
    expressions = [*settings.rank_pattern, *settings.alpha_pattern, *target_patterns(config, config_path)]
    tensors, metadata = read_safetensors(folder / WEIGHTS_FILE)
    try:
        check_patterns(expressions, peft_modules(tensors))
    except ValueError as error:
        raise CheckpointError(f"{config_path}: {error}") from None
    state = peft_state(tensors, settings, folder / WEIGHTS_FILE)
    compare_targets(config, module_paths(state), config_path, folder / WEIGHTS_FILE)
    told = read_provenance(metadata.get(RECORD_KEY), folder / WEIGHTS_FILE)
    named = config.get("base_model_name_or_path")
    if not isinstance(named, str | None):
        raise CheckpointError(f"{config_path}: base_model_name_or_path={named!r}: a name or path expected")
    told["base_path"] = told["base_path"] or named
    adapter = Adapter(state, for_layers(settings, state), **told, peft=config)
    if metadata.get(_SETTINGS_DIGEST) not in (None, _settings_digest(adapter)):
        raise CheckpointError(
            f"{config_path}: rank, alpha or their rule are not those that {WEIGHTS_FILE} was written with; restore it"
        )
    return adapter


def _settings_digest(adapter: Adapter) -> str:
    """Return a digest of the settings that decide what the tensors of an adapter do."""
    settings = for_layers(adapter.settings, adapter.state)
    names = ("rank", "alpha", "use_rslora", "rank_pattern", "alpha_pattern")
    decisive = {**{name: getattr(settings, name) for name in names}, **peft_marks(settings)}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def base_for(adapter: Adapter, given: Path | None, where: str, option: str = "--base") -> Base:
    """Read the base of an adapter: the one given, else the one that the adapter names.

    Args:
        adapter: the adapter.
        given: the base's path; None: the one in the same file, else see
            :func:`~stickgen.artifacts.base_lookup.find_base`.
        where: what messages call the adapter.
        option: what they say a base is given by.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    if given is not None:
        return load_base(given)
    if adapter.wrapped_in is not None:
        return read_wrapped_base(adapter.wrapped_in)
    return find_base(adapter.base_path, adapter.base_fingerprint, where, option)


def attach_adapter(base: Base, adapter: Adapter, where: str, *, allow_other_base: bool = False) -> None:
    """Put an adapter on the base it was trained on, in place.

    Args:
        base: the base.
        adapter: the adapter.
        where: it was read, for messages.
        allow_other_base: only warn where it was trained on another base.

    Raises:
        CheckpointError: it was trained on another base.
        AdapterError: it does not fit the model, or lacks a layer that its configuration targets.
    """
    check_base(base, adapter, where, allow_other_base=allow_other_base)
    check_complete(base, adapter, where)
    try:
        inject_lora_adapters(base.model, adapter.modules, **vars(adapter.settings))
        load_lora_state_dict(base.model, adapter.state, settings=adapter.settings)
    except AdapterError as error:
        raise AdapterError(f"{where}, on {base.path}: {error}") from None
    if base.model.code_bank is not None and adapter.codes is not None:
        try:
            adapter.codes.check_dim(base.model.settings["input_dim"])
        except ValueError as error:
            raise AdapterError(f"{where}, on {base.path}: its motion codes are of another figure ({error})") from None
        base.model.code_bank = base.model.code_bank + adapter.codes


def blended(adapters: Sequence[Adapter], weights: Sequence[float], where: str) -> Adapter:
    """Return the weighted sum of adapters of one base as one adapter; one of weight 1 as it is.

    Its motion codes are those of all adapters that have a weight.

    Args:
        adapters: at least one; record and base are the first one's.
        weights: as many.
        where: what messages call them.

    Raises:
        AdapterError: see :func:`~stickgen.lora.combine_adapters`.
    """
    if list(weights) == [1.0]:
        return adapters[0]
    try:
        combined = combine_adapters(adapters, weights)
    except AdapterError as error:
        raise AdapterError(f"{where}: {error}") from None
    codes = [one.codes for one, weight in zip(adapters, weights, strict=True) if weight and one.codes is not None]
    together = functools.reduce(operator.add, codes) if codes else None
    return replace(adapters[0], state=combined.state, settings=combined.settings, codes=together, peft={})


def check_complete(base: Base, adapter: Adapter, where: str) -> None:
    """Refuse a PEFT folder whose configuration targets a layer of the base that it has no tensors of.

    Raises:
        AdapterError: the message names the layer.
    """
    linears = [name for name, module in base.model.named_modules() if isinstance(module, nn.Linear)]
    if missing := lacking(adapter.peft, linears, adapter.modules):
        raise AdapterError(
            f"{where}: {WEIGHTS_FILE} holds no {missing[0]}, a target module in {CONFIG_FILE}; the folder is "
            "incomplete, so save it anew"
        )


def check_base(
    base: Base, adapter: Adapter, where: str, *, allow_other_base: bool = False, way_out: str = _ALLOWING
) -> None:
    """Refuse a base that an adapter was not trained on; see :func:`attach_adapter`.

    Args:
        base: see there.
        adapter: see there.
        where: see there.
        allow_other_base: only warn.
        way_out: what the message ends with.

    Raises:
        CheckpointError: it was trained on another base.
    """
    if adapter.base_fingerprint in (None, base.fingerprint):
        return
    message = (
        f"{where}: trained on another base (fingerprint {adapter.base_fingerprint}, of {adapter.base_path}); "
        f"{base.path} has {base.fingerprint}"
    )
    if not allow_other_base:
        raise CheckpointError(f"{message}; {way_out}")
    log.warning("%s; put there nevertheless, as allow_other_base says", message)


def short_card(adapter: Adapter) -> str:
    """Return the card that every adapter is saved with; ``stickgen card`` writes the whole one in its place."""
    settings = adapter.settings
    count = sum(value.numel() for value in adapter.state.values())
    fingerprint = re.sub(r"[`\s]+", " ", str(adapter.base_fingerprint))  # another's file may hold anything
    return (
        "---\nlibrary_name: stickgen\ntags:\n- lora\n- motion-generation\n- stick-figure\n---\n\n"
        "# LoRA adapter for a stick-gen base\n\n"
        f"Adapters of {settings}; {count:,} numbers in {len(adapter.modules)} layers.\n"
        f"Base fingerprint: `{fingerprint}`.\n\n"
        "```bash\nstickgen merge checkpoint=<this folder> base_checkpoint=<the base> output=merged_model.pth\n```\n"
    )
