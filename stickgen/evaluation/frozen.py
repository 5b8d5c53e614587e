"""The frozen bases that models stand beside: what they were before they were trained."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stickgen.artifacts.base import MODEL_FILE, load_base
from stickgen.artifacts.model import LoadedModel
from stickgen.artifacts.record import fingerprint
from stickgen.errors import CheckpointError
from stickgen.lora import detach_lora_adapters
from stickgen.metrics import FROZEN_BASE

log = logging.getLogger(__name__)


def frozen_bases(models: Sequence[tuple[str, LoadedModel]]) -> list[tuple[str, LoadedModel]]:
    """Return every base below the adapters of some models, or that whole weights began as, once.

    Where the base of whole weights cannot be read any more, that is said in a warning.

    Args:
        models: label and model.

    Returns:
        label and base, in the order of the models: :data:`~stickgen.metrics.FROZEN_BASE` where all have one, else with
        the file's name too.
    """
    found: dict[str, LoadedModel] = {}
    for label, one in models:
        base = _below_adapters(one) if one.adapted else _began_as(label, one)
        if base is not None:
            found.setdefault(base.fingerprint, base)
    bases = list(found.values())
    return list(zip(_labels([base.base_path for base in bases]), bases, strict=True))


def is_frozen(label: str) -> bool:
    """Return whether a label is one that :func:`frozen_bases` gives."""
    return label == FROZEN_BASE or label.startswith(f"{FROZEN_BASE} (")


def _below_adapters(one: LoadedModel) -> LoadedModel:
    # The base's weights are shared: only the layers around them are copied.
    shared = {id(tensor): tensor for tensor in (*one.model.parameters(), *one.model.buffers())}
    base = detach_lora_adapters(copy.deepcopy(one.model, shared)).eval()
    if base.code_bank is not None:
        base.code_bank = base.code_bank.below_adapter()
    return replace(one, model=base, adapted=False, fingerprint=fingerprint(base.state_dict()))


def _began_as(label: str, one: LoadedModel) -> LoadedModel | None:
    if one.base_path is None:
        return None
    try:
        base = load_base(one.base_path)
    except CheckpointError as error:
        log.warning("%s: no frozen base stands beside it: %s; a model of its own is named base=<path>", label, error)
        return None
    return replace(one, model=base.model, record=base.record, fingerprint=base.fingerprint, base_path=base.path)


def _labels(paths: Sequence[Path | None]) -> list[str]:
    """Return a label for each base: its file's name where there are several, and where names repeat the whole path."""
    if len(paths) == 1:
        return [FROZEN_BASE]
    names = [str(path and (path.parent.name if path.name == MODEL_FILE else path.stem)) for path in paths]
    return [
        f"{FROZEN_BASE} ({name if names.count(name) == 1 else path})" for name, path in zip(names, paths, strict=True)
    ]
